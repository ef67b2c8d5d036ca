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
    """One value per slot; `props` holds none, one or two. SceneError for a value that the studio lacks.

    `hidden`: slots that a picture of it does not show, in the order of SLOTS; from above nobody sees a setting.
    """

    setting: str = "studio"
    surface: str = "white marble"
    light: str = "soft"
    stand: str = "podium"
    palette: str | None = "cream"
    props: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()

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
        if not set(self.hidden) <= set(SLOTS):
            raise SceneError(f"hidden slots must be some of {', '.join(SLOTS)}, got {self.hidden}")

    @property
    def slots(self) -> dict[str, str | None]:
        """One value per slot, None where it is hidden; the first prop stands for the props, NO_PROP for none."""
        first = self.props[0] if self.props else NO_PROP
        values = {
            "setting": self.setting,
            "surface": self.surface,
            "light": self.light,
            "stand": self.stand,
            "palette": self.palette,
            "prop": first,
        }
        return {slot: None if slot in self.hidden else value for slot, value in values.items()}

    def to_json(self) -> str:
        """The scene as one line of JSON, without `hidden` where nothing is; `Scene.from_json` reads it back."""
        return json.dumps({name: value for name, value in asdict(self).items() if name != "hidden" or value})

    @classmethod
    def from_json(cls, text: str) -> Scene:
        """Read what `to_json` wrote; SceneError for anything else."""
        try:
            values = json.loads(text)
            return cls(**{**values, **{name: tuple(values.get(name, ())) for name in ("props", "hidden")}})
        except (TypeError, AttributeError, ValueError, RecursionError) as error:
            raise SceneError(f"not a scene: {text[:80]!r} ({error})") from None

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Scene:
        """Return the scene that a creative notes; SceneError for anything else."""
        return cls.from_json(json.dumps(dict(values)))

    @classmethod
    def from_slots(cls, slots: Mapping[str, str | None]) -> Scene:
        """Turn `slots` round; NO_PROP is no prop, and None is hidden, but for the palette where there is no wall."""
        prop = slots["prop"]
        wall_less = slots["setting"] is not None and slots["setting"] not in WALLED
        return cls(
            setting=slots["setting"] or SLOTS["setting"][0],
            surface=slots["surface"] or SLOTS["surface"][0],
            light=slots["light"] or SLOTS["light"][0],
            stand=slots["stand"] or SLOTS["stand"][0],
            palette=slots["palette"],
            props=() if prop is None or prop == NO_PROP else (prop,),
            hidden=tuple(slot for slot in SLOTS if slots[slot] is None and not (slot == "palette" and wall_less)),
        )


def slots_of(creative: Creative) -> Mapping[str, str | None] | None:
    """Return the slots of a creative's scene; None when nobody noted a scene."""
    return Scene.of(creative.scene).slots if creative.scene else None


def _check(slot: str, value: object) -> None:
    if value not in SLOTS[slot]:
        raise SceneError(f"unknown {slot} {value!r}; the studio has: {', '.join(SLOTS[slot])}")
