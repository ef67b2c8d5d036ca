"""Feeds: the same catalog in every format, and every wrong input with the line it is on and the remedy."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import clickscape.catalog
from clickscape.catalog import checking, feeds
from clickscape.catalog.feed_report import FeedReportBuilder
from clickscape.catalog.formats.row import words
from clickscape.errors import FeedError
from clickscape.types import Product

ROWS = [
    {
        "product_id": "A-1",
        "title": "Aurora Crimson Running Shoe, Lightweight Mesh",
        "category": ["Bags & Shoes", "Shoes"],
        "attributes": {"material": "mesh", "use": "running"},
        "tags": ["fitness", "light"],
        "price": 99.0,
        "currency": "USD",
        "image": "shoe.png",
    },
    {"product_id": "B-2", "title": "Plain Mug", "image": "pictures/mug.png"},
]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A catalog folder with two pictures."""
    folder = tmp_path / "shop"
    (folder / "pictures").mkdir(parents=True)
    Image.new("RGBA", (8, 8), (200, 0, 0, 255)).save(folder / "shoe.png")
    Image.new("RGBA", (8, 8), (0, 0, 200, 255)).save(folder / "pictures" / "mug.png")
    return folder


def _expected(shop: Path) -> list[Product]:
    return [
        Product(
            "A-1",
            "Aurora Crimson Running Shoe, Lightweight Mesh",
            ("Bags & Shoes", "Shoes"),
            {"material": "mesh", "use": "running"},
            ("fitness", "light"),
            99.0,
            "USD",
            str(shop / "shoe.png"),
        ),
        Product("B-2", "Plain Mug", image=str(shop / "pictures" / "mug.png")),
    ]


def _jsonl(shop: Path, rows: Iterable[Mapping[str, object]] | str) -> Path:
    path = shop / "catalog.jsonl"
    text = rows if isinstance(rows, str) else "\n".join(json.dumps(row) for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def _csv(shop: Path, text: str) -> Path:
    path = shop / "catalog.csv"
    path.write_text(text, encoding="utf-8")
    return path


def _error(path: Path) -> str:
    with pytest.raises(FeedError) as caught:
        feeds.read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_a_json_lines_catalog_is_read(shop: Path) -> None:
    path = _jsonl(shop, ROWS)
    path.write_text(path.read_text().replace("\n", "\n\n") + "\n")  # blank lines are no products
    assert feeds.read(path) == _expected(shop)


def test_parquet_with_lists_and_maps_is_read(shop: Path) -> None:
    schema = pa.schema(
        [(name, pa.string()) for name in ("product_id", "title", "currency", "image")]
        + [("category", pa.list_(pa.string())), ("tags", pa.list_(pa.string())), ("price", pa.float64())]
        + [("attributes", pa.map_(pa.string(), pa.string()))]
    )
    pq.write_table(pa.Table.from_pylist(ROWS, schema=schema), shop / "catalog.parquet")
    assert feeds.read(shop / "catalog.parquet") == _expected(shop)


@pytest.mark.parametrize("form", ["json", "columns"])
def test_csv_with_other_column_names_is_read(shop: Path, form: str) -> None:
    if form == "json":
        head, cells = "attributes", ['{"material": "mesh", "use": "running"}']
    else:
        head, cells = "attribute:material,attribute:use", ["mesh", "running"]
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["id", "title", "category", "tags", "price", "image_link", *head.split(",")])
    writer.writerow(
        ["A-1", ROWS[0]["title"], "Bags & Shoes > Shoes", "fitness, light", "99.00 USD", "shoe.png", *cells]
    )
    writer.writerow(["B-2", "Plain Mug", "", "", "", "pictures/mug.png", *[""] * len(cells)])
    (shop / "catalog.csv").write_bytes(b"\xef\xbb\xbf" + buffer.getvalue().encode())  # as Excel saves it
    assert feeds.read(shop / "catalog.csv") == _expected(shop)


