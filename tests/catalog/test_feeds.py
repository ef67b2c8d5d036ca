"""Feeds: the same catalog in every format, and every wrong input with the line it is on and the remedy."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.catalog.conftest import ROWS, feed_error, write_csv, write_jsonl

import clickscape.catalog
from clickscape.catalog import checking, feeds
from clickscape.catalog.formats.row import is_visible, words
from clickscape.catalog.split import split_by_hash
from clickscape.errors import FeedError
from clickscape.types import Product


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


def test_a_json_lines_catalog_is_read(shop: Path) -> None:
    path = write_jsonl(shop, ROWS)
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
    path = write_jsonl(shop, ROWS).rename(shop / "catalog.txt")
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
    (product,) = feeds.read(write_jsonl(shop, [ROWS[1] | {"price": text}]))
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
    found = feed_error(write_jsonl(shop, [ROWS[0], second]))
    assert message in found
    assert "line 2" in found


def test_an_absolute_path_must_lie_in_the_folder_too(shop: Path) -> None:
    inside, outside = shop / "shoe.png", shop.parent / "secret.png"
    Image.new("RGB", (4, 4)).save(outside)
    assert feeds.read(write_jsonl(shop, [ROWS[1] | {"image": str(inside)}]))[0].image == str(inside)
    assert "leaves the catalog's folder" in feed_error(write_jsonl(shop, [ROWS[1] | {"image": str(outside)}]))


def test_links_inside_the_folder_are_welcome(shop: Path) -> None:
    (shop / "alias.png").symlink_to("shoe.png")
    assert feeds.read(write_jsonl(shop, [ROWS[1] | {"image": "alias.png"}]))[0].image == str(shop / "shoe.png")


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
    assert message in feed_error(write_jsonl(shop, text))


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
    assert message in feed_error(write_csv(shop, text))


def test_broken_parquet_and_json_are_refused(shop: Path) -> None:
    path = shop / "catalog.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    assert "not a readable Parquet file" in feed_error(path)
    pq.write_table(pa.table({"product_id": ["1"], "title": ["Mug"]}), path)
    assert "no column image or image_link; found product_id, title" in feed_error(path)
    pq.write_table(pa.table({"product_id": ["1"], "title": [None], "image": ["shoe.png"]}), path)
    assert "row 1: product '1' has no title" in feed_error(path)
    single = shop / "list.json"
    single.write_text('{"id": 1}')
    assert "expected a JSON list" in feed_error(single)
    single.write_text('[{"id": 1, "image": "shoe.png", "new_caption": "Shoe"},\n {"id": 2,]')
    assert "line 2: broken JSON" in feed_error(single)
    single.write_text('[{"id": 1, "image": "shoe.png"}]')
    assert "item 1: product '1' has no title" in feed_error(single)
    assert "no such catalog file" in feed_error(shop / "none.csv")


def test_images_are_checked_once_however_many_products_share_one(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    original: Callable[[Path], tuple[int, int]] = checking.check_image
    monkeypatch.setattr(checking, "check_image", lambda path: (seen.append(path), original(path))[1])
    feeds.read(write_jsonl(shop, [ROWS[0] | {"product_id": str(number)} for number in range(50)]))
    assert seen == [shop / "shoe.png"]


_TEXT = st.text(  # < and & may begin a tag or an entity, which are no text
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="<&"), min_size=1, max_size=30
)


@given(titles=st.lists(_TEXT.filter(is_visible), min_size=1, max_size=5), tags=st.lists(_TEXT, max_size=3))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    lines = write_jsonl(shop, "\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    products = feeds.read(lines)
    assert products == feeds.read(shop / "catalog.csv")
    assert [product.title for product in products] == [words(title) for title in titles]


def test_control_characters_never_reach_a_title(shop: Path) -> None:
    (product,) = feeds.read(write_jsonl(shop, [ROWS[1] | {"title": "Mug\x1b[31m red\r\n\x00 cup"}]))
    assert product.title == "Mug red cup"


def test_rows_stream_and_bad_ones_can_be_left_out(shop: Path) -> None:
    good, bad = json.dumps(ROWS[0]), json.dumps(ROWS[1] | {"price": "cheap"})
    path = write_jsonl(shop, f"{good}\n{bad}\n{{oops\n{good}\n{json.dumps(ROWS[1])}\n")
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


def test_texts_that_parquet_stores_as_bytes_are_read_and_a_bad_one_stops_no_other(shop: Path) -> None:
    """Not every writer says which columns are texts."""
    table = {
        "id": [b"a", b"b", b"c"],
        "title": ["Café".encode(), b"\xff\xfe", b"Cup"],
        "tags": [[b"new"], [], []],
        "image": [b"shoe.png"] * 3,
    }
    pq.write_table(pa.table(table), shop / "a.parquet")
    cafe, bad, cup = feeds.iterate(shop / "a.parquet", skip_bad_rows=True)
    assert cafe.product is not None
    assert (cafe.product.product_id, cafe.product.title, cafe.product.tags) == ("a", "Café", ("new",))
    assert (bad.product, bad.place) == (None, "row 2")
    assert "a value cannot be read ('utf-8' codec can't decode byte 0xff" in bad.problem
    assert cup.product is not None


def test_a_value_that_python_has_not_is_passed_over_in_a_column_of_no_use_and_else_refuses_its_row(shop: Path) -> None:
    far = pa.array([0, 1 << 40], pa.timestamp("s"))  # after the year 9999
    table = pa.table({"id": ["a", "b"], "title": ["Mug", "Cup"], "image": ["shoe.png"] * 2, "made": far})
    pq.write_table(table, shop / "a.parquet")
    assert [product.title for product in feeds.read(shop / "a.parquet")] == ["Mug", "Cup"]
    pq.write_table(table.rename_columns(["id", "title", "image", "attribute:made"]), shop / "a.parquet")
    good, bad = feeds.iterate(shop / "a.parquet", skip_bad_rows=True)
    assert good.product is not None
    assert (bad.product, bad.problem) == (None, "a value cannot be read (date value out of range). Correct it.")


def test_a_column_that_parquet_holds_twice_is_refused(shop: Path) -> None:
    columns = [pa.array(values) for values in (["a"], ["Mug"], ["shoe.png"], ["Cup"])]
    table = pa.Table.from_arrays(columns, names=["id", "title", "image", "title"])
    pq.write_table(table, shop / "a.parquet")
    assert "the column 'title' occurs twice. Rename or remove one" in feed_error(shop / "a.parquet")


@pytest.mark.parametrize("unseen", ["\u200b", "\u200d\ufe0f", "\u3000 \u00a0", "\u0301"])
def test_a_title_or_id_of_which_nothing_can_be_seen_is_none(shop: Path, unseen: str) -> None:
    assert "has no title. Fill the column title" in feed_error(write_jsonl(shop, [ROWS[1] | {"title": unseen}]))
    assert "no product id. Fill the column product_id" in feed_error(
        write_jsonl(shop, [ROWS[1] | {"product_id": unseen}])
    )


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_plain_table_keeps_what_products_are_like_and_names_the_columns_that_it_does_not_read(
    shop: Path, kind: str
) -> None:
    """Colors and groups have Google's names; a column of the shop's own has no place in a product."""
    rows = [
        {"product_id": f"M-{color}", "title": f"Mug {color}", "image": "pictures/mug.png", "color": color,
         "item_group_id": "M", "attribute:use": "tea", "Shelf": "14"}
        for color in ("red", "blue")
    ]  # fmt: skip
    path = shop / f"catalog.{kind}"
    if kind == "csv":
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    found = list(feeds.iterate(path))
    products = [row.product for row in found if row.product is not None]
    assert [dict(product.attributes) for product in products] == [
        {"color": color, "item_group_id": "M", "use": "tea"} for color in ("red", "blue")
    ]
    assert len(set(split_by_hash(products).groups.values())) == 1, "color variants stand on one side"
    unread = [one.detail for row in found for one in row.warnings if one.kind == "column not read"]
    assert [name.lower() for name in unread] == ["'shelf'", "'shelf'"]
    assert feeds.read(path, format=kind) == products
