"""A scene: what a description says, as one value per slot from closed lists.

The lists are the whole vocabulary of scenes; `language/lexicon.py` says which words lead to them. Three settings have a
wall, and the palette colors it; the others have a photographed backdrop, so their palette is None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from clickscape.errors import SceneError
from clickscape.types import Creative

SETTINGS = ("studio", "bathroom", "loft", "kitchen", "living room", "terrace",
            "forest", "meadow", "beach", "desert", "city", "workshop",
            "cafe", "snow", "night city", "festive", "pool")  # fmt: skip
WALLED = ("studio", "bathroom", "loft")
SURFACES = ("white marble", "black marble", "terrazzo", "oak", "walnut", "sand", "linen", "grass", "water", "slate",
            "snow", "asphalt")  # fmt: skip
LIGHTS = ("soft", "golden hour", "noon", "spotlight", "neon", "window", "leafy",
          "blinds", "blue hour", "candlelight")  # fmt: skip
STANDS = ("podium", "blocks", "steps", "slab", "table", "floor")
PALETTES = ("cream", "pink", "red", "mint", "teal", "blue", "yellow", "lavender", "charcoal")
PROPS = ("eucalyptus", "palm", "blossom", "lemons", "pebbles", "coffee beans", "berries",
         "gift", "gold spheres", "candle", "ice", "bubbles", "log", "baubles",
         "pine cones", "autumn leaves", "sunflowers", "lavender sprigs", "wheat", "cotton", "pumpkins", "oranges",
         "cinnamon", "cactus", "books", "seashells", "yarn", "toy bricks", "balloons", "tennis balls",
         "gears")  # fmt: skip
NO_PROP = "none"

SLOTS: Mapping[str, tuple[str, ...]] = {
    "setting": SETTINGS,
    "surface": SURFACES,
    "light": LIGHTS,
    "stand": STANDS,
    "palette": PALETTES,
    "prop": (NO_PROP, *PROPS),
}
"""Every slot with its values."""

MAX_PROPS = 2

Wish = Literal["harmony", "contrast"]
"""A wall color by the product's: its hue, lighter or darker, or what lies farthest from its color."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One value per slot; `props` holds none, one or two. SceneError for a value that the studio lacks."""

    setting: str = "studio"
    surface: str = "white marble"
    light: str = "soft"
    stand: str = "podium"
    palette: str | None = "cream"
    props: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for slot in ("setting", "surface", "light", "stand"):
            _check(slot, getattr(self, slot))
        if self.setting not in WALLED:
            object.__setattr__(self, "palette", None)
        elif self.palette is None:
            object.__setattr__(self, "palette", PALETTES[0])
        else:
            _check("palette", self.palette)
        if len(self.props) > MAX_PROPS or len(set(self.props)) < len(self.props):
            raise SceneError(f"a scene holds at most {MAX_PROPS} different props, got {self.props}")
        for prop in self.props:
            if prop not in PROPS:
                raise SceneError(f"unknown prop {prop!r}; the studio has: {', '.join(PROPS)}")

    @property
    def slots(self) -> dict[str, str | None]:
        """One value per slot; the first prop stands for the props, NO_PROP for none."""
        first = self.props[0] if self.props else NO_PROP
        return {
            "setting": self.setting,
            "surface": self.surface,
            "light": self.light,
            "stand": self.stand,
            "palette": self.palette,
            "prop": first,
        }

    def to_json(self) -> str:
        """The scene as one line of JSON; `Scene.from_json` reads it back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Scene:
        """Read what `to_json` wrote; SceneError for anything else."""
        try:
            values = json.loads(text)
            return cls(**{**values, "props": tuple(values.get("props", ()))})
        except (TypeError, AttributeError, ValueError, RecursionError) as error:
            raise SceneError(f"not a scene: {text[:80]!r} ({error})") from None

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Scene:
        """Return the scene that a creative notes; SceneError for anything else."""
        return cls.from_json(json.dumps(dict(values)))

    @classmethod
    def from_slots(cls, slots: Mapping[str, str | None]) -> Scene:
        """Turn `slots` round: one value per slot, NO_PROP for no prop."""
        prop = slots["prop"]
        return cls(
            setting=str(slots["setting"]),
            surface=str(slots["surface"]),
            light=str(slots["light"]),
            stand=str(slots["stand"]),
            palette=slots["palette"],
            props=() if prop in (None, NO_PROP) else (str(prop),),
        )


def slots_of(creative: Creative) -> Mapping[str, str | None] | None:
    """Return the slots of a creative's scene; None when nobody noted a scene."""
    return Scene.of(creative.scene).slots if creative.scene else None


def _check(slot: str, value: object) -> None:
    if value not in SLOTS[slot]:
        raise SceneError(f"unknown {slot} {value!r}; the studio has: {', '.join(SLOTS[slot])}")
