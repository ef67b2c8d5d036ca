"""Catalogs: reading feeds, opening untrusted images safely, cutting products out, and the sample catalog."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clickscape.types import Product

__all__ = ["read"]


def read(
    path: str | PathLike[str],
    *,
    format: str | None = None,  # noqa: A002
    allow_remote: bool = False,
) -> list[Product]:
    """The products of a catalog file; see `clickscape.catalog.feeds.read`."""
    from clickscape.catalog.feeds import read as read_feed

    return read_feed(path, format=format, allow_remote=allow_remote)
