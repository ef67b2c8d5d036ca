"""Detect the format of a catalog from its content: the first bytes, the root element, or the header's columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from clickscape.catalog.formats import delimited, google, merchant, meta, plain, shopify
from clickscape.catalog.formats.lines import open_text
from clickscape.catalog.formats.row import Row, fail

Reader = Callable[[Path], Iterator[Row]]

_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".json": "json"}
_PACKED = {b"\x1f\x8b": "gzip", b"PK": "ZIP", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "Zstandard"}


def detect(path: Path) -> str:
    """The format's name, one of `FORMATS`; FeedError for a packed file.

    A file named .jsonl, .ndjson, .json or .parquet is what it says.
    """
    named = _SUFFIXES.get(path.suffix.lower())
    if named is not None:
        return named
    with path.open("rb") as stream:
        head = stream.read(4096)
    if head.startswith(b"PAR1"):
        return "parquet"
    for magic, kind in _PACKED.items():
        if head.startswith(magic):
            fail(
                str(path),
                f"a file packed with {kind}, expected a catalog. Unpack it first, or save a spreadsheet as CSV UTF-8",
            )
    with open_text(path) as stream:
        start = stream.read(4096).lstrip()
    if start.startswith("<") or head[:4] in (b"\0<\0?", b"<\0?\0"):
        return "google-xml"
    if start.startswith("["):
        return "json"
    if start.startswith("{"):
        return "jsonl"
    columns = delimited.header(path).columns
    if shopify.is_shopify(columns):
        return "shopify"
    if meta.is_meta(columns):
        return "meta"
    return "google-tsv" if google.is_google(columns) else "csv"


def _rows(path: Path) -> Iterator[Row]:
    return delimited.rows(path, delimited.header(path))


FORMATS: Mapping[str, Reader] = {
    "google-xml": google.read_xml,
    "google-tsv": lambda path: map(merchant.translate, _rows(path)),
    "shopify": lambda path: shopify.products(_rows(path)),
    "meta": lambda path: map(meta.translate, _rows(path)),
    "jsonl": plain.read_jsonl,
    "csv": plain.read_csv,
    "parquet": plain.read_parquet,
    "json": plain.read_json,
}
