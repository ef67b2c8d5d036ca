"""A shop's own ads: a table of pictures that somebody else drew → checked records, for `ingest --creatives`.

The choice made here: the table is read whole before anything is refused, so that one message says how many rows are bad
and where; what makes a row impossible is what makes a feed's row impossible (an id, a picture outside of the folder).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import get_args
from urllib.parse import unquote, urlsplit

from clickscape.catalog.checking import Pictures, identifier, image_of, is_remote
from clickscape.catalog.feed_report import Skipped
from clickscape.catalog.formats import detect
from clickscape.catalog.formats.merchant import DESCRIPTION_LENGTH
from clickscape.catalog.formats.plain import IMAGE, first, read_table
from clickscape.catalog.formats.row import Row, fail, plain_words, shown, words
from clickscape.errors import FeedError
from clickscape.types import ClickCounts, CreativeStatus

COLUMNS = ("product_id", *IMAGE, "creative_id", "description", "status", "impressions", "clicks")
"""Columns that are read; the first and one of the images are needed."""

FORMATS = ("csv", "jsonl", "parquet")
STATUSES: Mapping[str, CreativeStatus] = {status: status for status in get_args(CreativeStatus)}
MOST_ADS = 1_000_000
_NEEDED = (("product_id",), IMAGE)
_WHOLE = re.compile(r"(?![1-9][0-9]{0,2}\.000$)[0-9]{1,15}(\.0*)?")  # 1.000 is one to some, a thousand to others
_NAMED = 5  # further bad rows, and columns, that one message names


@dataclass(frozen=True, slots=True)
class OwnAd:
    """One row: a picture of one product, a path or a link, and what was counted of it.

    `status`, `counts`: None where the table does not say.
    """

    place: str
    creative_id: str
    product_id: str
    image: str
    description: str = ""
    status: CreativeStatus | None = None
    counts: ClickCounts | None = None


@dataclass(frozen=True, slots=True)
class OwnAds:
    """The good rows of a table, its bad ones with the reason, and the names of columns that are not read."""

    ads: tuple[OwnAd, ...]
    skipped: tuple[Skipped, ...] = ()
    unread: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """What is to be told of the table: columns that were not read, and each row that was left out."""
        named = ", ".join(self.unread[:_NAMED]) + ", …" * (len(self.unread) > _NAMED)
        columns = [f"columns not read: {named}"] if self.unread else []
        return columns + [f"left out, {one.place}: {one.reason}" for one in self.skipped]


def read(
    path: Path,
    *,
    product_ids: Collection[str],
    format: str | None = None,  # noqa: A002
    allow_remote: bool = False,
) -> OwnAds:
    """Read a CSV, JSON Lines or Parquet table of ads of some products.

    Paths of images count from the table's folder and may not leave it; those of a workspace's own creatives.parquet
    count from that workspace. A row without creative_id is called as its picture's file, without the ending. FeedError
    for what breaks the whole table; a bad row is among `skipped`.
    """
    kind = _format(path, format)
    folder = path.resolve().parent
    is_workspace_table = path.name == "creatives.parquet" and folder.name == "creatives"
    roots = [folder.parent] if is_workspace_table else [folder]
    pictures = Pictures(roots, allow_remote, folder="the folder of the table")
    ads: list[OwnAd] = []
    skipped: list[Skipped] = []
    unread: dict[str, None] = {}
    places: dict[str, str] = {}
    for row in read_table(path, format=kind, needed=_NEEDED, read=COLUMNS):
        if len(ads) + len(skipped) >= MOST_ADS:
            raise FeedError(f"{path}, {row.place}: over {MOST_ADS:,} rows. Split the table.")
        unread |= dict.fromkeys(map(words, row.unread))
        try:
            ad = _ad(row, product_ids=product_ids, pictures=pictures)
            if (earlier := places.setdefault(words(ad.creative_id), ad.place)) != ad.place:
                remedy = "Give each ad a creative_id of its own"
                fail(row.place, f"creative id {ad.creative_id!r} was already used in {earlier}. {remedy}")
        except FeedError as error:
            skipped.append(Skipped(row.place, str(error).removeprefix(f"{row.place}: ")))
        else:
            ads.append(ad)
    if not ads and not skipped:
        raise FeedError(f"{path}: no row. Add one ad a row, with product_id and image.")
    return OwnAds(tuple(ads), tuple(skipped), tuple(unread))


def refuse(path: Path, skipped: Sequence[Skipped]) -> None:
    """Raise FeedError about the first bad row, which names the further ones, where there are any."""
    if not skipped:
        return
    bad, *others = skipped
    places = ", ".join(one.place for one in others[:_NAMED]) + ", …" * (len(others) > _NAMED)
    further = f" Further bad rows ({len(others):,}): {places}." if others else ""
    raise FeedError(f"{path}, {bad.place}: {bad.reason}{further} Or pass --skip-bad-rows to leave such rows out.")


def _format(path: Path, asked: str | None) -> str:
    if asked is not None and asked not in FORMATS:
        raise FeedError(f"{path}: ads come as {', '.join(FORMATS)}, not as {asked!r}. Correct --format.")
    if not path.is_file():
        raise FeedError(f"{path}: no {'regular' if path.exists() else 'such'} file. Correct the path of --creatives.")
    if not path.stat().st_size:
        raise FeedError(f"{path}: the table is empty. Add one ad a row, with product_id and image.")
    if asked is not None:
        return asked
    found = detect(path)
    if found in ("json", "google-xml"):
        raise FeedError(f"{path}: ads come as {', '.join(FORMATS)}, not as {found}. Save the table as one of them.")
    return found if found in FORMATS else "csv"


def _ad(row: Row, *, product_ids: Collection[str], pictures: Pictures) -> OwnAd:
    """The ad of a row; FeedError where it has none."""
    place, columns = row.place, row.columns
    if row.problem:
        fail(place, row.problem)
    product_id = identifier(columns.get("product_id"), place, of="product")
    if product_id not in product_ids:
        fail(place, f"product {shown(product_id)} is not in the catalog. Ingest a feed that has it, or correct the id")
    image = image_of(first(columns, IMAGE), place, product_id, pictures)
    given = columns.get("creative_id")
    creative_id = identifier(_stem(image) if given in (None, "") else given, place, of="creative")
    description = columns.get("description")
    if isinstance(description, list | dict):
        fail(
            place, f"the description of creative {creative_id!r} is no text but {shown(description)}. Write it as text"
        )
    return OwnAd(
        place=place,
        creative_id=creative_id,
        product_id=product_id,
        image=image,
        description=plain_words(description)[:DESCRIPTION_LENGTH],
        status=_status(columns.get("status"), place, creative_id),
        counts=_counts(columns, place, creative_id),
    )


def _stem(image: str) -> str:
    """The name of a picture's file without its ending; that of the last part of a link."""
    return PurePosixPath(unquote(urlsplit(image).path) if is_remote(image) else image).stem


