"""The words of the simulator, version 1, as plain data: what the studio could draw when the worlds were frozen.

The studio may learn more; worlds, copywriter and the model that learned from him keep these lists, their order and
their phrases, because every draw depends on all three. A new value here is a new version of both worlds.
"""

from __future__ import annotations

from collections.abc import Mapping

from clickscape.render.language import lexicon
from clickscape.render.scene import NO_PROP

SETTINGS = ("studio", "bathroom", "loft", "kitchen", "living room", "terrace",
            "forest", "meadow", "beach", "desert", "city", "workshop")  # fmt: skip
WALLED = ("studio", "bathroom", "loft")
SURFACES = ("white marble", "black marble", "terrazzo", "oak", "walnut", "sand", "linen", "grass", "water", "slate")
LIGHTS = ("soft", "golden hour", "noon", "spotlight", "neon", "window", "leafy")
STANDS = ("podium", "blocks", "steps", "slab", "table", "floor")
PALETTES = ("cream", "pink", "red", "mint", "teal", "blue", "yellow", "lavender", "charcoal")
PROPS = ("eucalyptus", "palm", "blossom", "lemons", "pebbles", "coffee beans", "berries",
         "gift", "gold spheres", "candle", "ice", "bubbles", "log", "baubles")  # fmt: skip

SLOTS: Mapping[str, tuple[str, ...]] = {
    "setting": SETTINGS,
    "surface": SURFACES,
    "light": LIGHTS,
    "stand": STANDS,
    "palette": PALETTES,
    "prop": (NO_PROP, *PROPS),
}
"""Every slot with its values, as in `Scene.slots`."""

PHRASES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    slot: {value: lexicon.PHRASES[slot][value] for value in values} for slot, values in SLOTS.items()
}
"""Slot → value → how the copywriter may call it, the plainest name first.

Tests hold what is drawn of them to digests: who gives one of these values another phrase writes the old ones down here.
"""
