"""One broken item of an XML feed is refused by its line, and every other one is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from clickscape.catalog import feeds
from clickscape.catalog.formats.xml_items import split
from clickscape.errors import FeedError

HEAD = '<?xml version="1.0" encoding="{encoding}"?>\n<rss xmlns:{prefix}="http://base.google.com/ns/1.0"><channel>\n'
ITEM = "<item>\n<{prefix}:id>{name}</{prefix}:id><title>{title}</title>{more}<image_link>a.png</image_link>\n</item>\n"
TAIL = "</channel></rss>\n"


def _item(name: str, title: str = "Mug", more: str = "", prefix: str = "g") -> str:
    return ITEM.format(name=name, title=title, more=more, prefix=prefix)


def _write(shop: Path, *items: str, encoding: str = "UTF-8", prefix: str = "g") -> Path:
    path = shop / "feed.xml"
    text = HEAD.format(encoding=encoding, prefix=prefix) + "".join(items) + TAIL
    path.write_bytes(text.encode(encoding, "surrogateescape"))
    return path


def _read(path: Path) -> tuple[list[str], list[str]]:
    """The ids that were read, and the problems with their places."""
    rows = list(feeds.iterate(path, skip_bad_rows=True))
    read = [row.product.product_id for row in rows if row.product]
    return read, [f"{row.place}: {row.problem}" for row in rows if not row.product]


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16"])
@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (_item("2", "Tom & Jerry"), "line 7: broken XML (xmlParseEntityRef"),
        (_item("2", "a&shop;b"), "line 7: broken XML (Entity 'shop' not defined"),
        (_item("2", more="<b>bold"), "line 8: broken XML (Opening and ending tag mismatch"),
        (_item("2", more="</b>"), "line 7: broken XML (Opening and ending tag mismatch"),
        (_item("2", "a < b"), "line 7: broken XML (StartTag"),
        (_item("2", "a\x01b"), "line 7: broken XML (PCDATA invalid Char value 1"),
        (_item("2", "<![CDATA[Mug"), "line 8: broken XML (CData section not finished"),
        (_item("2", "<!-- Mug"), "line 8: broken XML (Comment not terminated"),
        (_item("2").removesuffix("</item>\n"), "line 6: broken XML (the item is not closed"),
        ("</item>", "line 6: broken XML (an item ends that does not begin"),
        (_item("2", more="<!DOCTYPE x [<!ENTITY y 'z'>]>"), "line 7: broken XML (StartTag"),
    ],
)
def test_a_broken_item_is_refused_and_the_others_are_read(shop: Path, broken: str, problem: str, encoding: str) -> None:
    path = _write(shop, _item("1"), broken, _item("3"), _item("4"), encoding=encoding)
    read, problems = _read(path)
    assert read == ["1", "3", "4"]
    assert len(problems) == 1
    assert problems[0].startswith(problem)
    with pytest.raises(FeedError, match="Fix it, or export the feed again"):
        feeds.read(path)


def test_a_broken_last_item_leaves_the_end_of_the_feed_whole(shop: Path) -> None:
    path = _write(shop, _item("1"), _item("2").removesuffix("</item>\n"))
    assert _read(path) == (["1"], ["line 6: broken XML (the item is not closed). Fix it, or export the feed again."])


def test_a_feed_that_was_cut_off_is_refused_also_without_its_bad_rows(shop: Path) -> None:
    path = _write(shop, _item("1"), _item("2"))
    path.write_text(path.read_text()[:-80])
    with pytest.raises(FeedError, match="Premature end"):
        _read(path)


def test_bytes_of_another_encoding_are_the_problem_of_their_item(shop: Path) -> None:
    read, problems = _read(_write(shop, _item("1", "Caf\udce9"), _item("2", "Café")))
    assert read == ["2"]
    assert problems[0].startswith("line 4: broken XML (")


def test_named_characters_of_html_are_read_but_not_in_cdata(shop: Path) -> None:
    more = "<description><![CDATA[a &amp;copy; b]]></description>"
    (one,) = feeds.read(_write(shop, _item("1", "Caf&eacute;&nbsp;&amp;&nbsp;Bar &mdash; &lt;3", more=more)))
    assert one.title == "Café & Bar — <3"
    assert one.attributes["description"] == "a © b"


def test_comments_and_cdata_may_hold_items(shop: Path) -> None:
    more = "<description><![CDATA[write <item> here]]></description>"
    path = _write(shop, f"<!-- {_item('0')} -->", _item("1", more=more), "<item/>", _item("2"))
    read, problems = _read(path)
    assert read == ["1", "2"]
    assert [problem.partition(".")[0] for problem in problems] == ["line 9: no product id"]


def test_any_prefix_that_the_feed_declares_is_known_and_g_without_declaration(shop: Path) -> None:
    assert _read(_write(shop, _item("1", prefix="gmc"), prefix="gmc")) == (["1"], [])
    assert _read(_write(shop, _item("1"), prefix="other")) == (["1"], [])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_where_the_bytes_are_parted_does_not_matter(shop: Path, size: int) -> None:
    items = (f"<!-- {_item('0')} -->", _item("1", "<![CDATA[ <item> ]]>"), "<item/>", "</item>", _item("2")[:-8], "é")
    data = _write(shop, *items, _item("3")).read_bytes()
    blocks = [data[at : at + size] for at in range(0, len(data), size)]
    found = list(split(iter(blocks), shop))
    assert b"".join(piece.data for piece in found) == data
    assert [piece for piece in found if piece.is_item] == [p for p in split(iter([data]), shop) if p.is_item]


@pytest.mark.parametrize("part", ["<!--", "<![CDATA[", "<?", "<item", "<item/>", "<item>", "</item>", "</channel>\n"])
@pytest.mark.parametrize("before", ["", "<item>"])
def test_a_feed_of_nothing_but_marks_ends(shop: Path, before: str, part: str) -> None:
    with pytest.raises(FeedError):
        feeds.read(_write(shop, before, part * (600_000 // len(part))))


def test_namespaces_without_end_are_refused_once(shop: Path) -> None:
    many = " ".join(f'xmlns:a{number}="http://shop.example/{number}"' for number in range(1_000))
    (shop / "feed.xml").write_text(f"<rss {many}><channel>{_item('1')}</channel></rss>")
    with pytest.raises(FeedError, match=r"namespaces take over 10,000 bytes\. Declare those that it uses"):
        _read(shop / "feed.xml")
