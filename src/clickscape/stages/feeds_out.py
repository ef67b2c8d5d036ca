"""Addresses of exported files on the web, and the feeds that tell the platforms about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

from clickscape.catalog.supplement import FEEDS, Pictures, unfit
from clickscape.errors import ConfigError, FeedError
from clickscape.render import placements
from clickscape.stages.rendition import RenditionRecord
from clickscape.types import Product
from clickscape.workspace import atomic_file

FOLDER = "feeds"
_LONGEST = 2000  # characters of a link that every platform takes


def checked(base_url: str | None) -> str | None:
    """The base address, percent-encoded (RFC 3986) and without a slash at its end; ConfigError when it is none."""
    if base_url is None:
        return None
    try:
        parts = urlsplit(base_url)
        right = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
        right = right and not any(letter == "@" or letter.isspace() for letter in parts.netloc)
        host = parts.netloc.encode("idna").decode() if right else ""
    except ValueError:
        right, host = False, ""
    if not right or not base_url.isprintable():
        raise ConfigError(f"--base-url {base_url!r} is no address of a folder. Try https://cdn.example.com/ads")
    return f"{parts.scheme}://{host}{quote(parts.path.rstrip('/'), safe='/%~-._')}"


def write(
    out: Path, records: Sequence[RenditionRecord], products: Mapping[str, Product], *, base: str | None
) -> tuple[tuple[Path, ...], dict[str, str]]:
    """Write the feeds of all channels that have pictures; also returns the products that no feed can hold, and why.

    Feeds of an earlier export that do not hold any more are removed: all of them when there is no base address.
    """
    written: list[Path] = []
    left: dict[str, str] = {}
    for name, (channel, text_of) in FEEDS.items():
        rows = [] if base is None else _pictures(records, products, channel=channel, base=base)
        reasons = {row.product.product_id: unfit(row.product, file=name) for row in rows}
        left |= {product_id: f"{name}: {reason}" for product_id, reason in reasons.items() if reason}
        rows = [row for row in rows if not reasons[row.product.product_id]]
        path = out / FOLDER / name
        if not rows:
            path.unlink(missing_ok=True)
            continue
        with atomic_file(path) as temporary:
            temporary.write_text(text_of(rows), encoding="utf-8", newline="")
        written.append(path)
    return tuple(written), left


def _pictures(
    records: Sequence[RenditionRecord], products: Mapping[str, Product], *, channel: str, base: str
) -> list[Pictures]:
    """Each product's pictures: a column that takes one gets the first, what is left over becomes additional."""
    columns = {one.name: one.feed_column for one in placements.load() if one.channel == channel}
    main: dict[str, str] = {}
    lifestyle: dict[str, str] = {}
    more: dict[str, list[str]] = {}
    for record in records:
        column, product_id = columns.get(record.placement, ""), record.product_id
        if not column:
            continue
        address = _address(base, record.file)
        own = more.setdefault(product_id, [])
        if column == "lifestyle_image_link":
            lifestyle.setdefault(product_id, address)
        elif column == "additional_image_link" or product_id in main:
            own.append(address)
        else:
            main[product_id] = address
    return [
        Pictures(products[name], main.get(name, ""), tuple(own), lifestyle.get(name, "")) for name, own in more.items()
    ]


def _address(base: str, file: str) -> str:
    """The file's link; a file name's own percent signs are encoded, so that a server finds it under its name."""
    address = f"{base}/{quote(file)}"
    if len(address) > _LONGEST:
        raise FeedError(f"{file}: its link has {len(address)} characters, {_LONGEST} are allowed. Shorten --base-url.")
    return address
