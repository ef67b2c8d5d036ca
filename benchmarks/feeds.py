"""How fast is a feed read, and in how much memory, beside a DOM parse?  python benchmarks/feeds.py --megabytes 300

Writes a synthetic Google feed with image links as XML and its like as CSV, reads each in a process of its own (so that
its peak memory is its own), and parses a smaller XML whole with lxml, because a DOM grows with the file. Prints a table
and appends one JSON row to benchmarks/results/feeds.jsonl.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

from _results import append_row

_SENTENCES = (
    "Light & <b>soft</b> mesh that breathes.",
    "A sole that springs back after every step.",
    "Made of recycled yarn; wash it cold, dry it flat.",
    "<ul><li>Reflective heel</li><li>Wide toe box</li></ul>",
)


def _products() -> Iterator[dict[str, str]]:
    number = 0
    while True:
        number += 1
        yield {
            "id": f"SKU-{number:09d}",
            "title": f"Running Shoe No. {number}, Lightweight Mesh",
            "description": "<p>" + " ".join(_SENTENCES[(number + k) % 4] for k in range(5)) + "</p>",
            "link": f"https://shop.example/products/{number}",
            "image_link": f"https://cdn.shop.example/{number}.jpg",
            "additional_image_link": f"https://cdn.shop.example/{number}-side.jpg",
            "google_product_category": "Apparel & Accessories > Shoes",
            "product_type": "Sport > Running > Shoes",
            "price": f"{20 + number % 180}.99 EUR",
            "sale_price": f"{10 + number % 90}.99 EUR",
            "availability": "in stock",
            "condition": "new",
            "brand": "Aurora",
            "gtin": f"{4_000_000_000_000 + number}",
            "color": "red",
            "size": f"{36 + number % 12}",
            "item_group_id": f"G-{number // 12}",
        }


def _write_xml(path: Path, size: int) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.write('<?xml version="1.0"?>\n<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0"><channel>\n')
        for product in _products():
            cells = "".join(f"<g:{name}>{escape(value)}</g:{name}>\n" for name, value in product.items())
            stream.write(f"<item>\n{cells}</item>\n")
            if stream.tell() >= size:
                break
        stream.write("</channel></rss>\n")


def _write_csv(path: Path, size: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        products = _products()
        first = next(products)
        writer = csv.DictWriter(stream, list(first))
        writer.writeheader()
        writer.writerow(first)
        for product in products:
            writer.writerow(product)
            if stream.tell() >= size:
                break


def _stream(path: str) -> dict[str, float]:
    from clickscape.catalog import feeds

    before, cpu = _peak_mib(), time.process_time()
    products = sum(row.product is not None for row in feeds.iterate(path, allow_remote=True))
    return _measured(path, time.process_time() - cpu, before, products)


def _document(path: str) -> dict[str, float]:
    from lxml import etree

    before, cpu = _peak_mib(), time.process_time()
    tree = etree.parse(path)
    products = 0
    for item in tree.iter("item"):  # as much as any reader must do: every element's text
        products += bool({element.tag: element.text for element in item})
    return _measured(path, time.process_time() - cpu, before, products)


def _measured(path: str, cpu: float, before: float, products: int) -> dict[str, float]:
    megabytes = Path(path).stat().st_size / 1e6
    return {
        "megabytes": round(megabytes, 1),
        "products": products,
        "cpu_seconds": round(cpu, 2),
        "mb_per_cpu_second": round(megabytes / cpu, 1),
        "microseconds_per_product": round(cpu / products * 1e6, 1),
        "peak_mib": round(_peak_mib()),
        "grown_mib": round(_peak_mib() - before, 1),
    }


def _peak_mib() -> float:
    """Peak of resident memory since this process's own start (ru_maxrss would count its parent's)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Measure, print, and keep the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=300, help="size of the XML feed")
    parser.add_argument("--csv", type=int, default=100, help="megabytes of the CSV feed")
    parser.add_argument("--document", type=int, default=60, help="megabytes that are parsed as a whole")
    settings = vars(parser.parse_args())
    measured: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        jobs = (
            ("xml", _write_xml, settings["megabytes"], _stream),
            ("xml, a fifth", _write_xml, settings["megabytes"] // 5, _stream),
            ("csv", _write_csv, settings["csv"], _stream),
            ("document", _write_xml, settings["document"], _document),
        )
        for name, write, megabytes, read in jobs:
            path = root / "feed"
            write(path, megabytes * 1_000_000)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                measured[name] = pool.apply(read, (str(path),))
    columns = list(measured["xml"])
    print(f"{'':>14}" + "".join(f"{column:>26}" for column in columns))
    for name, row in measured.items():
        print(f"{name:>14}" + "".join(f"{row[column]:>26,}" for column in columns))
    xml, document = measured["xml"], measured["document"]
    ratio = document["grown_mib"] / document["megabytes"] / (xml["grown_mib"] / xml["megabytes"])
    print(f"memory per megabyte of feed: a document takes {ratio:,.0f} times what the stream takes")
    append_row({**settings, **measured}, by="feeds")


if __name__ == "__main__":
    main()
