"""A table of a shop's own ads: what each column may say, what makes a row bad, and what breaks the whole table."""

from __future__ import annotations

import functools
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clickscape.catalog import own_ads
from clickscape.catalog.own_ads import OwnAds
from clickscape.errors import FeedError
from clickscape.types import ClickCounts

PRODUCTS = {"mug", "shoe", "7"}


@functools.cache
def _bomb() -> bytes:
    """A small PNG of 81 million pixels."""
    file = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with pictures, and a secret beside it."""
    made = tmp_path / "shop"
    made.mkdir()
    for number, name in enumerate(("a.png", "b.png", "c d.jpg")):
        Image.fromarray(np.full((8, 8, 3), 60 * number, np.uint8)).save(made / name)
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (made / "link.png").symlink_to(tmp_path / "secret.png")
    (made / "words.png").write_text("no picture")
    (made / "bomb.png").write_bytes(_bomb())
    os.mkfifo(made / "pipe.png")
    return made


def read(folder: Path, *rows: Mapping[str, object], **options: Any) -> OwnAds:
    """What is read of rows that are written as JSON Lines."""
    path = folder / "ads.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return own_ads.read(path, product_ids=PRODUCTS, **options)


def test_a_row_says_all_that_there_is_to_say(folder: Path) -> None:
    row = {
        "product_id": "mug", "image": "a.png", "creative_id": "spring-1", "description": "A <b>mug</b> on  oak",
        "status": "Retired", "impressions": "1200", "clicks": 31.0, "campaign": "spring",
    }  # fmt: skip
    found = read(folder, row)
    (ad,) = found.ads
    assert (ad.creative_id, ad.product_id, ad.image) == ("spring-1", "mug", str(folder / "a.png"))
    assert (ad.description, ad.status, ad.counts) == ("A mug on oak", "retired", ClickCounts(1200, 31))
    assert found.unread == ("campaign",)
    assert found.lines() == ["columns not read: campaign"]


def test_a_row_without_more_than_it_needs_is_called_as_its_file(folder: Path) -> None:
    found = read(
        folder, {"product_id": 7, "image_link": "c d.jpg"}, {"product_id": "mug", "image": "a.png", "clicks": ""}
    )
    assert [(ad.creative_id, ad.product_id) for ad in found.ads] == [("c d", "7"), ("a", "mug")]
    assert {(ad.description, ad.status, ad.counts) for ad in found.ads} == {("", None, None)}
    assert not found.skipped


@pytest.mark.parametrize(
    "kind", ["csv", "semicolons", "utf-16", "tsv", "jsonl", "parquet", "parquet without its ending"]
)
def test_every_kind_of_file_says_the_same(folder: Path, kind: str) -> None:
    cells = [
        ["product_id", "Image", "impressions", "clicks"],
        ["mug", "a.png", "10", "1"],
        ["shoe", "b.png", "20", "2"],
    ]
    path = folder / {"jsonl": "ads.jsonl", "parquet": "ads.parquet"}.get(kind, "ads")
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps(dict(zip(cells[0], row, strict=True))) for row in cells[1:]))
    elif kind.startswith("parquet"):
        pq.write_table(pa.Table.from_pylist([dict(zip(cells[0], row, strict=True)) for row in cells[1:]]), path)
    else:
        between = {"semicolons": ";", "tsv": "\t"}.get(kind, ",")
        text = "\r\n".join(between.join(row) for row in cells)
        path.write_text(text, encoding="utf-16" if kind == "utf-16" else "utf-8", newline="")
    found = own_ads.read(path, product_ids=PRODUCTS)
    assert [(ad.product_id, Path(ad.image).name, ad.counts) for ad in found.ads] == [
        ("mug", "a.png", ClickCounts(10, 1)),
        ("shoe", "b.png", ClickCounts(20, 2)),
    ]


BAD: list[tuple[dict[str, object], str]] = [
    ({"product_id": None}, "no product id. Fill the column product_id."),
    ({"product_id": 7.0}, "product id 7.0 is no text and no whole number. Write it as text."),
    ({"product_id": "lamp"}, "product 'lamp' is not in the catalog. Ingest a feed that has it, or correct the id."),
    ({"image": ""}, "no image for product 'mug'. Add an image (or image_link) column"),
    ({"image": "gone.png"}, "gone.png: no such image. Put the file there, or correct the path."),
    ({"image": "../secret.png"}, "the image '../secret.png' of product 'mug' leaves the folder of the table"),
    ({"image": "link.png"}, "the image 'link.png' of product 'mug' leaves the folder of the table"),
    ({"image": "/etc/passwd"}, "leaves the folder of the table"),
    ({"image": "file:///etc/passwd"}, "is a URL ('file:///etc/passwd'); remote images need --allow-remote"),
    ({"image": "https://shop.example/a.png"}, "remote images need --allow-remote. Pass it, or download the pictures"),
    ({"image": "a\0.png"}, "cannot be used. Correct it."),
    ({"image": "words.png"}, "words.png: not an image of a known format. Save it as one of PNG"),
    ({"image": "bomb.png"}, "bomb.png: 9000 × 9000 = 81 million pixels. At most 64 million are opened"),
    ({"image": "pipe.png"}, "pipe.png: expected an image file, found something else."),
    ({"creative_id": "x\u001b[2J"}, "creative id 'x\\x1b[2J' is too long or holds control characters."),
    ({"creative_id": "x" * 201}, "is too long or holds control characters. Use at most 200"),
    ({"creative_id": 1.5}, "creative id 1.5 is no text and no whole number."),
    ({"description": ["oak"]}, "the description of creative 'a' is no text but ['oak']. Write it as text."),
    ({"status": "running"}, "status 'running' of creative 'a' is none of draft, approved, rejected, live, retired."),
    ({"status": ["live"]}, "status ['live'] of creative 'a' is none of draft"),
    ({"clicks": 3}, "creative 'a' has only one of impressions and clicks. Fill both, or neither."),
    ({"impressions": 3}, "creative 'a' has only one of impressions and clicks."),
    ({"impressions": 3, "clicks": 4}, "creative 'a' has 4 clicks of 3 impressions. Correct them."),
    ({"impressions": -3, "clicks": 0}, "impressions of creative 'a' are -3, expected a number such as 1200."),
    ({"impressions": "1.200", "clicks": 0}, "impressions of creative 'a' are '1.200', expected"),
    ({"impressions": "1.000", "clicks": 0}, "impressions of creative 'a' are '1.000', expected"),
    ({"impressions": 48.6, "clicks": 0}, "impressions of creative 'a' are 48.6, expected"),
    ({"impressions": 1e300, "clicks": 0}, "impressions of creative 'a' are 1e+300, expected"),
    ({"impressions": True, "clicks": 0}, "impressions of creative 'a' are True, expected"),
    ({"impressions": [3], "clicks": 0}, "impressions of creative 'a' are [3], expected"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "reason"), BAD, ids=[reason[:60] for _, reason in BAD])
def test_a_bad_row_is_named_with_its_reason_and_the_others_are_read(
    folder: Path, change: dict[str, object], reason: str
) -> None:
    good = {"product_id": "shoe", "image": "b.png"}
    found = read(folder, good, {"product_id": "mug", "image": "a.png"} | change)
    assert [ad.creative_id for ad in found.ads] == ["b"]
    (bad,) = found.skipped
    assert bad.place == "line 2"
    assert reason in bad.reason
    assert found.lines() == [f"left out, line 2: {bad.reason}"]
    with pytest.raises(FeedError, match=r"ads\.jsonl, line 2: .* Or pass --skip-bad-rows"):
        own_ads.refuse(folder / "ads.jsonl", found.skipped)


def test_an_id_is_used_once_whether_it_was_given_or_made_of_the_file(folder: Path) -> None:
    rows = [{"product_id": "mug", "image": "a.png"}, {"product_id": "shoe", "image": "b.png", "creative_id": "a"}]
    found = read(folder, *rows)
    (bad,) = found.skipped
    assert bad.reason == "creative id 'a' was already used in line 1. Give each ad a creative_id of its own."


def test_the_first_bad_row_is_told_with_the_places_of_the_further_ones(folder: Path) -> None:
    found = read(folder, *[{"product_id": f"gone-{number}", "image": "a.png"} for number in range(9)])
    with pytest.raises(FeedError) as stop:
        own_ads.refuse(folder / "ads.jsonl", found.skipped)
    assert "line 1: product 'gone-0' is not in the catalog." in str(stop.value)
    assert "Further bad rows (8): line 2, line 3, line 4, line 5, line 6, …." in str(stop.value)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("ads.csv", b"", "the table is empty"),
        ("ads.csv", b"product_id,image\n", "no row. Add one ad a row"),
        ("ads.csv", b"sku,picture\nmug,a.png\n", "line 1: no column product_id; found sku, picture."),
        ("ads.csv", b"product_id,picture\nmug,a.png\n", "no column image or image_link"),
        ("ads.csv", b"product_id,image,image\nmug,a.png,b.png\n", "the column 'image' occurs twice"),
        ("ads.json", b"[]", "ads come as csv, jsonl, parquet, not as json"),
        ("ads.xml", b"<rss></rss>", "ads come as csv, jsonl, parquet, not as google-xml"),
        ("ads.csv", b"PK\x03\x04", "a file packed with ZIP"),
        ("ads.parquet", b"PAR1 and no more", "not a readable Parquet file"),
    ],
)
def test_what_breaks_the_whole_table_is_one_line(folder: Path, name: str, content: bytes, reason: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(FeedError) as stop:
        own_ads.read(folder / name, product_ids=PRODUCTS)
    assert reason in str(stop.value)
    assert str(stop.value).startswith(str(folder / name))


def test_a_link_is_kept_to_be_fetched_where_that_is_allowed(folder: Path) -> None:
    link = "https://shop.example/img/Spring%20sale.jpg?size=2"
    (ad,) = read(folder, {"product_id": "mug", "image": link}, allow_remote=True).ads
    assert (ad.image, ad.creative_id) == (link, "Spring sale")


def test_pictures_of_a_workspace_table_count_from_the_workspace(folder: Path) -> None:
    (folder / "creatives" / "images").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "creatives" / "images" / "x.webp")
    table = pa.table(
        {"product_id": ["mug"], "creative_id": ["x"], "image": ["creatives/images/x.webp"], "scene": ["{}"]}
    )
    pq.write_table(table, folder / "creatives" / "creatives.parquet")
    found = own_ads.read(folder / "creatives" / "creatives.parquet", product_ids=PRODUCTS)
    assert [Path(ad.image) for ad in found.ads] == [folder / "creatives" / "images" / "x.webp"]
    assert found.unread == ("scene",)
