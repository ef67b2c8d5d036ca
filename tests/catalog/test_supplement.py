"""Feeds read back by parsers that share nothing with the writer, and text that tries to be more than text."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from lxml import etree

from clickscape.catalog import supplement
from clickscape.catalog.supplement import GOOGLE, Pictures
from clickscape.errors import FeedError
from clickscape.stages import feeds_out
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


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_no_cell_of_a_table_runs_as_a_formula(start: str) -> None:
    """Ids and titles must stay as they are in the shop, so such rows are left out; XML has no cells."""
    bad_id, bad_title = Product(f"{start}cmd|' /C calc'!A0", "Tin"), Product("B", f" {start}SUM(A1)")
    for file in supplement.FEEDS:
        assert (supplement.unfit(bad_id, file=file) is None) == file.endswith(".xml")
        assert (supplement.unfit(bad_title, file=file) is None) == (not file.startswith("shopify"))
        assert supplement.unfit(Product("A\x00", "Tin"), file=file) == "its id holds control characters"
        assert supplement.unfit(Product("A-1", ODD), file=file) is None


def record(product_id: str, placement: str, file: str) -> dict[str, str]:
    return {"product_id": product_id, "placement": placement, "file": f"{placement}/{file}"}


def test_placements_fill_the_columns_that_their_pages_name(tmp_path: Path) -> None:
    products = {"A": Product("A", "Tin"), "=B": Product("=B", "Mug")}
    records = [
        record("A", "google-image-link", "A%201.jpg"),
        record("A", "google-image-link", "A%202.jpg"),
        record("A", "google-additional-image", "A%201.jpg"),
        record("A", "google-lifestyle-image", "A%201.jpg"),
        record("A", "google-lifestyle-image", "A%202.jpg"),
        record("=B", "google-image-link", "B.jpg"),
        record("A", "meta-feed", "A%201.jpg"),
        record("A", "meta-stories", "A%201.jpg"),
        record("A", "google-display-300x250", "A%201.jpg"),
    ]
    written, left = feeds_out.write(tmp_path, records, products, base=feeds_out.checked("https://bücher.example/a b,/"))
    base = "https://xn--bcher-kva.example/a%20b%2C"
    assert [path.name for path in written] == [
        "google-supplemental.tsv", "google-supplemental.xml", "meta-supplemental.csv",
    ]  # fmt: skip
    (row,) = csv.DictReader(io.StringIO(written[0].read_text(encoding="utf-8")), delimiter="\t")
    assert row["image_link"] == f"{base}/google-image-link/A%25201.jpg"
    assert row["additional_image_link"].split(",") == [
        f"{base}/google-image-link/A%25202.jpg",
        f"{base}/google-additional-image/A%25201.jpg",
    ]
    assert row["lifestyle_image_link"] == f"{base}/google-lifestyle-image/A%25201.jpg"
    assert list(left) == ["=B"]
    ids = etree.parse(str(written[1])).getroot().findall(f".//{{{GOOGLE}}}id")
    assert [one.text for one in ids] == ["A", "=B"]
    (row,) = csv.DictReader(io.StringIO(written[2].read_text(encoding="utf-8")))
    assert row == {"id": "A", "image_link": f"{base}/meta-feed/A%25201.jpg", "additional_image_link": ""}

    assert feeds_out.write(tmp_path, records, products, base=None) == ((), {})
    assert not list((tmp_path / "feeds").iterdir()), "feeds that no longer hold are removed"


def test_a_link_that_no_platform_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="2000 are allowed"):
        feeds_out.write(
            tmp_path,
            [record("A", "meta-feed", "a.jpg")],
            {"A": Product("A", "Tin")},
            base="https://e.org/" + "x" * 2000,
        )