def test_the_papers_json_list_finds_images_beside_it_or_above(shop: Path) -> None:
    lists = shop / "data" / "lists"
    lists.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(lists / "near.png")
    path = lists / "train.json"
    rows = [
        {"id": 7, "image": "pictures/mug.png", "new_caption": "A blue mug."},
        {"id": "8", "image": "near.png", "new_caption": "A square."},
    ]
    path.write_text(json.dumps(rows))
    assert feeds.read(path) == [
        Product("7", "A blue mug.", image=str(shop / "pictures" / "mug.png")),
        Product("8", "A square.", image=str(lists / "near.png")),
    ]


def test_the_format_is_detected_from_the_content_or_given(shop: Path) -> None:
    path = _jsonl(shop, ROWS).rename(shop / "catalog.txt")
    assert feeds.read(path, format="jsonl") == _expected(shop)
    assert clickscape.catalog.read(path, format="jsonl") == _expected(shop)
    assert feeds.read(path) == _expected(shop)
    with pytest.raises(FeedError, match=r"unknown catalog format 'excel'. Expected one of google-xml, .* json\."):
        feeds.read(path, format="excel")


@pytest.mark.parametrize(
    ("text", "amount", "currency"),
    [
        ("12.99", 12.99, None),
        ("12.99 USD", 12.99, "USD"),
        ("EUR 5", 5.0, "EUR"),
        ("7eur", 7.0, "EUR"),
        (3, 3.0, None),
        (None, None, None),
        ("", None, None),
        (1e-7, 1e-7, None),
    ],
)
def test_prices_are_parsed_with_their_currency(
    shop: Path, text: object, amount: float | None, currency: str | None
) -> None:
    (product,) = feeds.read(_jsonl(shop, [ROWS[1] | {"price": text}]))
    assert (product.price, product.currency) == (amount, currency)


def _without(name: str) -> dict[str, object]:
    return {key: value for key, value in ROWS[1].items() if key != name}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (ROWS[0], "product id 'A-1' was already used in line 1. Give each product its own id"),
        (_without("product_id"), "no product id. Fill the column product_id"),
        (_without("title"), "product 'B-2' has no title. Fill the column title"),
        (ROWS[1] | {"title": " \t\n"}, "product 'B-2' has no title"),
        (_without("image"), "no image for product 'B-2'. Add an image (or image_link) column"),
        (ROWS[1] | {"image": "gone.png"}, "gone.png: no such image. Put the file there, or correct the path"),
        (ROWS[1] | {"image": "note.txt"}, "note.txt: not an image of a known format. Save it as one of PNG"),
        (ROWS[1] | {"image": "pictures"}, "expected an image file, found something else"),
        (
            ROWS[1] | {"image": "https://shop.example/mug.png"},
            "remote images need --allow-remote. Pass it, or download the pictures into the catalog's folder",
        ),
        (ROWS[1] | {"image": "//shop.example/mug.png"}, "remote images need --allow-remote"),
        (ROWS[1] | {"image": "data:image/png;base64,AAAA"}, "remote images need --allow-remote"),
        (ROWS[1] | {"image": "../secret.png"}, "leaves the catalog's folder"),
        (
            ROWS[1] | {"image": "pictures/../../secret.png"},
            "Copy the picture into that folder and give its relative path",
        ),
        (ROWS[1] | {"image": "link.png"}, "leaves the catalog's folder"),
        (ROWS[1] | {"image": "linked/secret.png"}, "leaves the catalog's folder"),
        (ROWS[1] | {"image": "a\0b.png"}, "cannot be used. Correct it"),
        (ROWS[1] | {"image": "x" * 5000}, "cannot be used. Correct it"),
        (
            ROWS[1] | {"product_id": "a\x07b"},
            "product id 'a\\x07b' is too long or holds control characters. Use at most",
        ),
        (ROWS[1] | {"product_id": "ö" * 201}, "is too long or holds control characters"),
        (ROWS[1] | {"title": "Mug \ud83d"}, "half of a character, or a byte that is not UTF-8, in 'title'. Write it"),
        (ROWS[1] | {"Title": "Cup"}, "two keys that differ only in capitals or spaces. Remove one"),
        (ROWS[1] | {"price": "cheap"}, "price 'cheap' of product 'B-2' cannot be read. Write it as \"12.99\" or"),
        (ROWS[1] | {"price": "1,299"}, "price '1,299' of product 'B-2' cannot be read"),
        (ROWS[1] | {"price": {"value": 5, "currency": "USD"}}, "of product 'B-2' is no text and no number. Write it"),
        (ROWS[1] | {"price": -1.5}, "is not an amount"),
        (ROWS[1] | {"price": "3 EUR", "currency": "USD"}, "two currencies, EUR and USD. Keep one"),
        (ROWS[1] | {"currency": "dollars"}, "is not a code of three letters such as USD"),
        (ROWS[1] | {"attributes": "{broken"}, "attributes of product 'B-2': broken JSON"),
        (ROWS[1] | {"attributes": [1, 2]}, "attributes of product 'B-2': expected a map"),
        ([1, 2], "expected an object with product_id, title and image, got [1, 2]"),
    ],
)
def test_a_wrong_row_is_named_with_its_line_and_remedy(shop: Path, second: dict[str, object], message: str) -> None:
    Image.new("RGB", (4, 4)).save(shop.parent / "secret.png")
    (shop / "link.png").symlink_to(shop.parent / "secret.png")
    (shop / "linked").symlink_to(shop.parent)
    (shop / "note.txt").write_text("no picture")
    found = _error(_jsonl(shop, [ROWS[0], second]))
    assert message in found
    assert "line 2" in found


