"""An imperfect copywriter: the corpus from which `tiny` learns to write; two thirds of its scenes are well chosen.

It words a scene with phrases of the studio's lexicon (those of `vocabulary`) and reads every sentence back, so what it
writes always parses to the scene that it meant. What it believes to suit a product (`SUITS`) is its own opinion: no
world pays by this table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from clickscape.render.language import lexicon
from clickscape.render.language.parse import parse
from clickscape.render.scene import NO_PROP, Scene
from clickscape.simulator.vocabulary import PALETTES, PHRASES, SLOTS, WALLED
from clickscape.types import Product

SUITING_SHARE = 2 / 3
"""Share of descriptions whose setting and prop suit the product, as in real data."""

_PLAIN_SHARE = 0.45  # how often a value is called by its plainest name
_OMIT_SHARE = 0.05  # how often a slot that equals the setting's default goes unsaid
_SAY_NO_PROP = 0.75  # how often the absence of props is said
_MOOD_SHARE = 0.2  # how often an adjective without meaning is added
_ATTEMPTS = 24

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Taste:
    """Settings and props (NO_PROP included) that the copywriter likes for a department."""

    settings: tuple[str, ...]
    props: tuple[str, ...]


def _taste(settings: str, props: str) -> Taste:
    return Taste(tuple(settings.split(", ")), tuple(props.split(", ")))


SUITS: dict[str, Taste] = {
    "Drinks": _taste("kitchen, terrace, beach, studio", "lemons, ice, berries, coffee beans"),
    "Food": _taste("kitchen, terrace, studio, living room", "berries, lemons, blossom, none"),
    "Beauty": _taste("bathroom, studio, beach, meadow", "eucalyptus, blossom, bubbles, pebbles"),
    "Clothing": _taste("studio, city, loft, living room", "none, blossom, gift, palm"),
    "Bags & Shoes": _taste("city, studio, loft, terrace", "none, gift, pebbles, palm"),
    "Electronics": _taste("loft, studio, living room, city", "none, gold spheres, gift, coffee beans"),
    "Sports": _taste("meadow, city, beach, forest", "none, pebbles, log, ice"),
    "Toys": _taste("living room, meadow, studio, terrace", "gift, bubbles, baubles, none"),
    "Home": _taste("living room, kitchen, loft, terrace", "candle, eucalyptus, blossom, none"),
    "Tools": _taste("workshop, loft, forest, studio", "log, none, pebbles, coffee beans"),
    "Garden": _taste("meadow, terrace, forest, workshop", "blossom, pebbles, log, eucalyptus"),
    "Pets": _taste("living room, meadow, forest, terrace", "none, log, gift, bubbles"),
    "Stationery": _taste("studio, loft, living room, city", "coffee beans, gift, none, candle"),
    "Jewelry": _taste("studio, bathroom, living room, desert", "gold spheres, blossom, gift, candle"),
    "Baby": _taste("living room, bathroom, studio, meadow", "bubbles, none, gift, blossom"),
    "Automotive": _taste("workshop, city, desert, loft", "none, ice, pebbles, log"),
}
"""What the copywriter believes, by department."""

ANYTHING = Taste(("studio", "loft", "living room", "terrace"), (NO_PROP, "gift", "pebbles", "eucalyptus"))
"""What it does with a department that it does not know."""

_HARD = ("white marble", "black marble", "terrazzo", "oak", "walnut", "linen", "slate")
PLAUSIBLE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "studio": ((*_HARD, "water", "sand"), ("soft", "spotlight", "window", "leafy", "neon", "noon")),
    "bathroom": (("white marble", "black marble", "terrazzo", "slate", "water", "linen"),
                 ("soft", "window", "leafy", "neon")),
    "loft": (_HARD, ("window", "spotlight", "neon", "soft", "golden hour")),
    "kitchen": (("oak", "walnut", "white marble", "terrazzo", "slate", "linen"),
                ("window", "soft", "golden hour", "noon")),
    "living room": (("oak", "walnut", "linen", "white marble", "black marble"),
                    ("window", "soft", "golden hour", "spotlight")),
    "terrace": (("terrazzo", "oak", "slate", "white marble", "linen"),
                ("noon", "golden hour", "leafy", "soft")),
    "forest": (("oak", "walnut", "grass", "slate", "water"), ("leafy", "soft", "golden hour", "noon")),
    "meadow": (("grass", "oak", "linen", "water"), ("noon", "golden hour", "soft", "leafy")),
    "beach": (("sand", "water", "oak", "linen"), ("golden hour", "noon", "soft", "leafy")),
    "desert": (("sand", "slate", "walnut"), ("golden hour", "noon", "soft", "spotlight")),
    "city": (("slate", "terrazzo", "black marble", "oak"), ("neon", "noon", "golden hour", "spotlight")),
    "workshop": (("walnut", "oak", "slate"), ("spotlight", "window", "soft", "neon")),
}  # fmt: skip
"""Surfaces and lights that belong to a setting; a free choice among these looks like somebody chose it."""

_LEAD_INS: dict[str, str] = {
    "tiled wall": "against a", "tile wall": "against a", "concrete wall": "against a", "garden trees": "under",
    "beach": "at the", "seaside": "at the", "sunset beach": "on a", "ocean shore": "on a", "coast": "on the",
    "terrace": "on a", "canal terrace": "on a", "harbor terrace": "on a", "café terrace": "on a",
    "cafe terrace": "on a", "veranda": "on a", "countryside": "in the", "dunes": "in the", "desert dunes": "in",
    "mountain dawn": "at", "city street": "on a", "urban street": "on a", "downtown": "in",
    "city skyline": "by the", "city": "in the", "apartment": "in a", "apartment kitchen": "in a",
    "industrial loft": "in a", "open field": "in a", "flower meadow": "in a", "green field": "in a", "desert": "in the",
}  # fmt: skip
_MOODS = ("quiet", "blurred", "calm", "elegant", "simple", "modern", "airy", "sunny", "clean", "cozy")
_WALLS = ("wall", "wall", "walls", "backdrop", "background")
_BESIDE = ("with", "beside", "near", "and")


def describe(scene: Scene, rng: np.random.Generator) -> str:
    """Word a scene: comma-separated short phrases, at most about thirty words, which parse back to this very scene."""
    for _ in range(_ATTEMPTS):
        text = _SHAPES[int(rng.integers(len(_SHAPES)))](_Words(scene, rng))
        read = parse(text)
        if read.scene == scene and read.is_valid:
            return text
    return _plainly(scene)


def write(
    product: Product, rng: np.random.Generator, *, avoid: Callable[[Scene], bool] | None = None
) -> tuple[str, Scene]:
    """Choose a scene for a product, two times in three one that suits it, and word it: (description, scene).

    A scene that `avoid` names is chosen anew, of the same kind.
    """
    choose = suiting_scene if rng.random() < SUITING_SHARE else _unsuiting_scene
    scene = choose(product, rng)
    while avoid is not None and avoid(scene):
        scene = choose(product, rng)
    return describe(scene, rng), scene


def suiting_scene(product: Product, rng: np.random.Generator) -> Scene:
    """A scene whose setting and prop suit the product in the copywriter's opinion; the rest is plausible."""
    taste = SUITS.get(product.department, ANYTHING)
    setting, prop = choose(rng, taste.settings), choose(rng, taste.props)
    surfaces, lights = PLAUSIBLE[setting]
    return Scene(
        setting=setting,
        surface=choose(rng, surfaces),
        light=choose(rng, lights),
        stand=choose(rng, SLOTS["stand"]),
        palette=choose(rng, PALETTES) if setting in WALLED else None,
        props=() if prop == NO_PROP else (prop,),
    )


