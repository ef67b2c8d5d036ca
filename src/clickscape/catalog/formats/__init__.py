"""Feed formats: one file per format, each a stream of rows in the same columns, so that one place checks them all."""

from __future__ import annotations

from clickscape.catalog.formats.detect import FORMATS, detect
from clickscape.catalog.formats.row import Row

__all__ = ["FORMATS", "Row", "detect"]
