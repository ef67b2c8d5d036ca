"""Tables as shops and spreadsheets write them: residue, quotation marks that quote nothing, encodings, headers."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.catalog.conftest import feed_error, write

from clickscape.catalog import feeds
from clickscape.catalog.formats.delimited import header, rows
from clickscape.types import Product

TSV = "id\ttitle\timage_link\tprice\tavailability\tcondition\n"


def _products(shop: Path, text: str | bytes) -> list[Product]:
    return feeds.read(write(shop, text))


def _titles(shop: Path, text: str | bytes) -> list[str]:
    return [product.title for product in _products(shop, text)]


def _error(shop: Path, text: str | bytes) -> str:
    return feed_error(write(shop, text))


@pytest.mark.parametrize(
    "text",
    [
        "id,title,image,,\n1,Mug,a.png,,\n2,Cup,b.png,,\n",
        "id,title,image\n1,Mug,a.png\n2,Cup,b.png\n,,\n , ,\n,,\n",
        "id,title,image\n1,Mug,a.png,\n2,Cup,b.png,,,\n",
        "id,title,image\n,,\n1,Mug,a.png\n\n\n2,Cup,b.png\n",
        ",,\n\nid,title,image\n1,Mug,a.png\n2,Cup,b.png\n",
        "sep=;\nid;title;image\n1;Mug;a.png\n2;Cup;b.png\n",
        'id,title,image\n"1", "Mug","a.png"\n"2","Cup" ,b.png\n',
        'ID , Title,"Image\nLink"\r\n1,Mug,a.png\r\n2,Cup,b.png\r\n',
        '"# Required | an id\nfor ever, and a day",\nid,title,image\n1,Mug,a.png\n2,Cup,b.png\n',
        "id,title,image\r1,Mug,a.png\r2,Cup,b.png\r",
    ],
    ids=["columns", "rows", "cells", "between", "above", "sep", "spaces", "header", "comment", "old-mac"],
)
def test_what_a_spreadsheet_leaves_behind_is_no_row_and_no_column(shop: Path, text: str) -> None:
    assert _titles(shop, text) == ["Mug", "Cup"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["feed.csv", "feed.jsonl", "feed.json"])
def test_every_encoding_that_names_itself_is_read(shop: Path, encoding: str, name: str) -> None:
    text = {
        "feed.csv": "id\ttitle\timage\n1\tCafé 日本\ta.png\n",
        "feed.jsonl": '{"id": 1, "title": "Café 日本", "image": "a.png"}\n',
        "feed.json": '[{"id": 1, "title": "Café 日本", "image": "a.png"}]',
    }[name]
    (shop / name).write_bytes(text.encode(encoding))
    assert [product.title for product in feeds.read(shop / name)] == ["Café 日本"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_of_nothing_but_its_byte_order_mark_is_empty(shop: Path, encoding: str) -> None:
    path = write(shop, "".encode(encoding))
    assert path.stat().st_size
    assert list(rows(path, header(path))) == []
    assert "the catalog is empty" in _error(shop, path.read_bytes())


def test_one_line_of_another_encoding_stops_no_other(shop: Path) -> None:
    path = write(shop, b"id,title,image\n1,Mug,a.png\n2,Caf\xe9,a.png\n3,M\0g,a.png\n4,Cup,b.png\n")
    first, latin, nul, last = feeds.iterate(path, skip_bad_rows=True)
    assert [row.product and row.product.title for row in (first, last)] == ["Mug", "Cup"]
    assert (latin.place, latin.problem) == (
        "line 3",
        "byte 0xe9 is not UTF-8. Save the file as UTF-8 (in Excel: CSV UTF-8).",
    )
    assert (nul.place, nul.problem[:10]) == ("line 4", "a NUL byte")


def test_a_quotation_mark_that_quotes_nothing_is_a_letter(shop: Path) -> None:
    text = (
        '1\t"Granny" tea mug, red\ta.png\t9 USD\tin_stock\tnew\n'
        '2\tPan 12" wide\ta.png\t9 USD\tin_stock\tnew\n'
        '3\t"Unclosed mug\ta.png\t9 USD\tin_stock\tnew\n'
        '4\tGreen 4" mug"\ta.png\t9 USD\tin_stock\tnew\n'
        '5\t"A ""quoted"" mug"\ta.png\t9 USD\tin_stock\tnew\n'
        '6\t"Unclosed, too\ta.png\t9 USD\tin_stock\tnew\n'
        '7\tEnds with 12"\ta.png\t9 USD\tin_stock\tnew\n'
    )
    assert _titles(shop, TSV + text) == [
        '"Granny" tea mug, red',
        'Pan 12" wide',
        '"Unclosed mug',
        'Green 4" mug"',
        'A "quoted" mug',
        '"Unclosed, too',
        'Ends with 12"',
    ]


def test_a_line_break_in_quotes_is_no_new_row(shop: Path) -> None:
    text = '1\t"Two\nlines, 12"" wide\n"\ta.png\t9 USD\tin_stock\tnew\n2\tMug\tgone.png\t9 USD\tin_stock\tnew\n'
    first, second = feeds.iterate(write(shop, TSV + text), skip_bad_rows=True)
    assert first.product is not None
    assert (first.place, first.product.title) == ("line 2", 'Two lines, 12" wide')
    assert (second.place, second.product) == ("line 5", None)


def test_an_unclosed_quotation_mark_takes_no_other_row_with_it(shop: Path) -> None:
    text = 'id,title,image\n1,"Mug, large,a.png\n2,Cup,b.png\n3,"Plate",c.png\n4,"Bowl,c.png\n'
    bad, *good = feeds.iterate(write(shop, text), skip_bad_rows=True)
    remedy = "a quotation mark opens and never closes. Close or remove it; the row begins with '1'."
    assert (bad.place, bad.problem) == ("line 2", remedy)
    assert [row.product and row.product.title for row in good] == ["Cup", "Plate", '"Bowl']


def test_many_unclosed_quotation_marks_are_as_many_rows(shop: Path) -> None:
    path = write(shop, TSV + "".join(f'{n}\t"Mug {n}\ta.png\t9 USD\tin_stock\tnew\n' for n in range(20_000)))
    assert sum(row.columns["title"] == f'"Mug {n}' for n, row in enumerate(rows(path, header(path)))) == 20_000


def test_columns_that_google_repeats_are_lists(shop: Path) -> None:
    text = (
        "id\ttitle\timage_link\tadditional_image_link\tadditional image link\tproduct_type\tproduct_type\n"
        "1\tMug\ta.png\tb.png\tc.png\tKitchen > Mugs\tGifts\n2\tCup\ta.png\t\tc.png\t\tGifts\n"
    )
    mug, cup = _products(shop, text)
    assert mug.more_images == (str(shop / "b.png"), str(shop / "c.png"))
    assert cup.more_images == (str(shop / "c.png"),)
    assert (mug.category, cup.category) == (("Kitchen", "Mugs"), ("Gifts",))


def test_a_column_that_has_one_meaning_is_not_repeated(shop: Path) -> None:
    message = "line 1: the column 'title' occurs twice. Rename or remove one"
    assert message in _error(shop, "id\ttitle\tTitle\timage_link\tgtin\n1\tMug\tCup\ta.png\t\n")


@pytest.mark.parametrize("head", ["ID ,Title,Image Link", "Product_ID,TITLE,IMAGE", " id,title ,\u00a0image"])
def test_column_names_may_be_written_in_any_way(shop: Path, head: str) -> None:
    assert _titles(shop, f"{head}\n1,Mug,a.png\n") == ["Mug"]


def test_names_of_attributes_stay_as_they_are(shop: Path) -> None:
    (product,) = _products(shop, "id,title,image,Attribute:Fill Weight\n1,Mug,a.png,300 g\n")
    assert product.attributes == {"Fill Weight": "300 g"}


_CELL = st.text(st.sampled_from('a,"\n\t;é '), max_size=8)


@given(st.lists(st.tuples(_CELL, _CELL, _CELL), max_size=6), st.sampled_from(",;"), st.booleans())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_the_standard_library_writes_is_read_back(
    shop: Path, table: list[tuple[str, str, str]], delimiter: str, all_quoted: bool
) -> None:
    buffer = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
    csv.writer(buffer, delimiter=delimiter, quoting=quoting).writerows([("x", "y", "z"), *table])
    path = write(shop, buffer.getvalue())
    found = [tuple(cell.strip() for cell in row.columns.values()) for row in rows(path, header(path))]
    cells = [tuple(cell.strip() for cell in row) for row in table]
    assert found == [row for row in cells if any(row)]
