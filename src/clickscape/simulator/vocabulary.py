"""The words of the simulator, version 1, as plain data: what the studio could draw when the worlds were frozen.

The studio may learn more; worlds, copywriter and the model that learned from him keep these lists, their order and
their phrases, because every draw depends on all three. A new value here is a new version of both worlds.
"""

from __future__ import annotations

from collections.abc import Mapping

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
    "setting": {
        "studio": ("studio", "photo studio", "minimal studio", "studio sweep", "pastel studio", "seamless studio"),
        "bathroom": ("bathroom", "tiled bathroom", "spa bathroom", "tiled wall", "tile wall", "spa"),
        "loft": ("loft", "industrial loft", "concrete loft", "concrete wall", "concrete room"),
        "kitchen": ("kitchen", "bright kitchen", "apartment kitchen", "blurred kitchen", "apartment"),
        "living room": ("living room", "cozy living room", "bedroom", "hotel room", "home interior"),
        "terrace": ("terrace", "canal terrace", "harbor terrace", "café terrace", "cafe terrace", "veranda"),
        "forest": ("forest", "woodland", "deep forest", "pine forest", "garden trees", "jungle"),
        "meadow": ("meadow", "open field", "countryside", "flower meadow", "green field"),
        "beach": ("beach", "seaside", "sunset beach", "ocean shore", "coast"),
        "desert": ("desert", "canyon", "mountain dawn", "desert dunes", "dunes"),
        "city": ("city", "city street", "urban street", "downtown", "city skyline"),
        "workshop": ("workshop", "garage", "warehouse", "factory hall", "craft workshop"),
    },
    "surface": {
        "white marble": ("white marble", "pale marble", "marble", "carrara marble"),
        "black marble": ("black marble", "dark marble", "black and gold marble"),
        "terrazzo": ("terrazzo", "speckled terrazzo"),
        "oak": ("oak", "light wood", "pale oak", "natural wood", "wooden", "wood"),
        "walnut": ("walnut", "dark wood", "rich walnut", "mahogany", "rustic wood"),
        "sand": ("sand", "golden sand", "rippled sand", "warm sand"),
        "linen": ("linen", "soft linen", "fabric", "cotton cloth", "draped linen"),
        "grass": ("grass", "fresh grass", "green grass", "lawn", "green lawn"),
        "water": ("water", "rippling water", "calm water", "pool water", "still water"),
        "slate": ("slate", "dark slate", "gray stone", "rough stone", "stone"),
    },
    "light": {
        "soft": (
            "soft light",
            "soft diffuse light",
            "soft studio light",
            "gentle light",
            "overcast light",
            "airy light",
        ),
        "golden hour": ("golden hour", "golden hour light", "sunset glow", "sunset light", "warm evening light"),
        "noon": ("noon sun", "bright sunlight", "bright noon sun", "midday sun", "hard sunlight", "summer sun"),
        "spotlight": ("spotlight", "dramatic spotlight", "moody spotlight", "single spotlight", "dramatic light"),
        "neon": ("neon light", "neon glow", "pink neon glow", "cyber neon", "neon"),
        "window": ("window light", "soft window light", "soft morning light", "window shadows", "morning light"),
        "leafy": ("leaf shadows", "dappled light", "dappled leaf shadows", "foliage shadows", "palm shadows"),
    },
    "stand": {
        "podium": ("podium", "pedestal", "plinth", "round podium"),
        "blocks": ("blocks", "geometric blocks", "cubes", "stacked blocks"),
        "steps": ("steps", "staircase", "stairs", "stepped platform"),
        "slab": ("slab", "low slab", "tray", "board"),
        "table": ("table", "tabletop", "counter", "desk"),
        "floor": ("floor", "ground", "open ground", "bare floor"),
    },
    "palette": {
        "cream": ("cream", "ivory", "beige", "off-white"),
        "pink": ("pink", "blush", "rose pink", "pastel pink"),
        "red": ("red", "crimson", "deep red", "scarlet"),
        "mint": ("mint", "mint green", "pale green", "sage"),
        "teal": ("teal", "petrol", "deep teal", "turquoise"),
        "blue": ("blue", "sky blue", "cornflower", "soft blue"),
        "yellow": ("yellow", "sunny yellow", "mustard", "lemon yellow"),
        "lavender": ("lavender", "lilac", "pale violet", "soft purple"),
        "charcoal": ("charcoal", "dark gray", "anthracite", "near-black"),
    },
    "prop": {
        "none": ("nothing else", "no props", "uncluttered", "empty around"),
        "eucalyptus": ("eucalyptus", "eucalyptus leaves", "eucalyptus branches", "eucalyptus sprigs"),
        "palm": ("palm leaves", "palm fronds", "tropical leaves", "palm"),
        "blossom": ("blossom", "cherry blossom", "blossom branches", "pink flowers", "flowers"),
        "lemons": ("lemons", "fresh lemons", "citrus", "cut lemons"),
        "pebbles": ("pebbles", "smooth pebbles", "zen stones", "river stones"),
        "coffee beans": ("coffee beans", "roasted beans", "scattered coffee beans"),
        "berries": ("berries", "fresh berries", "red berries", "strawberries"),
        "gift": ("gift box", "wrapped gift", "presents", "gift"),
        "gold spheres": ("gold spheres", "golden balls", "gold orbs", "golden spheres"),
        "candle": ("candle", "lit candle", "candles", "glowing candles"),
        "ice": ("ice cubes", "ice", "crushed ice", "clear ice cubes"),
        "bubbles": ("bubbles", "soap bubbles", "floating bubbles"),
        "log": ("log", "wooden logs", "wood log", "cut logs", "logs"),
        "baubles": ("baubles", "festive baubles", "christmas baubles", "red ornaments"),
    },
}
"""Slot → value → how the copywriter may call it, the plainest name first."""
