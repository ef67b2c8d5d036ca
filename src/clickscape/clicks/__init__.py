"""What the click logs say: events → counts → CTR per creative without position bias → pairs of creatives.

`estimate` does it all for a workspace; the tables in between are Ibis expressions that can be shown as SQL.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clickscape.clicks.ctr import ClickModel
    from clickscape.clicks.position import Examination
    from clickscape.clicks.report import (
        ClickReport,
        categories_of,
        estimate,
        estimates_path,
        pairs_path,
        read_estimates,
        read_pairs,
    )

_HOMES = {
    "ClickModel": "ctr",
    "ClickReport": "report",
    "Examination": "position",
    "categories_of": "report",
    "estimate": "report",
    "estimates_path": "report",
    "pairs_path": "report",
    "read_estimates": "report",
    "read_pairs": "report",
}
__all__ = [
    "ClickModel",
    "ClickReport",
    "Examination",
    "categories_of",
    "estimate",
    "estimates_path",
    "pairs_path",
    "read_estimates",
    "read_pairs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"clickscape.clicks has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"clickscape.clicks.{_HOMES[name]}"), name)
