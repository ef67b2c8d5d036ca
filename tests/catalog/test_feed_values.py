"""Values of feeds: photos, ids, titles, links and variants as they are written, and what is noted about them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.catalog.conftest import ROWS, feed_error, write_csv, write_jsonl

from clickscape.catalog import feeds


def test_a_further_photo_that_is_missing_is_noted(shop: Path) -> None:
    path = write_jsonl(shop, [ROWS[1] | {"more_images": ["shoe.png", "gone.png", "../secret.png", "shoe.png"]}])
    (row,) = feeds.iterate(path)
    assert row.product is not None
    assert row.product.more_images == (str(shop / "shoe.png"),)
    left_out = [warning.detail for warning in row.warnings if warning.kind == "photo left out"]
    assert "gone.png: no such image" in left_out[0]
    assert "leaves the catalog's folder" in left_out[1]


def test_an_unknown_availability_is_noted_and_a_known_one_spelled_one_way(shop: Path) -> None:
    rows = [ROWS[0] | {"availability": "In Stock"}, ROWS[1] | {"availability": "ask in the shop"}]
    first, second = feeds.iterate(write_jsonl(shop, rows))
    assert first.product is not None
    assert first.product.attributes["availability"] == "in_stock"
    assert [(warning.kind, warning.detail) for warning in second.warnings][-1] == (
        "unknown availability",
        "ask in the shop",
    )


@pytest.mark.parametrize(
    "product_id", ["CAM/4567", "online:en:DE:991", "a\\\\b", "50%*?", ".hidden", "../../etc", "ö" * 61]
)
def test_an_id_may_hold_what_a_file_name_may_not(shop: Path, product_id: str) -> None:
    (product,) = feeds.read(write_jsonl(shop, [ROWS[1] | {"product_id": product_id}]))
    assert product.product_id == product_id


@pytest.mark.parametrize("number", [7.0, 1e3, True, Decimal("7.00")])
def test_an_id_that_is_a_fraction_is_refused_because_a_log_says_it_otherwise(shop: Path, number: object) -> None:
    rows = [{"id": number, "title": "Mug", "image": "shoe.png"}]
    pq.write_table(pa.Table.from_pylist(rows), shop / "feed.parquet")
    wanted = f"product id {number} is no text and no whole number. Write it as text"
    assert wanted in feed_error(shop / "feed.parquet")
    if not isinstance(number, Decimal):
        assert wanted in feed_error(write_jsonl(shop, rows))


@pytest.mark.parametrize("twin", ["Cafe\u0301", "Caf\u00e9\u200b", "\ufeffCaf\u00e9"], ids=["nfd", "no-width", "bom"])
def test_ids_that_look_the_same_are_one_id_used_twice(shop: Path, twin: str) -> None:
    message = feed_error(write_jsonl(shop, [ROWS[1] | {"product_id": "Caf\u00e9"}, ROWS[1] | {"product_id": twin}]))
    assert "or one that looks the same, was already used in line 1. Give each product its own id" in message


@pytest.mark.parametrize("name", ["feed.jsonl", "feed.json"])
def test_one_bad_object_stops_no_other(shop: Path, name: str) -> None:
    rows = [
        '{"id": 1, "title": "Mug", "image": "shoe.png"}',
        '{"id": 2, "title": "Mug", "title": "Cup", "image": "shoe.png"}',
        '{"id": 3, "title": "Bad \\ud83d", "image": "shoe.png"}',
        '{"id": 4, "title": "Bad", "price": NaN, "image": "shoe.png"}',
        '{"id": 5, "title": "Bad", "attributes": {"a": "1", "a": "2"}, "image": "shoe.png"}',
        '{"id": 6, "title": "Cup", "title": "Cup", "image": "shoe.png"}',
    ]
    path = shop / name
    path.write_text("\n".join(rows) if name.endswith("l") else f"[{','.join(rows)}]")
    found = list(feeds.iterate(path, skip_bad_rows=True))
    assert [row.product and row.product.title for row in found] == ["Mug", None, None, None, None, "Cup"]
    assert [row.problem.partition(". ")[0] for row in found[1:5]] == [
        "the key 'title' occurs twice with two values",
        "half of a character, or a byte that is not UTF-8, in 'title'",
        "broken JSON (NaN is not JSON)",
        "the key 'a' occurs twice with two values",
    ]


def test_titles_categories_and_attributes_are_plain_text_in_every_format(shop: Path) -> None:
    head = "id,title,category,tags,attribute:material,image\n"
    title = "<b>Salt</b> &amp; pepper &#8211; 2&nbsp;pcs \u202eevil"
    assert feeds.read(write_jsonl(shop, [ROWS[1] | {"title": "Cafe\u0301"}]))[0].title == "Caf\u00e9"
    for kept in ("<Mug>", "<script>alert(1)</script> Mug"):  # no formatting: nothing is dropped
        assert feeds.read(write_jsonl(shop, [ROWS[1] | {"title": kept}]))[0].title == kept
    row = f"1,{title},Home &amp; Garden &gt; Mugs,a &amp; b,<p>Clay</p>,shoe.png\n"
    (product,) = feeds.read(write_csv(shop, head + row))
    assert product.title == "Salt & pepper \u2013 2 pcs evil"
    assert (product.category, product.tags) == (("Home & Garden", "Mugs"), ("a & b",))
    assert product.attributes == {"material": "Clay"}


def test_a_links_parameters_are_no_entities(shop: Path) -> None:
    link = "https://shop.example/?a=1&copy=2&amp;reg=3"
    (product,) = feeds.read(write_jsonl(shop, [ROWS[1] | {"link": link, "brand": "x"}]))
    assert product.attributes["link"] == "https://shop.example/?a=1&copy=2&reg=3"


def test_links_without_a_scheme_and_paths_of_windows_are_understood(shop: Path) -> None:
    row = ROWS[1] | {"image": "pictures\\mug.png", "more_images": "//cdn.example/a.png,//cdn.example/b.png?w=1&amp;h=2"}
    (product,) = feeds.read(write_jsonl(shop, [row]), allow_remote=True)
    assert product.image == str(shop / "pictures" / "mug.png")
    assert product.more_images == ("https://cdn.example/a.png", "https://cdn.example/b.png?w=1&h=2")


def test_a_bad_row_names_the_option_that_leaves_it_out(shop: Path) -> None:
    (shop / "broken.png").write_bytes(b"no picture")
    (shop / "feed.csv").write_text("id,title,image\nA-17,Mug,broken.png\n")
    said = feed_error(shop / "feed.csv")
    assert "line 2" in said
    assert said.endswith("Or pass --skip-bad-rows (in Python: skip_bad_rows=True) to leave such rows out.")
    (row,) = feeds.iterate(shop / "feed.csv", skip_bad_rows=True)
    assert "--skip-bad-rows" not in row.problem


def test_titles_that_differ_in_a_color_alone_want_an_item_group_id(shop: Path) -> None:
    titles = ("Blue Mug", "red mug", "Large red mug", "Red, mug", "Plain Mug", "Blue", "Red")
    lines = [f"{number},{title!r},pictures/mug.png,".replace("'", '"') for number, title in enumerate(titles)]
    (shop / "catalog.csv").write_text("\n".join(["id,title,image,item_group_id", *lines]) + "\n")

    def told() -> list[tuple[str, str]]:
        warnings = [one for row in feeds.iterate(shop / "catalog.csv") for one in row.warnings]
        return [(one.place, one.detail) for one in warnings if one.kind == "color variant without item_group_id"]

    assert told() == [("line 3", "of line 2"), ("line 5", "of line 2")]
    (shop / "catalog.csv").write_text("\n".join(["id,title,image,item_group_id", *(f"{one}mug" for one in lines)]))
    assert told() == []
    groups = {product.attributes["item_group_id"] for product in feeds.read(shop / "catalog.csv")}
    assert groups == {"mug"}