def _status(value: object, place: str, creative_id: str) -> CreativeStatus | None:
    said = words(value).casefold()
    if not said and value in (None, ""):
        return None
    if said not in STATUSES:
        expected = ", ".join(STATUSES)
        fail(place, f"status {shown(value)} of creative {creative_id!r} is none of {expected}. Correct it")
    return STATUSES[said]


def _counts(columns: Mapping[str, object], place: str, creative_id: str) -> ClickCounts | None:
    """Impressions and clicks of a row; None where it has neither."""
    found = [_count(columns.get(name), place, creative_id, name) for name in ("impressions", "clicks")]
    impressions, clicks = found
    if impressions is None and clicks is None:
        return None
    if impressions is None or clicks is None:
        fail(place, f"creative {creative_id!r} has only one of impressions and clicks. Fill both, or neither")
    if clicks > impressions:
        fail(place, f"creative {creative_id!r} has {clicks} clicks of {impressions} impressions. Correct them")
    return ClickCounts(impressions, clicks)


def _count(value: object, place: str, creative_id: str, name: str) -> int | None:
    text = words(value)
    if not text and value in (None, ""):
        return None
    if isinstance(value, bool) or not _WHOLE.fullmatch(text):
        fail(
            place,
            f"{name} of creative {creative_id!r} are {shown(value)}, expected a number such as 1200. Correct them",
        )
    return int(text.partition(".")[0])