def test_an_absolute_path_must_lie_in_the_folder_too(shop: Path) -> None:
    inside, outside = shop / "shoe.png", shop.parent / "secret.png"
    Image.new("RGB", (4, 4)).save(outside)
    assert feeds.read(_jsonl(shop, [ROWS[1] | {"image": str(inside)}]))[0].image == str(inside)
    assert "leaves the catalog's folder" in _error(_jsonl(shop, [ROWS[1] | {"image": str(outside)}]))


def test_links_inside_the_folder_are_welcome(shop: Path) -> None:
    (shop / "alias.png").symlink_to("shoe.png")
    assert feeds.read(_jsonl(shop, [ROWS[1] | {"image": "alias.png"}]))[0].image == str(shop / "shoe.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the catalog is empty. Add at least one product"),
        ("\n\n", "the catalog is empty"),
        ('{"product_id": 1', "line 1: broken JSON"),
        (json.dumps(ROWS[0]) + "\n\n{oops}\n", "line 3: broken JSON (Expecting property name"),
        (json.dumps(ROWS[0]) + '\n{"price": NaN}', "line 2: broken JSON (NaN is not JSON)"),
        ("[" * 100_000, "line 1: broken JSON"),
    ],
)
def test_broken_json_lines_are_refused_with_their_line(shop: Path, text: str, message: str) -> None:
    assert message in _error(_jsonl(shop, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the catalog is empty"),
        ("id,title,image\n", "the catalog is empty"),
        ("id,name,image\n1,Mug,shoe.png\n", "line 1: no column title; found id, name, image. Rename or add the column"),
        ("sku,title,image\n1,Mug,shoe.png\n", "line 1: no column product_id or id"),
        ("id,title,photo\n1,Mug,shoe.png\n", "line 1: no column image or image_link"),
        ("id,title,image,title\n1,Mug,shoe.png,x\n", "the column 'title' occurs twice"),
        ("id,title,image\n1,Mug, large,shoe.png\n", "line 2: more than 3 fields. Put quotes around texts with commas"),
        (
            'id,title,image\n1,"Mug, large,shoe.png\n',
            "line 2: a quotation mark opens and never closes. Close or remove",
        ),
        ("id,title,image\n1,Mug\n", "line 2: no image for product '1'"),
        ('id,title,image\n1,"Two\nlines",shoe.png\n\n2,"Also\ntwo",gone.png\n', "line 5: image of product '2'"),
    ],
)
def test_a_broken_csv_is_refused(shop: Path, text: str, message: str) -> None:
    assert message in _error(_csv(shop, text))


def test_a_wrong_encoding_is_named_with_its_line(shop: Path) -> None:
    path = shop / "catalog.csv"
    path.write_bytes("id,title,image\n1,Mug,shoe.png\n2,Café,shoe.png\n".encode("latin-1"))
    assert "line 3: byte 0xe9 is not UTF-8. Save the file as UTF-8" in _error(path)


