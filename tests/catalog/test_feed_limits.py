"""Feeds are read within bounds: no pipes and devices, no giant lists and texts, no rows without end."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.catalog.conftest import ROWS, feed_error, write_csv, write_jsonl

from clickscape.catalog import checking, feeds
from clickscape.catalog.feed_report import FeedReportBuilder
from clickscape.errors import FeedError


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
    path = write_jsonl(shop, [ROWS[1] | {"image": "shoe.png", "more_images": photos * 2}])
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
    assert "row 1: over 64,000,000 bytes in 64 rows" in feed_error(shop / "a.parquet")


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
    path = write_csv(shop, "id,title,image\n" + "b,,\n" * 30 + "a,Mug,shoe.png\n")
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
