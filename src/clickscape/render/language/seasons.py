"""What belongs to a season among the things that the studio draws, as plain data; what is not listed fits any."""

from __future__ import annotations

from collections.abc import Mapping

from clickscape.render.scene import Scene

SEASONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "spring": {"setting": ("meadow",), "prop": ("blossom",)},
    "summer": {
        "setting": ("beach", "pool", "meadow"),
        "surface": ("sand",),
        "prop": ("lemons", "palm", "sunflowers", "seashells", "lavender sprigs"),
    },
    "autumn": {"prop": ("autumn leaves", "pumpkins", "wheat", "pine cones")},
    "winter": {"setting": ("snow",), "surface": ("snow",), "prop": ("pine cones", "cinnamon", "yarn", "cotton")},
    "christmas": {
        "setting": ("festive", "snow"),
        "surface": ("snow",),
        "prop": ("baubles", "pine cones", "cinnamon"),
    },
}
"""Season → slot → values of the studio's lists that say it; the first prop is its plainest sign."""

MONTHS: Mapping[str, tuple[int, ...]] = {"autumn": (9, 10, 11), "winter": (12, 1, 2), "christmas": (11, 12)}
"""Months of the northern half in which what a season binds is expected; spring and summer bind nothing."""

BOUND: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "autumn": {"prop": ("autumn leaves", "pumpkins")},
    "winter": {"setting": ("snow",), "surface": ("snow",)},
    "christmas": {"setting": ("festive", "snow"), "surface": ("snow",), "prop": ("baubles",)},
}
"""Season → slot → what looks wrong in an ad of another season; unlike lemons, which are only likelier in summer."""

SEASON_WORDS: Mapping[str, tuple[str, ...]] = {
    "autumn": ("autumn", "halloween", "pumpkin", "pumpkins", "thanksgiving", "harvest festival"),
    "winter": ("winter", "snow", "snowy", "ski", "skis", "snowboard", "sled", "ice skate", "ice skates"),
    "christmas": ("christmas", "xmas", "advent", "santa", "bauble", "baubles", "nativity"),
}
"""Words by which a product asks for a season, and a description names it."""


def in_season(scene: Scene, season: str) -> bool:
    """Whether a scene shows something of the season, and nothing that belongs to other seasons alone."""
    own = SEASONS[season]
    others = [words for name, words in SEASONS.items() if name != season]
    shown = [(slot, value) for slot, value in scene.slots.items() if slot != "prop" and value is not None]
    shown += [("prop", prop) for prop in scene.props]
    fits = [value in own.get(slot, ()) for slot, value in shown]
    foreign = [any(value in other.get(slot, ()) for other in others) for slot, value in shown]
    return any(fits) and not any(stray and not right for stray, right in zip(foreign, fits, strict=True))
