"""The simulator: click worlds with known true CTRs, their traffic, and a copywriter whose texts pre-train `tiny`.

Nothing that learns may import this room; whatever is made with it is labeled as simulated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clickscape.simulator.worlds import ClickWorld

__all__ = ["load"]


def load(name: str) -> ClickWorld:
    """The click world of that name; see `clickscape.simulator.worlds.load`."""
    from clickscape.simulator.worlds import load as load_world

    return load_world(name)