def test_broken_parquet_and_json_are_refused(shop: Path) -> None:
    path = shop / "catalog.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    assert "not a readable Parquet file" in _error(path)
    pq.write_table(pa.table({"product_id": ["1"], "title": ["Mug"]}), path)
    assert "no column image or image_link; found product_id, title" in _error(path)
    pq.write_table(pa.table({"product_id": ["1"], "title": [None], "image": ["shoe.png"]}), path)
    assert "row 1: product '1' has no title" in _error(path)
    single = shop / "list.json"
    single.write_text('{"id": 1}')
    assert "expected a JSON list" in _error(single)
    single.write_text('[{"id": 1, "image": "shoe.png", "new_caption": "Shoe"},\n {"id": 2,]')
    assert "line 2: broken JSON" in _error(single)
    single.write_text('[{"id": 1, "image": "shoe.png"}]')
    assert "item 1: product '1' has no title" in _error(single)
    assert "no such catalog file" in _error(shop / "none.csv")


def test_images_are_checked_once_however_many_products_share_one(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    original: Callable[[Path], tuple[int, int]] = checking.check_image
    monkeypatch.setattr(checking, "check_image", lambda path: (seen.append(path), original(path))[1])
    feeds.read(_jsonl(shop, [ROWS[0] | {"product_id": str(number)} for number in range(50)]))
    assert seen == [shop / "shoe.png"]


_TEXT = st.text(  # < and & may begin a tag or an entity, which are no text
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="<&"), min_size=1, max_size=30
)


