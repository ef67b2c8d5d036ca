"""One catalog and one click log in the many shapes that shops export them in; all of them mean the same."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

TITLES = (
    'Pan 12" "Classic", cast iron',
    "<b>Mug</b> &amp; saucer",
    "Lampe d’été — déjà vu",
    "手描きの陶器のマグカップ 330ml",
)
CLEAN_TITLES = (TITLES[0], "Mug & saucer", *TITLES[2:])
PRODUCT_IDS = ("007", "A/17:b*?", "ä-1", "00-12")
_NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def write_feed(folder: Path, rng: random.Random) -> tuple[Path, dict[str, str]]:
    """Write four products as CSV, TSV, JSON Lines or Google's XML; returns the file and id → title as it should be."""
    rows = [
        {
            "id": name,
            "title": title,
            "category": "Home > Kitchen",
            "price": "12.50",
            "image_link": "pictures/product.png",
        }
        for name, title in zip(PRODUCT_IDS, TITLES, strict=True)
    ]
    rng.shuffle(rows)
    kind = rng.choice(("csv", "tsv", "jsonl", "xml"))
    path = folder / f"feed.{kind}"
    if kind == "xml":
        path.write_text(_google_xml(rows), encoding="utf-8")
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        path.write_text(
            _delimited(rows, rng, "," if kind == "csv" else "\t"), encoding=rng.choice(("utf-8", "utf-8-sig"))
        )
    return path, dict(zip(PRODUCT_IDS, CLEAN_TITLES, strict=True))


def wrong_products(workspace: Path, expected: dict[str, str]) -> str:
    """What is wrong about the products of a workspace, or nothing."""
    from clickscape.workspace import Workspace

    found = {product.product_id: product.title for product in Workspace(workspace).products()}
    return "" if found == expected else f"products {found}, expected {expected}"


def wrong_ads(workspace: Path) -> str:
    """What is wrong with the own ads that were ingested, or ""."""
    from clickscape.types import OWN
    from clickscape.workspace import Workspace

    found = [one.creative_id for one in Workspace.open(workspace).creatives() if one.renderer == OWN]
    return "" if found == ["own first", "own second"] else f"own ads {found}"


def write_log(folder: Path, rng: random.Random) -> tuple[list[str], list[Path], tuple[int, int]]:
    """Write events of the shop's creatives; returns the command's arguments, the files, and impressions and clicks."""
    creatives = pq.read_table(folder / "shop/creatives/creatives.parquet", columns=["creative_id", "product_id"])
    rows, clicks = [], 0
    for number in range(300):
        creative = creatives.slice(number % creatives.num_rows, 1).to_pylist()[0]
        row = {
            "event_id": f"{number:05d}", "ts": _NOW + timedelta(seconds=60 * number), "kind": "impression",
            "decision_id": f"{number:04d}", **creative, "position": 1 + number % 3, "user_key": f"u{number}",
        }  # fmt: skip
        rows.append(row)
        if number % 7 == 0:
            clicks += 1
            rows.append({**row, "event_id": f"c{number}", "kind": "click", "ts": row["ts"] + timedelta(seconds=5)})
    rng.shuffle(rows)
    kind = rng.choice(("parquet", "parquet", "csv", "tsv", "jsonl"))
    root = folder / ("shop/clicks/events" if kind == "parquet" else "export")
    names = rng.choice(
        (["a"], ["a", "day=2026-01-05/part-0"], ["position=9/a", "position=8/b", "c"], ["x y/z", "ü/[1]"])
    )
    suffix = rng.choice((kind, kind, kind.upper()))
    parts = [rows[number :: len(names)] for number in range(len(names))]
    files = []
    for name, part in zip(names, parts, strict=True):
        path = root / f"{name}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_events(path, part, rng)
        files.append(path)
    where = [] if kind == "parquet" else ["--log", f"{root.relative_to(folder)}/**/*.{suffix}"]
    return ["clicks", "shop", *where], files, (300, clicks)


def wrong_counts(workspace: Path, expected: tuple[int, int]) -> str:
    """What is wrong about the impressions and clicks that the newest run counted, or nothing."""
    runs = (workspace / "runs").glob("*-clicks*/manifest.json")
    newest = max((json.loads(path.read_bytes()) for path in runs), key=lambda manifest: str(manifest["ended"]))
    found = (newest["result"]["impressions"], newest["result"]["clicks"])
    return "" if found == expected else f"counted {found} impressions and clicks, expected {expected}"


def _write_events(path: Path, rows: Sequence[dict[str, object]], rng: random.Random) -> None:
    kind = path.suffix.lower()
    if kind == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
        return
    zone = rng.choice(("Z", "+00:00", ""))
    texts = [{**row, "ts": f"{row['ts']:%Y-%m-%dT%H:%M:%S}{zone}"} for row in rows]
    if kind == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in texts), encoding="utf-8")
    else:
        path.write_text(_delimited(texts, rng, "," if kind == ".csv" else "\t", log=True), encoding="utf-8", newline="")


def _delimited(rows: Sequence[dict[str, object]], rng: random.Random, delimiter: str, *, log: bool = False) -> str:
    """A table as a spreadsheet or a database leaves it: line ends, quoting, order of columns, in feeds also residue."""
    names = [str(name) for name in rows[0]]
    rng.shuffle(names)
    if log:
        header, extra = names, {}
    else:
        spell = rng.choice((str, str.title, str.upper, lambda name: f" {name} "))
        header = [spell(name) for name in names]
        extra = {"description": 'two\nlines, and a "quotation"'} if rng.random() < 0.5 else {}
        if rng.random() < 0.3:
            extra |= {"": "", " ": ""}
    stream = io.StringIO()
    writer = csv.writer(
        stream,
        delimiter=delimiter,
        quoting=rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)),
        lineterminator=rng.choice(("\n", "\r\n")),
    )
    writer.writerow([*header, *extra])
    for row in rows:
        writer.writerow([*(row[name] for name in names), *extra.values()])
        if not log and rng.random() < 0.2:
            writer.writerow([""] * len([*header, *extra]))
    return stream.getvalue()


def _google_xml(rows: Sequence[dict[str, str]]) -> str:
    from xml.sax.saxutils import escape

    items = "".join(
        "<item>"
        + "".join(f"<g:{name}>{escape(value)}</g:{name}>" for name, value in row.items() if name != "category")
        + f"<g:product_type>{escape(row['category'])}</g:product_type></item>\n"
        for row in rows
    )
    return f'<?xml version="1.0"?>\n<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel>{items}</channel></rss>'
