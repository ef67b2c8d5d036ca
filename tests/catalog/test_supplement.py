"""Feeds read back by parsers that share nothing with the writer, and text that tries to be more than text."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import pytest
from lxml import etree

from clickscape.catalog import supplement
from clickscape.catalog.supplement import GOOGLE, Pictures
from clickscape.errors import ConfigError, FeedError
from clickscape.render import placements
from clickscape.types import Product

BASE = "https://cdn.example.com/ads"
ODD = 'Mug, "large"\t<b>\nblue & white'


def pictures(number: int, *, product_id: str = "A-1", title: str = ODD, **attributes: str) -> Pictures:
    more = tuple(f"{BASE}/more-{place}.jpg" for place in range(number))
    return Pictures(Product(product_id, title, attributes=attributes), f"{BASE}/main.jpg", more, f"{BASE}/life.jpg")


def test_google_tsv_has_one_line_per_product_and_at_most_ten_more_pictures() -> None:
    text = supplement.google_tsv([pictures(12), Pictures(Product("B 2", "Tin"), lifestyle=f"{BASE}/b.jpg")])
    rows = list(csv.reader(io.StringIO(text), delimiter="\t", strict=True))
    assert rows[0] == ["id", "image_link", "additional_image_link", "lifestyle_image_link"]
    assert rows[1][:2] == ["A-1", f"{BASE}/main.jpg"]
    assert rows[1][2].split(",") == [f"{BASE}/more-{place}.jpg" for place in range(10)]
    assert rows[2] == ["B 2", "", "", f"{BASE}/b.jpg"]
    assert len(text.splitlines()) == 3


def test_google_xml_is_rss_with_the_elements_of_merchant_center() -> None:
    text = supplement.google_xml([pictures(12, product_id="A&<1>"), Pictures(Product("B", "Tin"), f"{BASE}/b.jpg?a&b")])
    root = etree.fromstring(text.encode(), etree.XMLParser(resolve_entities=False, no_network=True))
    assert (root.tag, root.get("version")) == ("rss", "2.0")
    first, second = root.findall("channel/item")
    assert first.findtext(f"{{{GOOGLE}}}id") == "A&<1>"
    assert [one.text for one in first.findall(f"{{{GOOGLE}}}additional_image_link")] == [
        f"{BASE}/more-{place}.jpg" for place in range(10)
    ]
    assert first.findtext(f"{{{GOOGLE}}}lifestyle_image_link") == f"{BASE}/life.jpg"
    assert [one.tag for one in second] == [f"{{{GOOGLE}}}id", f"{{{GOOGLE}}}image_link"]
    assert second[1].text == f"{BASE}/b.jpg?a&b"


def test_meta_csv_takes_twenty_more_pictures() -> None:
    (row,) = csv.DictReader(io.StringIO(supplement.meta_csv([pictures(25)])), strict=True)
    assert row["id"] == "A-1"
    assert row["image_link"] == f"{BASE}/main.jpg"
    assert len(row["additional_image_link"].split(",")) == 20


def test_shopify_csv_has_a_row_per_picture_and_a_title_per_handle() -> None:
    rows = [
        pictures(1, product_id="v1", item_group_id="mug"),
        pictures(0, product_id="t", title="Tin"),
        pictures(0, product_id="v2", item_group_id="mug"),
    ]
    found = list(csv.DictReader(io.StringIO(supplement.shopify_csv(rows)), strict=True))
    assert [row["URL handle"] for row in found] == ["mug", "mug", "mug", "t"]
    assert [row["Image position"] for row in found] == ["1", "2", "3", "1"]
    assert [row["Title"] for row in found] == ['Mug, "large" <b> blue & white', "", "", "Tin"]
    assert all(row["Product image URL"].startswith(BASE) for row in found)
    long = csv.DictReader(io.StringIO(supplement.shopify_csv([pictures(0, title="x" * 2_000)])))
    assert len(next(long)["Image alt text"]) == 512


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "＝", " ="])
def test_no_cell_of_a_table_runs_as_a_formula(start: str) -> None:
    """Ids and titles must stay as they are in the shop, so such rows are left out; XML has no cells."""
    bad_id, bad_title = Product(f"{start}cmd|' /C calc'!A0", "Tin"), Product("B", f" {start}SUM(A1)")
    for file in supplement.FEEDS:
        assert (supplement.unfit(bad_id, file=file) is None) == file.endswith(".xml")
        assert (supplement.unfit(bad_title, file=file) is None) == (not file.startswith("shopify"))
        assert supplement.unfit(Product("A\x00", "Tin"), file=file) == "its id holds control characters"
        assert supplement.unfit(Product("A-1", ODD), file=file) is None


@dataclass(frozen=True)
class File:
    """A picture for a placement, as an export notes it."""

    product_id: str
    placement: str
    file: str


COLUMNS = {one.name: (one.channel, one.feed_column) for one in placements.load()}


def test_placements_fill_the_columns_that_their_pages_name() -> None:
    products = {"A": Product("A", "Tin"), "=B": Product("=B", "Mug")}
    files = [
        File(product_id, placement, f"{placement}/{name}.jpg")
        for product_id, placement, name in (
            ("A", "google-image-link", "A%201"),
            ("A", "google-image-link", "A%202"),
            ("A", "google-additional-image", "A%201"),
            ("A", "google-lifestyle-image", "A%201"),
            ("A", "google-lifestyle-image", "A%202"),
            ("=B", "google-image-link", "B"),
            ("A", "meta-feed", "A%201"),
            ("A", "meta-stories", "A%201"),
            ("A", "google-display-300x250", "A%201"),
        )
    ]
    base = supplement.base_address("https://bücher.example/a b,/")
    assert base == "https://xn--bcher-kva.example/a%20b%2C"
    texts, left_out = supplement.feed_texts(files, products, base=base, columns=COLUMNS)
    assert list(texts) == ["google-supplemental.tsv", "google-supplemental.xml", "meta-supplemental.csv"]
    (row,) = csv.DictReader(io.StringIO(texts["google-supplemental.tsv"]), delimiter="\t")
    assert row["image_link"] == f"{base}/google-image-link/A%25201.jpg"
    assert row["additional_image_link"].split(",") == [
        f"{base}/google-image-link/A%25202.jpg",
        f"{base}/google-additional-image/A%25201.jpg",
    ]
    assert row["lifestyle_image_link"] == f"{base}/google-lifestyle-image/A%25201.jpg"
    assert list(left_out) == ["=B"]
    root = etree.fromstring(texts["google-supplemental.xml"].encode())
    assert [one.text for one in root.findall(f".//{{{GOOGLE}}}id")] == ["A", "=B"]
    (row,) = csv.DictReader(io.StringIO(texts["meta-supplemental.csv"]))
    assert row == {"id": "A", "image_link": f"{base}/meta-feed/A%25201.jpg", "additional_image_link": ""}


def test_a_link_that_no_platform_takes_is_refused() -> None:
    files, products = [File("A", "meta-feed", "meta-feed/a.jpg")], {"A": Product("A", "Tin")}
    with pytest.raises(FeedError, match="2000 are allowed"):
        supplement.feed_texts(files, products, base="https://e.org/" + "x" * 2000, columns=COLUMNS)


@pytest.mark.parametrize(
    "wrong",
    [
        "ftp://example.com",
        "cdn.example.com/ads",
        "https://",
        "https://example.com/?a=b",
        "https://a b/",
        "https://me:pass@e.org",
    ],
)
def test_what_is_no_address_of_a_folder_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="--base-url"):
        supplement.base_address(wrong)
