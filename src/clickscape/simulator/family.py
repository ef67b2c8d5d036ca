"""A family of click worlds in which the structure is drawn, not only the numbers.

    log CTR = product base + Σ over kinds of √share · effect + effect of the image
    kinds: slots (main), department × slot, slot × slot, slot × product color, slot × price, fit, figures of the picture

Which slots matter, how sparse effects are, how much each kind explains, which figures shoppers see and by what curve,
who they are, how positions, days, fatigue and bots act, and how large catalog and log are: all of it follows from the
world's number. Tune on worlds 0 to 99; figures to report come from 1000 on. Every draw is the hash of its name
(`hashed`), so a world is the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Float64

from clickscape.catalog import sample
from clickscape.render.scene import Scene
from clickscape.simulator.course import weekly_rhythm
from clickscape.simulator.hashed import normal, uniform
from clickscape.simulator.perception import FIGURES, perceive
from clickscape.simulator.shoppers import FIT
from clickscape.simulator.vocabulary import SLOTS, WALLED
from clickscape.simulator.world import department
from clickscape.types import Product

Figures = Float64[np.ndarray, " figure"]
AVERAGE = np.zeros(len(FIGURES))
"""The figures of an average picture."""

KINDS = ("main", "department", "pair", "color", "price", "fit", "picture")

CURVES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "rising": lambda x: x,
    "saturating": lambda x: np.tanh(1.5 * x),
    "hump": lambda x: -((x - 0.4) ** 2),
    "valley": lambda x: np.abs(x + 0.3),
    "threshold": lambda x: 1 / (1 + np.exp(-4 * (x - 0.5))),
    "wave": lambda x: np.sin(1.8 * x),
}
"""How a figure of the picture acts; three of the six are not monotone."""

_GRID = np.linspace(-3, 3, 241)
_WEIGHT = np.exp(-(_GRID**2) / 2) / np.exp(-(_GRID**2) / 2).sum()
_MOST = math.log(0.5)  # no ad is clicked more often; tastes and days come on top
_REFERENCE = 24  # products, and scenes of each, over which a kind's spread is measured


@dataclass(frozen=True, slots=True)
class Structure:
    """What a world is, before any effect is drawn.

    `spread`: sd of log CTR within a product; `shares`: of its variance, by kind. `density`: share of values that have
    an effect at all. `segments`: shares of the traffic; `opposed`: sd of their tastes, the first two of opposite ones.
    `examination`: chance that a position is looked at. `rhythm`: log-CTR by weekday; `drift`: sd of its slope per week;
    `fatigue`: loss of log CTR per e-fold of impressions. `bots`, `duplicates`: shares of the impressions. `products`,
    `creatives` (of a product) and `median_impressions` (of a creative): what a benchmark asks the settings for.
    """

    spread: float
    shares: Mapping[str, float]
    slots: tuple[str, ...]
    density: float
    pairs: tuple[tuple[str, str], ...]
    curves: Mapping[str, str]
    segments: Mapping[str, float]
    opposed: float
    image_sd: float
    base_ctr: float
    examination: tuple[float, ...]
    rhythm: tuple[float, ...]
    drift: float
    fatigue: float
    bots: float
    duplicates: float
    products: int
    creatives: int
    median_impressions: int
    impressions_sd: float


def draw_structure(number: int) -> Structure:
    """Draw the structure of a world."""
    key = ("drawn", str(number))

    def between(low: float, high: float, *name: str) -> float:
        return low + (high - low) * uniform(*key, *name)

    def spaced(low: float, high: float, *name: str) -> float:
        return round(math.exp(between(math.log(low), math.log(high), *name)), 4)

    ranked = sorted(SLOTS, key=lambda slot: uniform(*key, "slot", slot))
    slots = tuple(ranked[: 2 + int(5 * uniform(*key, "slots"))])
    couples = [(a, b) for place, a in enumerate(SLOTS) for b in tuple(SLOTS)[place + 1 :]]
    pairs = sorted(couples, key=lambda couple: uniform(*key, "pair", *couple))[: 1 + int(3 * uniform(*key, "pairs"))]
    figures = sorted(FIGURES, key=lambda figure: uniform(*key, "figure", figure))[: 2 + int(3 * uniform(*key, "seen"))]
    curves = {figure: list(CURVES)[int(len(CURVES) * uniform(*key, "curve", figure))] for figure in figures}
    weights = {kind: -math.log(uniform(*key, "share", kind)) for kind in KINDS}  # a Dirichlet draw
    segments = {f"segment {place}": -math.log(uniform(*key, "segment", str(place))) + 0.3
                for place in range(1 + int(4 * uniform(*key, "segments")))}  # fmt: skip
    return Structure(
        spread=round(between(0.15, 0.45, "spread"), 4),
        shares={kind: round(weight / sum(weights.values()), 4) for kind, weight in weights.items()},
        slots=slots,
        density=round(between(0.15, 1.0, "density"), 4),
        pairs=tuple(pairs),
        curves=curves,
        segments={name: size / sum(segments.values()) for name, size in segments.items()},
        opposed=round(between(0, 0.35, "opposed") * (uniform(*key, "any taste") < 0.7), 4),
        image_sd=round(between(0.02, 0.10, "image"), 4),
        base_ctr=spaced(0.004, 0.03, "base"),
        examination=_examination(key, positions=3 + int(6 * uniform(*key, "positions"))),
        rhythm=weekly_rhythm(key, between(0, 0.25, "rhythm")),
        drift=round(between(0, 0.15, "drift") * (uniform(*key, "drifts") < 0.5), 4),
        fatigue=round(between(0, 0.06, "fatigue") * (uniform(*key, "tires") < 0.5), 4),
        bots=round(between(0, 0.12, "bots") * (uniform(*key, "any bot") < 0.5), 4),
        duplicates=round(between(0, 0.04, "duplicates") * (uniform(*key, "twice") < 0.5), 4),
        products=round(spaced(60, 2_000, "products")),
        creatives=3 + int(6 * uniform(*key, "creatives")),
        median_impressions=round(spaced(300, 30_000, "impressions")),
        impressions_sd=round(between(0.4, 1.5, "impressions' spread"), 4),
    )


@dataclass(frozen=True)
class DrawnWorld:
    """True CTRs of any product in any scene and picture, in a world of the family; `draw_world` makes one."""

    number: int
    structure: Structure

    @property
    def name(self) -> str:
        """Its name in settings."""
        return f"drawn-{self.number}"

    @property
    def segments(self) -> Mapping[str, float]:
        """Segments of shoppers and their shares of the traffic."""
        return self.structure.segments

    @staticmethod
    def measure(image: np.ndarray, mask: np.ndarray) -> Figures:
        """Return what shoppers see in a picture with its product's alpha (`perception.perceive`)."""
        return perceive(image, mask)

    def log_ctr(
        self, product: Product, scene: Scene, figures: Figures = AVERAGE, image_key: str | None = None
    ) -> float:
        """Expected log CTR at examination 1, over the segments; without a key, of the average such image."""
        effect = self.base(product) + self.scene_effect(product, scene) + self.picture_effect(figures)
        if image_key is not None:
            effect += self.structure.image_sd * self._normal("image", image_key)
        return min(effect, _MOST)

    def segment_log_ctrs(
        self, product: Product, scene: Scene, figures: Figures = AVERAGE, image_key: str | None = None
    ) -> tuple[float, ...]:
        """`log_ctr` of each segment, in their order; their CTRs average to exp(log_ctr) exactly."""
        average = self.log_ctr(product, scene, figures, image_key)
        values = {slot: value for slot, value in scene.slots.items() if value is not None}
        tastes = [sum(self._taste(place, *item) for item in values.items()) for place in range(len(self.segments))]
        level = math.log(sum(share * math.exp(t) for share, t in zip(self.segments.values(), tastes, strict=True)))
        return tuple(average + taste - level for taste in tastes)

    def relative_ctr(self, product: Product, scene: Scene, figures: Figures = AVERAGE) -> float:
        """CTR as a multiple of the product's base: what an uplift is measured in."""
        return math.exp(self.log_ctr(product, scene, figures) - self.base(product))

    def base(self, product: Product) -> float:
        """Log CTR of the product before any scene."""
        where, own = self._normal("base", department(product)), self._normal("product", product.product_id)
        return math.log(self.structure.base_ctr) + 0.25 * where + 0.25 * own

    def scene_effect(self, product: Product, scene: Scene) -> float:
        """Effect of the scene on log CTR, all kinds but that of the picture."""
        parts = self._parts(product, scene.slots)
        return sum(self._scales[kind] * part for kind, part in parts.items())

    def picture_effect(self, figures: Figures) -> float:
        """Effect of what shoppers see in the picture, log CTR."""
        seen = dict(zip(FIGURES, figures, strict=True))
        total = 0.0
        for figure, curve in self.structure.curves.items():
            center, spread = _moments(curve)
            value = float(CURVES[curve](np.array(seen[figure])))
            total += self._sign("figure", figure) * (value - center) / spread
        share = self.structure.shares["picture"] / len(self.structure.curves)
        return self.structure.spread * math.sqrt(share) * total

    def best_scene(self, product: Product) -> Scene:
        """The scene with the largest effect of those that the vocabulary can say, pictures aside."""
        names = tuple(SLOTS)
        shape = {slot: tuple(-1 if other == slot else 1 for other in names) for slot in names}
        total = np.zeros(tuple(len(values) for values in SLOTS.values()))
        walled = np.reshape([value in WALLED for value in SLOTS["setting"]], shape["setting"])
        for slot, values in SLOTS.items():
            own = np.reshape([self._slot_effect(product, slot, value) for value in values], shape[slot])
            total = total + (own * walled if slot == "palette" else own)  # only a wall has a color
        for first, second in self.structure.pairs:
            table = [[self._pair(first, a, second, b) for b in SLOTS[second]] for a in SLOTS[first]]
            sides = tuple(len(SLOTS[name]) if name in (first, second) else 1 for name in names)
            pair = self._scales["pair"] * np.reshape(table, sides)
            total = total + (pair * walled if "palette" in (first, second) else pair)
        chosen = np.unravel_index(int(total.argmax()), total.shape)
        return Scene.from_slots({slot: SLOTS[slot][int(place)] for slot, place in zip(names, chosen, strict=True)})

    def _slot_effect(self, product: Product, slot: str, value: str) -> float:
        parts = self._parts(product, {slot: value})
        return sum(self._scales[kind] * part for kind, part in parts.items())

    def _parts(self, product: Product, slots: Mapping[str, str | None]) -> dict[str, float]:
        """Each kind's effect before it is scaled; a value outside of the vocabulary has none."""
        named = {slot: value for slot, value in slots.items() if value in SLOTS[slot]}
        own = {slot: str(value) for slot, value in named.items() if slot in self.structure.slots}
        color = product.attributes.get("color", "").casefold()
        price = math.tanh(math.log((product.price or 30.0) / 30.0 + 1e-9))
        fit = FIT[department(product)]
        fits = [value in (fit.settings if slot == "setting" else fit.props)
                for slot, value in named.items() if slot in ("setting", "prop")]  # fmt: skip
        return {
            "main": sum(self._cell("main", *item) for item in own.items()),
            "department": sum(self._cell("department", department(product), *item) for item in own.items()),
            "pair": sum(
                self._pair(first, str(named[first]), second, str(named[second]))
                for first, second in self.structure.pairs
                if first in named and second in named
            ),
            "color": sum(self._cell("color", color, *item) for item in own.items()),
            "price": price * sum(self._cell("price", *item) for item in own.items()),
            "fit": sum(1.0 if one else -1.0 for one in fits),
        }

    @cached_property
    def _scales(self) -> dict[str, float]:
        """What each kind's effects are multiplied by, so that it explains its share of the spread within products."""
        known = sample.products()
        rows = []
        for number in range(_REFERENCE):
            product = known[int(len(known) * uniform("reference", str(number)))]
            rows.append([list(self._parts(product, _scene(number, place)).values()) for place in range(_REFERENCE)])
        spreads = np.sqrt(np.var(np.array(rows), axis=1).mean(0))
        kinds = [kind for kind in KINDS if kind != "picture"]
        return {
            kind: round(self.structure.spread * math.sqrt(self.structure.shares[kind]) / max(float(sd), 1e-9), 4)
            for kind, sd in zip(kinds, spreads, strict=True)
        }

    def _taste(self, place: int, slot: str, value: str) -> float:
        if slot not in self.structure.slots or value not in SLOTS[slot]:
            return 0.0
        own = self._cell("taste", str(max(place, 1)), slot, value)
        return self.structure.opposed * (-own if place == 0 else own)

    def _pair(self, first: str, one: str, second: str, other: str) -> float:
        return self._cell("pair", first, one, second, other)

    def _cell(self, *key: str) -> float:
        return self._normal(*key) if uniform(self.name, "present", *key) < self.structure.density else 0.0

    def _sign(self, *key: str) -> float:
        return 1.0 if uniform(self.name, "sign", *key) < 0.5 else -1.0

    def _normal(self, *key: str) -> float:
        return normal(self.name, *key)


