"""Scenes and props held out of simulated logs: plain data, one surface per setting and two props.

Creatives of training products never show them, those of held-out products do.  A reward model is so evaluated on scenes
that no click ever taught, beside those that it knows.
"""

from __future__ import annotations

from clickscape.render.scene import Scene

UNSEEN_PROPS: frozenset[str] = frozenset({"candle", "palm"})
"""Each fits four departments in the shoppers' table, so it has something to say about clicks."""

UNSEEN_SURFACES: dict[str, str] = {
    "studio": "terrazzo",
    "bathroom": "linen",
    "loft": "slate",
    "kitchen": "walnut",
    "living room": "oak",
    "terrace": "white marble",
    "forest": "water",
    "meadow": "linen",
    "beach": "oak",
    "desert": "slate",
    "city": "black marble",
    "workshop": "walnut",
}
"""Setting → the surface that is never shown in it; setting and surface are each well known from other scenes."""


def unseen(scene: Scene) -> bool:
    """Whether training products never show this scene."""
    return scene.surface == UNSEEN_SURFACES.get(scene.setting) or not UNSEEN_PROPS.isdisjoint(scene.props)