@given(titles=st.lists(_TEXT.filter(words), min_size=1, max_size=5), tags=st.lists(_TEXT, max_size=3))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_survives_jsonl_and_csv_alike(shop: Path, titles: list[str], tags: list[str]) -> None:
    rows = [
        {"product_id": str(k), "title": title, "tags": ",".join(tags), "image": "shoe.png"}
        for k, title in enumerate(titles)
    ]
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    (shop / "catalog.csv").write_text(buffer.getvalue(), encoding="utf-8", newline="")
    lines = _jsonl(shop, "\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    products = feeds.read(lines)
    assert products == feeds.read(shop / "catalog.csv")
    assert [product.title for product in products] == [words(title) for title in titles]


def test_control_characters_never_reach_a_title(shop: Path) -> None:
    (product,) = feeds.read(_jsonl(shop, [ROWS[1] | {"title": "Mug\x1b[31m red\r\n\x00 cup"}]))
    assert product.title == "Mug red cup"


def test_reading_keeps_the_order_and_returns_products_of_an_importable_kind(shop: Path) -> None:
    rows = [ROWS[1] | {"product_id": f"p{number:03}"} for number in range(200)]
    products = feeds.read(_jsonl(shop, rows))
    assert [product.product_id for product in products] == [row["product_id"] for row in rows]
    assert all(Path(product.image).is_absolute() for product in products)


def test_rows_stream_and_bad_ones_can_be_left_out(shop: Path) -> None:
    good, bad = json.dumps(ROWS[0]), json.dumps(ROWS[1] | {"price": "cheap"})
    path = _jsonl(shop, f"{good}\n{bad}\n{{oops\n{good}\n{json.dumps(ROWS[1])}\n")
    rows = feeds.iterate(path)
    assert next(rows).product == _expected(shop)[0]  # before anything is known of the rows behind
    with pytest.raises(FeedError, match="line 2: price 'cheap'"):
        next(rows)
    first, cheap, broken, twice, last = feeds.iterate(path, skip_bad_rows=True)
    assert [first.product, last.product] == _expected(shop)
    assert [row.place for row in (cheap, broken, twice)] == ["line 2", "line 3", "line 4"]
    assert "cannot be read" in cheap.problem
    assert (
        broken.problem
        == "broken JSON (Expecting property name enclosed in double quotes at column 2). Fix or remove it."
    )
    assert "already used in line 1" in twice.problem
    assert [warning.kind for warning in last.warnings] == ["no category", "no price"]


def test_a_further_photo_that_is_missing_is_noted(shop: Path) -> None:
    path = _jsonl(shop, [ROWS[1] | {"more_images": ["shoe.png", "gone.png", "../secret.png", "shoe.png"]}])
    (row,) = feeds.iterate(path)
    assert row.product is not None
    assert row.product.more_images == (str(shop / "shoe.png"),)
    left_out = [warning.detail for warning in row.warnings if warning.kind == "photo left out"]
    assert "gone.png: no such image" in left_out[0]
    assert "leaves the catalog's folder" in left_out[1]


def test_an_unknown_availability_is_noted_and_a_known_one_spelled_one_way(shop: Path) -> None:
    rows = [ROWS[0] | {"availability": "In Stock"}, ROWS[1] | {"availability": "ask in the shop"}]
    first, second = feeds.iterate(_jsonl(shop, rows))
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
    assert [product.product_id for product in feeds.read(_jsonl(shop, [ROWS[1] | {"product_id": product_id}]))] == [
        product_id
    ]


@pytest.mark.parametrize("number", [7.0, 1e3, True, Decimal("7.00")])
def test_an_id_that_is_a_fraction_is_refused_because_a_log_says_it_otherwise(shop: Path, number: object) -> None:
    rows = [{"id": number, "title": "Mug", "image": "shoe.png"}]
    pq.write_table(pa.Table.from_pylist(rows), shop / "feed.parquet")
    wanted = f"product id {number} is no text and no whole number. Write it as text"
    assert wanted in _error(shop / "feed.parquet")
    if not isinstance(number, Decimal):
        assert wanted in _error(_jsonl(shop, rows))


@pytest.mark.parametrize("twin", ["Cafe\u0301", "Caf\u00e9\u200b", "\ufeffCaf\u00e9"], ids=["nfd", "no-width", "bom"])
def test_ids_that_look_the_same_are_one_id_used_twice(shop: Path, twin: str) -> None:
    message = _error(_jsonl(shop, [ROWS[1] | {"product_id": "Caf\u00e9"}, ROWS[1] | {"product_id": twin}]))
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
    assert feeds.read(_jsonl(shop, [ROWS[1] | {"title": "Cafe\u0301"}]))[0].title == "Caf\u00e9"
    for kept in ("<Mug>", "<script>alert(1)</script> Mug"):  # no formatting: nothing is dropped
        assert feeds.read(_jsonl(shop, [ROWS[1] | {"title": kept}]))[0].title == kept
    row = f"1,{title},Home &amp; Garden &gt; Mugs,a &amp; b,<p>Clay</p>,shoe.png\n"
    (product,) = feeds.read(_csv(shop, head + row))
    assert product.title == "Salt & pepper \u2013 2 pcs evil"
    assert (product.category, product.tags) == (("Home & Garden", "Mugs"), ("a & b",))
    assert product.attributes == {"material": "Clay"}


def test_a_links_parameters_are_no_entities(shop: Path) -> None:
    link = "https://shop.example/?a=1&copy=2&amp;reg=3"
    (product,) = feeds.read(_jsonl(shop, [ROWS[1] | {"link": link, "brand": "x"}]))
    assert product.attributes["link"] == "https://shop.example/?a=1&copy=2&reg=3"


def test_links_without_a_scheme_and_paths_of_windows_are_understood(shop: Path) -> None:
    row = ROWS[1] | {"image": "pictures\\mug.png", "more_images": "//cdn.example/a.png,//cdn.example/b.png?w=1&amp;h=2"}
    (product,) = feeds.read(_jsonl(shop, [row]), allow_remote=True)
    assert product.image == str(shop / "pictures" / "mug.png")
    assert product.more_images == ("https://cdn.example/a.png", "https://cdn.example/b.png?w=1&h=2")


@pytest.mark.parametrize("kind", [None, "json", "csv", "parquet", "google-xml"])
def test_what_is_no_regular_file_is_refused_unopened(tmp_path: Path, kind: str | None) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros.csv").symlink_to("/dev/zero")
    for name in ("pipe", "zeros.csv", "."):
        with pytest.raises(FeedError, match="no regular file"):
            feeds.read(tmp_path / name, format=kind)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux shows its processes as files")
def test_a_file_that_the_system_makes_up_as_it_is_read_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to("/proc/self/status")  # as /proc/kmsg, which has 0 bytes too and never ends
    with pytest.raises(FeedError, match="the catalog is empty"):
        feeds.read(tmp_path / "a.csv")


def test_a_giant_json_list_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[")
    os.truncate(tmp_path / "a.json", 256_000_001)
    with pytest.raises(FeedError, match="a JSON list of over 256 MB"):
        feeds.read(tmp_path / "a.json")


def test_of_many_photos_the_first_are_looked_at(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = ["pictures/mug.png", *(f"photo{number}.png" for number in range(100_000))]
    looked: list[Path] = []
    monkeypatch.setattr(checking, "check_image", lambda path: looked.append(path))
    path = _jsonl(shop, [ROWS[1] | {"image": "shoe.png", "more_images": photos * 2}])
    (row,) = feeds.iterate(path)
    assert row.product is not None
    assert row.product.more_images[0].endswith("mug.png")
    assert len(row.product.more_images) == len(looked) - 1 == 20
    assert [warning.detail for warning in row.warnings if warning.kind == "photo left out"] == [
        "only the first 20 further photos are looked at"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string()), pa.list_(pa.string())])
def test_a_small_parquet_file_of_giant_texts_is_refused(shop: Path, kind: pa.DataType) -> None:
    """Parquet writes a text that repeats once; the rows that name it are as many and as long as they like."""
    text = "x" * 2_000_000
    title = [text] * 64 if kind == pa.string() else [[text]] * 64
    titles = pa.DictionaryArray.from_arrays(pa.array([0] * 64, pa.int32()), [text]) if "dict" in str(kind) else title
    table = pa.table({"id": list(map(str, range(64))), "title": titles, "image": ["shoe.png"] * 64})
    pq.write_table(table, shop / "a.parquet", compression="zstd")
    assert (shop / "a.parquet").stat().st_size < 30_000
    assert "row 1: over 64,000,000 bytes in 64 rows" in _error(shop / "a.parquet")


def test_values_that_parquet_names_by_number_are_read(shop: Path) -> None:
    titles = pa.array(["Mug", "Cup", "Mug"]).dictionary_encode()
    prices = pa.array([1.5, 2.5, 1.5]).dictionary_encode()
    pq.write_table(
        pa.table({"id": list("abc"), "title": titles, "price": prices, "image": ["shoe.png"] * 3}), shop / "a.parquet"
    )
    found = feeds.read(shop / "a.parquet")
    assert [(product.title, product.price) for product in found] == [("Mug", 1.5), ("Cup", 2.5), ("Mug", 1.5)]


def test_the_number_of_rows_and_of_those_left_out_that_are_listed_is_bounded(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _csv(shop, "id,title,image\n" + "b,,\n" * 30 + "a,Mug,shoe.png\n")
    monkeypatch.setattr("clickscape.catalog.feed_report.MOST_SKIPPED", 10)
    builder = FeedReportBuilder()
    for row in feeds.iterate(path, skip_bad_rows=True):
        if row.product is None:
            builder.add_skipped(row.place, row.problem)
        else:
            builder.add_product(*row.warnings)
    report = builder.build()
    assert (report.products, len(report.skipped), report.unlisted) == (1, 10, 20)
    lines = list(report.lines())
    assert lines[-1] == "left out, 20 further rows: after 10 that are listed"
    assert "no price: 1 of 31 rows, line 32" in lines
    monkeypatch.setattr(feeds, "MOST_ROWS", 30)
    with pytest.raises(FeedError, match="line 32: over 30 rows"):
        list(feeds.iterate(path, skip_bad_rows=True))


def test_a_bad_row_names_the_option_that_leaves_it_out(shop: Path) -> None:
    (shop / "broken.png").write_bytes(b"no picture")
    (shop / "feed.csv").write_text("id,title,image\nA-17,Mug,broken.png\n")
    said = _error(shop / "feed.csv")
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