@lru_cache(maxsize=32)
def draw_world(number: int) -> DrawnWorld:
    """Draw the world of a number; the same number gives the same world. ValueError for a negative one."""
    if number < 0:
        raise ValueError(f"worlds are numbered from 0, got {number}")
    return DrawnWorld(number, draw_structure(number))


@lru_cache(maxsize=len(CURVES))
def _moments(curve: str) -> tuple[float, float]:
    """Mean and sd of a curve over the figures of average pictures."""
    values = CURVES[curve](_GRID)
    center = float((_WEIGHT * values).sum())
    return center, math.sqrt(float((_WEIGHT * (values - center) ** 2).sum()))


def _examination(key: Sequence[str], *, positions: int) -> tuple[float, ...]:
    """One of four shapes: a power, a geometric series, nearly flat, or a cliff below the fold."""
    places, steep = np.arange(positions), 0.5 + uniform(*key, "steep")
    shape = int(4 * uniform(*key, "position curve"))
    curve = (
        1 / (1 + places) ** (0.8 * steep),
        (1 - 0.3 * steep) ** places,
        1 - 0.05 * steep * places,
        np.where(places < positions / 2, 1.0, 0.5 / (1 + steep)),
    )[shape]
    return tuple(round(float(value), 4) for value in curve)


def _scene(number: int, place: int) -> dict[str, str | None]:
    """A scene whose values are all equally likely, as slots."""
    slots: dict[str, str | None] = {
        slot: values[int(len(values) * uniform("reference scene", str(number), str(place), slot))]
        for slot, values in SLOTS.items()
    }
    return slots if slots["setting"] in WALLED else {**slots, "palette": None}
