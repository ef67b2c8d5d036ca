"""What a photographer would put under, behind and beside a product, as plain data; and a description that follows it.

Where no click says better, a set has to make sense: a sofa stands on a floor and not on a table cloth, only what
belongs to water lies in it, and a prop tells what the product is for. The model that writes the descriptions hardly
knows that, so what breaks a rule is replaced by what obeys it, in the description: what is drawn is still what is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from clickscape.gates.style import Style
from clickscape.render.language import lexicon
from clickscape.render.language.graded import log_publishable
from clickscape.render.language.parse import parse
from clickscape.render.language.reword import reword
from clickscape.render.nouns import word_set
from clickscape.render.scene import LIGHTS, NO_PROP, PROPS, SETTINGS, STANDS, WALLED, Scene
from clickscape.render.silhouette import Silhouette
from clickscape.render.staging import STANDING, Staging, staging
from clickscape.types import Product

INDOORS = frozenset({*WALLED, "kitchen", "living room", "cafe", "workshop", "festive"})
_BUILT = frozenset({"terrace", "city", "night city", "pool"})
_ROOMS = frozenset({"studio", "loft", "living room"})

SETTINGS_OF: Mapping[str, frozenset[str]] = {
    "Drinks": _ROOMS | {"kitchen", "cafe", "terrace", "beach", "pool"},
    "Food": _ROOMS | {"kitchen", "cafe", "terrace"},
    "Beauty": _ROOMS | {"bathroom"},
    "Clothing": _ROOMS | {"city", "terrace", "cafe"},
    "Bags & Shoes": _ROOMS | {"city", "terrace", "cafe"},
    "Electronics": _ROOMS | {"cafe", "city"},
    "Sports": _ROOMS | {"city", "forest", "meadow", "terrace", "pool"},
    "Toys": _ROOMS | {"meadow", "terrace"},
    "Home": _ROOMS | {"kitchen", "bathroom", "terrace", "cafe"},
    "Tools": frozenset({"workshop", "studio", "loft"}),
    "Garden": _ROOMS | {"terrace", "meadow", "forest", "kitchen"},
    "Pets": _ROOMS | {"kitchen", "terrace", "meadow"},
    "Stationery": _ROOMS | {"cafe"},
    "Jewelry": _ROOMS | {"bathroom", "terrace"},
    "Baby": _ROOMS | {"bathroom"},
    "Automotive": frozenset({"workshop", "studio", "loft", "city"}),
}
"""Department → places where its goods are used, bought or photographed; a season adds its own (`gates/season.py`)."""

DEPARTMENTS_OF: Mapping[str, frozenset[str]] = {
    "eucalyptus": frozenset({"Beauty", "Home", "Jewelry", "Baby", "Clothing"}),
    "palm": frozenset({"Beauty", "Clothing"}),
    "blossom": frozenset({"Beauty", "Jewelry"}),
    "lemons": frozenset({"Food", "Drinks"}),
    "berries": frozenset({"Food", "Drinks"}),
    "oranges": frozenset({"Food", "Drinks"}),
    "cinnamon": frozenset({"Food", "Drinks"}),
    "coffee beans": frozenset({"Drinks"}),
    "wheat": frozenset({"Food"}),
    "pebbles": frozenset({"Beauty"}),
    "bubbles": frozenset({"Beauty", "Baby"}),
    "lavender sprigs": frozenset({"Beauty"}),
    "candle": frozenset({"Beauty"}),
    "cotton": frozenset({"Clothing", "Baby"}),
    "log": frozenset({"Tools"}),
    "gears": frozenset({"Tools", "Automotive"}),
    "cactus": frozenset({"Home"}),
    "books": frozenset({"Stationery"}),
    "yarn": frozenset({"Pets"}),
    "tennis balls": frozenset({"Pets"}),
    "toy bricks": frozenset({"Toys", "Baby"}),
    "balloons": frozenset({"Toys"}),
    "seashells": frozenset({"Jewelry", "Beauty"}),
    "pine cones": frozenset({"Home", "Food"}),
    "baubles": frozenset({"Home", "Food", "Toys"}),
    "pumpkins": frozenset({"Food", "Home"}),
    "autumn leaves": frozenset({"Home", "Clothing"}),
}
"""Prop → departments of whose goods it tells something. What no row names (gifts, gold balls) is for brands to ask."""

_LAID = frozenset({"eucalyptus", "palm", "blossom", "cotton", "autumn leaves", "lavender sprigs", "wheat", "cinnamon",
                   "seashells", "pine cones"})  # fmt: skip
_HELD = frozenset(
    {"palm", "blossom", "cotton", "sunflowers", "eucalyptus", "lavender sprigs", "wheat"}
)  # stems that would stand without a vase
_BOARDS = frozenset({"oak", "walnut"})  # planks make tables and floors, and no block
_HARD = frozenset({"oak", "walnut", "slate", "white marble", "black marble", "terrazzo"})
_SURFACES = {
    "floor": frozenset({"oak", "walnut", "slate"}),
    "flat lay": frozenset({"oak", "walnut", "slate", "white marble", "black marble", "terrazzo", "linen"}),
}
_ROADS = frozenset({"city", "studio", "loft"})
_OF_THE_ROAD = frozenset({"Sports", "Automotive"})
_YARDS = {"Garden": frozenset({"terrace"})}
_GREENS = word_set("plant, plants, houseplant, flower, flowers, bouquet, cactus, cacti, succulent, succulents, orchid, "
                   "bonsai, fern, tree, planter")  # fmt: skip
_PLANTS = frozenset({"eucalyptus", "palm", "blossom", "cactus", "lavender sprigs", "wheat", "cotton"})
_THIN = 0.5  # share of its box up to which a product gets lost on a pattern
_CLOTH = frozenset({"Food", "Drinks", "Home", "Beauty", "Baby"})  # what one finds on a table cloth
_GROUND = {
    "sand": frozenset({"beach", "desert"}),
    "grass": frozenset({"meadow"}),
    "snow": frozenset({"snow"}),
    "asphalt": frozenset({"night city"}),
    "water": frozenset({"pool"}),
}
_OUTDOORS = frozenset({"Sports", "Garden", "Toys", "Pets", "Automotive"})  # what may stand on open ground
_BATHERS = frozenset({"Sports"})
_LIGHT = {
    "soft": frozenset(SETTINGS),
    "window": INDOORS,
    "noon": frozenset(SETTINGS) - INDOORS | {"studio", "loft"},
    "leafy": frozenset(SETTINGS) - INDOORS | {"studio", "living room"},
    "golden hour": frozenset(SETTINGS) - INDOORS - {"snow", "terrace"},
    "blue hour": frozenset({"night city"}),
    "candlelight": frozenset({"festive"}),
}
"""Light → places in which it can be. What colors, darkens or stripes the set and never the product is in none."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A product as the rules see it: its department, "" where nobody knows, and its outline, None for a usual one."""

    product: Product
    department: str = ""
    outline: Silhouette | None = None

    def staging(self, scene: Scene) -> Staging:
        """Return how the studio will show it in `scene`."""
        return STANDING if self.outline is None else staging(self.product, self.outline, scene)


