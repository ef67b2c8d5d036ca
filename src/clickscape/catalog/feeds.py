"""Product feeds → products: the one door for every format in `clickscape.catalog.formats`.

The choice made here: what makes a product impossible (no id, no title, no image, an unreadable price, an id used twice)
is an error that names file, line and remedy, unless the caller asks to leave such rows out; what a product can do
without is only noted.  Rows stream: memory does not grow with the feed, but for about seventy bytes a product that
remember which ids and titles were seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from clickscape.catalog.checking import Pictures
from clickscape.catalog.checking import product as checked_product
from clickscape.catalog.feed_report import FeedWarning, Kind
from clickscape.catalog.formats import FORMATS, Row, detect
from clickscape.catalog.formats.merchant import AVAILABILITIES
from clickscape.catalog.formats.row import shown, words
from clickscape.catalog.seen_ids import SeenIds
from clickscape.errors import FeedError
from clickscape.types import Product

_LEAVE_OUT = "Or pass --skip-bad-rows (in Python: skip_bad_rows=True) to leave such rows out."
MOST_ROWS = 10_000_000
_NAMED = 5  # columns that one warning names
_PARENTS = 2  # how far above the paper's JSON list its image paths may start
COLORS = frozenset(
    "beige black blue bronze brown burgundy charcoal coral cream cyan emerald fuchsia gold golden gray "
    "green grey ivory khaki lavender lilac magenta maroon mint mustard navy olive orange pink purple red "
    "rose silver tan taupe teal terracotta turquoise violet white yellow".split()
)
"""Words of a title by which variants of one thing differ."""

_MERCHANTS = frozenset({"google-xml", "google-tsv", "meta", "shopify"})


@dataclass(frozen=True, slots=True)
class FeedRow:
    """A row as read: its product and warnings about it, or, where bad rows are left out, None and the problem."""

    place: str
    product: Product | None
    warnings: tuple[FeedWarning, ...] = ()
    problem: str = ""


def read(
    path: str | PathLike[str],
    *,
    format: str | None = None,  # noqa: A002
    allow_remote: bool = False,
) -> list[Product]:
    """The products of a catalog, in its order, with absolute image paths; see `iterate`."""
    rows = iterate(path, format=format, allow_remote=allow_remote)
    return own_photos([row.product for row in rows if row.product is not None])


def own_photos(products: Sequence[Product]) -> list[Product]:
    """The products, their further photos without those that another variant of the same item shows first."""
    first: dict[str | None, set[str]] = {}
    for product in products:
        first.setdefault(product.attributes.get("item_group_id"), set()).add(product.image)
    first.pop(None, None)
    return [
        replace(product, more_images=tuple(photo for photo in product.more_images if photo not in others))
        if (others := first.get(product.attributes.get("item_group_id")))
        else product
        for product in products
    ]


def iterate(
    path: str | PathLike[str],
    *,
    format: str | None = None,  # noqa: A002
    allow_remote: bool = False,
    skip_bad_rows: bool = False,
) -> Iterator[FeedRow]:
    """The rows of a catalog one by one.

    ``format`` is one of `formats.FORMATS` (google-xml, google-tsv, shopify, meta, jsonl, csv, parquet, json), else it
    is recognized by the content.  Columns of csv, parquet and jsonl: product_id (or id), title, category ("A > B > C"
    or a list), attributes (a map, JSON text, or columns attribute:<name>), tags (comma-separated or a list), price
    ("12.99" or "12.99 USD"), currency, image (or image_link; relative to the catalog's folder), more_images.  A JSON
    list holds {"id", "image", "new_caption"}; its images may also be relative to one of the two folders above.  With
    ``allow_remote`` an http(s) link stays in the product as it is, for `catalog.remote` to fetch.  Raises FeedError
    with file, line and remedy; with ``skip_bad_rows`` only for what breaks the whole file.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        expected = ", ".join(FORMATS)
        raise FeedError(f"{path}: unknown catalog format {format!r}. Expected one of {expected}.")
    if not path.is_file():
        raise FeedError(f"{path}: no {'regular' if path.exists() else 'such catalog'} file. Correct the path.")
    if not path.stat().st_size:  # also what the system makes up as it is read, such as /proc/kmsg, which never ends
        raise FeedError(f"{path}: the catalog is empty. Add at least one product.")
    name = format or detect(path)
    pictures = Pictures(_roots(path, name), allow_remote)
    ids, titles, colorless = SeenIds(), SeenIds(), SeenIds()
    found = 0
    for row in FORMATS[name](path):
        found += 1
        if found > MOST_ROWS:
            raise FeedError(f"{path}, {row.place}: over {MOST_ROWS:,} rows. Split the catalog.")
        place = f"{path}, {row.place}"
        try:
            if row.problem:
                raise FeedError(f"{place}: {row.problem}.")
            product, left_out = checked_product(row, place, pictures=pictures)
            earlier = ids.add(words(product.product_id), row.number)  # what a reader can tell of it
            if earlier is not None:
                alike = "" if product.product_id.isascii() else ", or one that looks the same,"
                raise FeedError(
                    f"{place}: product id {product.product_id!r}{alike} was already used in {row.unit} {earlier}. "
                    "Give each product its own id."
                )
        except FeedError as error:
            if not skip_bad_rows:
                raise FeedError(f"{error} {_LEAVE_OUT}") from error
            yield FeedRow(row.place, None, problem=str(error).removeprefix(f"{place}: "))
            continue
        yield FeedRow(row.place, product, tuple(_warnings(product, row, name, titles, colorless, left_out)))
    if not found:
        raise FeedError(f"{path}: the catalog is empty. Add at least one product.")


def _roots(path: Path, name: str) -> list[Path]:
    """The folders in which images may lie."""
    folder = path.resolve().parent
    if name != "json":
        return [folder]
    # the file system's root is never searched: from there, any file of the machine could be named
    return [folder, *(parent for parent in folder.parents[:_PARENTS] if parent != parent.parent)]


def _warnings(
    product: Product, row: Row, name: str, titles: SeenIds, colorless: SeenIds, left_out: tuple[str, ...]
) -> Iterator[FeedWarning]:
    """Yield what the product should have and has not; a merchant's format also lacks what its rules ask for."""

    def warning(kind: Kind, detail: str = "") -> FeedWarning:
        return FeedWarning(kind, row.place, product.product_id, detail)

    if not product.category:
        yield warning("no category")
    if product.price is None:
        yield warning("no price")
    elif product.currency is None:
        yield warning("no currency")
    availability = product.attributes.get("availability")
    if availability is not None and availability not in AVAILABILITIES:
        yield warning("unknown availability", availability[:40])
    if name in _MERCHANTS:
        if availability is None:
            yield warning("no availability")
        if "description" not in product.attributes:
            yield warning("no description")
        if "brand" not in product.attributes:
            yield warning("no brand")
    group = product.attributes.get("item_group_id")
    title = product.title.casefold()
    # variants of one thing may share its title
    if not group or titles.add(f"{title}\0{group}", row.number) is None:
        earlier = titles.add(title, row.number)
        if earlier is not None:
            yield warning("duplicate title", f"as in {row.unit} {earlier}")
        elif not group and (bare := _without_color(title)):
            earlier = colorless.add(bare, row.number)
            if earlier is not None:
                yield warning("color variant without item_group_id", f"of {row.unit} {earlier}")
    for reason in left_out:
        yield warning("photo left out", reason)
    if row.unread:
        yield warning("column not read", ", ".join(map(shown, row.unread[:_NAMED])) + "…" * (len(row.unread) > _NAMED))


def _without_color(title: str) -> str:
    """The words of a title but for its colors; empty for a title that names no color, or nothing else."""
    found = re.findall(r"\w+", title)
    kept = [word for word in found if word not in COLORS]
    return " ".join(kept) if len(kept) < len(found) else ""