def suits(product: Product, scene: Scene) -> bool:
    """Whether the copywriter thinks that the setting and every prop suit the product."""
    taste = SUITS.get(product.department, ANYTHING)
    return scene.setting in taste.settings and all(prop in taste.props for prop in scene.props or (NO_PROP,))


def random_scene(rng: np.random.Generator) -> Scene:
    """A scene drawn uniformly over the vocabulary's values of every slot (palette None where no wall is)."""
    values: dict[str, str | None] = {slot: choose(rng, choices) for slot, choices in SLOTS.items()}
    return Scene.from_slots(values)


class _Words:
    """The phrases chosen for one wording of a scene; None for what goes unsaid."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.rng = rng
        defaults = lexicon.DEFAULTS[scene.setting]
        setting = _phrase(rng, "setting", scene.setting)
        self.setting = f"{choose(rng, _MOODS)} {setting}" if rng.random() < _MOOD_SHARE else setting
        self.lead_in = _LEAD_INS.get(setting, "in a")
        self.surface = self._unless_default("surface", scene.surface, defaults["surface"])
        self.stand = self._unless_default("stand", scene.stand, defaults["stand"])
        self.light = self._unless_default("light", scene.light, "soft")
        self.color = self._unless_default("palette", scene.palette, PALETTES[0]) if scene.palette else None
        self.props = " and ".join(_phrase(rng, "prop", prop) for prop in scene.props) or None
        self.no_props = None if scene.props or rng.random() > _SAY_NO_PROP else _phrase(rng, "prop", NO_PROP)

    def _unless_default(self, slot: str, value: str, default: str) -> str | None:
        if value == default and self.rng.random() < _OMIT_SHARE:
            return None
        return _phrase(self.rng, slot, value)

    @property
    def place(self) -> str:
        """How the setting is entered: "in a photo studio", "at the beach"."""
        preposition, _, article = self.lead_in.partition(" ")
        return _spaces(preposition, a_or_an(self.setting) if article == "a" else article, self.setting)

    @property
    def base(self) -> str | None:
        """Surface and stand: "pale marble podium"."""
        return " ".join(word for word in (self.surface, self.stand) if word) or None

    @property
    def wall(self) -> str | None:
        """The palette as a wall: "cream wall"."""
        return f"{self.color} {choose(self.rng, _WALLS)}" if self.color else None

    @property
    def around(self) -> str | None:
        """The props as a phrase of their own."""
        return self.props or self.no_props

    @property
    def base_and_props(self) -> str | None:
        """Surface, stand and what lies beside it: "oak table with fresh lemons"."""
        if self.base and self.props:
            return f"{self.base} {choose(self.rng, _BESIDE)} {self.props}"
        return _commas(self.base, self.around)


def _commas(*phrases: str | None) -> str:
    return ", ".join(phrase for phrase in phrases if phrase)


def _spaces(*phrases: str | None) -> str:
    return " ".join(phrase for phrase in phrases if phrase)


_SHAPES: tuple[Callable[[_Words], str], ...] = (
    lambda w: _commas(w.base, w.light, w.around, _spaces(w.wall, w.place)),
    lambda w: _commas(w.base, w.light, w.around, _spaces(w.wall, w.place)),
    lambda w: _commas(_spaces(w.base, w.place), w.wall, w.light, w.around),
    lambda w: _commas(w.base_and_props, w.light, _spaces(w.place, f"with {w.wall}" if w.wall else None)),
    lambda w: _commas(_spaces(w.color, w.setting), w.base, w.around, w.light),
    lambda w: _commas(_spaces(w.setting, f"with {w.light}" if w.light else None), w.base_and_props, w.wall),
    lambda w: _commas(w.light, w.base_and_props, _spaces(w.place, f"with {w.wall}" if w.wall else None)),
    lambda w: _commas(w.around, w.base, w.wall, w.light, w.setting),
)
"""The orders of the phrases of a description."""


def _plainly(scene: Scene) -> str:
    """The one wording that always parses: the plainest name of everything."""
    plain = {slot: None if value is None else _phrases(slot, value)[0] for slot, value in scene.slots.items()}
    props = " and ".join(_phrases("prop", prop)[0] for prop in scene.props) or plain["prop"]
    wall = f"{plain['palette']} wall" if plain["palette"] else None
    return _commas(f"{plain['surface']} {plain['stand']}", plain["light"], props, wall, plain["setting"])


def _phrase(rng: np.random.Generator, slot: str, value: str) -> str:
    phrases = _phrases(slot, value)
    return phrases[0] if rng.random() < _PLAIN_SHARE else choose(rng, phrases)


def _phrases(slot: str, value: str) -> tuple[str, ...]:
    """The copywriter's own phrases, the studio's for what the studio learned after him."""
    return PHRASES[slot].get(value) or lexicon.PHRASES[slot][value]


def _unsuiting_scene(product: Product, rng: np.random.Generator) -> Scene:
    while True:
        scene = random_scene(rng)
        if not suits(product, scene):
            return scene


def a_or_an(noun: str) -> str:
    """The indefinite article of a noun."""
    return "an" if noun[0].lower() in "aeiou" else "a"


def choose(rng: np.random.Generator, values: Sequence[Value]) -> Value:
    """One of the values, each as likely as another."""
    return values[int(rng.integers(len(values)))]