def breaches(scene: Scene, subject: Subject) -> tuple[str, ...]:
    """Return the slots of a scene that hold what a photographer would not use for this product."""
    held = {slot: {str(value)} for slot, value in scene.slots.items()} | {"prop": set(scene.props) or {NO_PROP}}
    return tuple(slot for slot, allowed in allowed_values(scene, subject).items() if not held[slot] <= allowed)


def allowed_values(scene: Scene, subject: Subject) -> dict[str, frozenset[str]]:
    """Return slot → values that go with the product and with the rest of the scene, for the slots that have rules."""
    staged, department, place = subject.staging(scene), subject.department, scene.setting
    lies, free = staged.seen == "above", staged.on_floor or staged.pose == "hangs"
    rules = {
        "setting": SETTINGS_OF.get(department, frozenset(SETTINGS)),
        "light": frozenset(light for light in LIGHTS if place in _LIGHT.get(light, ())),
        "surface": _surfaces(scene, subject),
        "prop": frozenset({NO_PROP, *(prop for prop in PROPS if department in DEPARTMENTS_OF.get(prop, ()))}),
        "stand": _stands(place) if staged == STANDING else frozenset(STANDS),
    }
    if lies:  # the place is not in the picture, and a colored light would be on all but the product
        rules["light"] = frozenset({"soft", "window", "leafy"})
        rules["prop"] &= _LAID | {NO_PROP}
    elif free:  # furniture, vehicles and lamps
        rules["setting"] = _ROADS if department in _OF_THE_ROAD else _ROOMS | _YARDS.get(department, frozenset())
        rules["prop"] = frozenset({NO_PROP})
    else:
        rules["prop"] -= _HELD
    if not _GREENS.isdisjoint(_words(subject.product)):  # a plant before plants is hard to see
        rules["prop"] -= _PLANTS
    if place == "loft":  # concrete is not cast in yellow
        rules["palette"] = frozenset({"cream", "charcoal"})
    return rules


