"""Click logs: events → counts → CTR per creative without position bias → labeled pairs of creatives.

`logs.read` turns a log into counts, `estimate` counts into CTRs and pairs; the tables in between are Ibis expressions
that can be shown as SQL. Nothing here reads or writes a workspace: stage `clicks` does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clickscape.clicks.ctr import ClickModel
    from clickscape.clicks.pipeline import ClickEstimates, estimate
    from clickscape.clicks.position import Examination

_HOMES = {
    "ClickModel": "ctr",
    "ClickEstimates": "pipeline",
    "Examination": "position",
    "estimate": "pipeline",
}
__all__ = [
    "ClickEstimates",
    "ClickModel",
    "Examination",
    "estimate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"clickscape.clicks has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"clickscape.clicks.{_HOMES[name]}"), name)