def _surfaces(scene: Scene, subject: Subject) -> frozenset[str]:
    staged, place = subject.staging(scene), scene.setting
    if staged.seen == "above":
        thin = subject.outline is not None and subject.outline.fill < _THIN
        return _SURFACES["flat lay"] - ({"terrazzo"} if thin else set()) - (_BOARDS if staged.slanted else set())
    outdoors = {
        ground
        for ground, places in _GROUND.items()
        if scene.stand == "floor"
        and place in places
        and subject.department in (_BATHERS if ground == "water" else _OUTDOORS)
    }
    if staged.on_floor or staged.pose == "hangs":
        return _SURFACES["floor"] if place in INDOORS else frozenset({"slate"})
    if scene.stand == "table" and place in INDOORS | {"terrace"} and subject.department in _CLOTH:
        outdoors.add("linen")
    if scene.stand == "floor" and place not in INDOORS:  # no parquet in a forest
        return frozenset({"slate", *outdoors})
    return (_HARD - _BOARDS if scene.stand in ("podium", "blocks", "steps") else _HARD) | outdoors


def _stands(place: str) -> frozenset[str]:
    """What a photographer brings to a place; in a studio, all."""
    if place in WALLED:
        return frozenset(STANDS)
    if place in INDOORS:
        return frozenset({"table", "slab", "floor", "podium"})
    return frozenset({"table", "floor", *(["slab"] if place in _BUILT else [])})


def _words(product: Product) -> set[str]:
    return set(" ".join((product.title, *product.category)).lower().replace(",", " ").split())


_ORDER = ("setting", "stand", "prop", "surface", "light", "palette")  # a stand decides about cloth, a place about light


def suited(text: str, subject: Subject, *, style: Style, rng: np.random.Generator) -> str:
    """Return the description with what breaks a rule replaced, as far as the studio's words can say it.

    Replacements are drawn by how publishable graded ads with them were, from those that the brand does not avoid.
    """
    for slot in _ORDER:
        scene = parse(text).scene
        if slot in breaches(scene, subject):
            values = sorted(allowed_values(scene, subject)[slot])
            values = [value for value in values if (slot, value) not in style.unwanted]
            if slot == "prop":
                values = [value for value in values if value == NO_PROP]
            if values:
                odds = np.exp([log_publishable(slot, value) for value in values])
                value = values[int(rng.choice(len(values), p=odds / odds.sum()))]
                text = reword(text, lexicon.PHRASES[slot][value][0])
    return text
