"""Two frozen click worlds with known true CTRs: fit of scene to product pays in *harmony* and not in *siren*.

    log CTR = product base + scene main effects + department × scene interactions + fit
              + effects measured in the pixels + an unexplained effect of the image

Every effect is the hash of its name, turned into a normal draw: a world is the same on every machine and in every
version of NumPy, and nothing has to be stored. A change of any effect is a new version. Shoppers have no opinion about
what the studio learned later: a value outside of `simulator.vocabulary` has no effect and fits nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from functools import lru_cache, partial

from clickscape.errors import ConfigError
from clickscape.render.scene import NO_PROP, Scene
from clickscape.simulator.hashed import normal, uniform
from clickscape.simulator.pixels import PixelStats, measure
from clickscape.simulator.shoppers import FIT, PICTURED
from clickscape.simulator.vocabulary import SLOTS, WALLED
from clickscape.types import Product

Effects = Mapping[str, Mapping[str, float]]
"""Slot → value → effect on log CTR."""

AVERAGE_PICTURE = PixelStats()
VERSION = 1
"""Of both worlds; it is part of every draw."""

_BASE_CTR = 0.04
_DECIMALS = 4  # effects are rounded, so that the last bits of a math library cannot change a world


@dataclass(frozen=True, slots=True)
class Strengths:
    """How strong each kind of effect is, as standard deviations of log CTR unless it says otherwise."""

    main_sd: float
    interaction_sd: float
    interaction_share: float  # share of department × value cells that interact at all
    fit: float  # log CTR when setting and prop fit; minus this when neither does, 0 when one does
    pixels: PixelStats  # effect of one standard deviation of each figure
    image_sd: float  # unexplained, per image
    sirens: Effects  # what attracts everybody
    department_sd: float = 0.20
    product_sd: float = 0.20
    taste_sd: float = 0.08  # differences between segments, which average out


WORLDS: dict[str, Strengths] = {
    "harmony": Strengths(
        main_sd=0.04,
        interaction_sd=0.24,
        interaction_share=0.10,
        fit=0.25,
        pixels=PixelStats(contrast=0.05, clutter=-0.025, brightness=0.02, colorfulness=0.02),
        image_sd=0.05,
        sirens={},
    ),
    "siren": Strengths(
        main_sd=0.04,
        interaction_sd=0.08,
        interaction_share=0.20,
        fit=0.0,
        pixels=PixelStats(contrast=0.05, clutter=-0.025, brightness=0.02, colorfulness=0.02),
        image_sd=0.05,
        sirens={
            "setting": {"desert": 0.45, "bathroom": 0.40},
            "light": {"neon": 0.30},
            "prop": {"baubles": 0.50, "ice": 0.40},
        },
    ),
}
"""The frozen worlds.

Measured on 800 renders of scenes that the copywriter chose: the sd of log CTR within a product is 0.27 in harmony and
0.24 in siren.  Over the copywriter's mean CTR, the best universal scene earns +22 % in harmony and +223 % in siren, the
best scene of each department +96 % and +233 %.
"""

SEGMENTS: dict[str, float] = {"browsers": 0.5, "hunters": 0.3, "regulars": 0.2}
"""User segments and their shares of the traffic."""


@dataclass(frozen=True)
class World:
    """True CTRs of any product in any scene; load one with `load`."""

    name: str
    strengths: Strengths
    bases: Mapping[str, float]
    main: Effects
    interactions: Mapping[str, Effects]
    tastes: Mapping[str, Effects]
    measure = staticmethod(measure)

    @property
    def segments(self) -> Mapping[str, float]:
        """Segments of shoppers and their shares of the traffic."""
        return SEGMENTS

    def log_ctr(
        self, product: Product, scene: Scene, pixels: PixelStats = AVERAGE_PICTURE, image_key: str | None = None
    ) -> float:
        """Expected log CTR at examination 1, averaged over the segments; without a key, of the average such image."""
        effect = self.base(product) + self.scene_effect(product, scene) + self.pixel_effect(pixels)
        return effect if image_key is None else effect + self.image_effect(image_key)

    def segment_log_ctrs(
        self, product: Product, scene: Scene, pixels: PixelStats = AVERAGE_PICTURE, image_key: str | None = None
    ) -> tuple[float, ...]:
        """`log_ctr` of each segment, in the order of SEGMENTS; their CTRs average to exp(log_ctr) exactly."""
        average = self.log_ctr(product, scene, pixels, image_key)
        tastes = [_sum(self.tastes[segment], scene) for segment in SEGMENTS]
        level = math.log(sum(share * math.exp(t) for share, t in zip(SEGMENTS.values(), tastes, strict=True)))
        return tuple(average + taste - level for taste in tastes)

    def relative_ctr(self, product: Product, scene: Scene, pixels: PixelStats = AVERAGE_PICTURE) -> float:
        """CTR as a multiple of the product's base: what an uplift is measured in."""
        return math.exp(self.log_ctr(product, scene, pixels) - self.base(product))

    def base(self, product: Product) -> float:
        """Log CTR of the product before any scene: its department's mean and its own appeal."""
        base = self.strengths.product_sd * self._normal("product", product.product_id)
        return self.bases[department(product)] + round(base, _DECIMALS)

    def scene_effect(self, product: Product, scene: Scene) -> float:
        """The slot part: main effects, interactions and fit, additive over the slots (the first prop counts)."""
        return sum(self.slot_effect(product, slot, value) for slot, value in scene.slots.items() if value is not None)

    def slot_effect(self, product: Product, slot: str, value: str) -> float:
        """Return the effect of one slot value on a product's log CTR; 0 for an unknown value."""
        if value not in self.main[slot]:
            return 0.0
        where = department(product)
        return self.main[slot][value] + self.interactions[where][slot][value] + self._fit_effect(where, slot, value)

    def pixel_effect(self, pixels: PixelStats) -> float:
        """Return the effect of the picture's pixel statistics on log CTR."""
        weights = astuple(self.strengths.pixels)
        return sum(weight * figure for weight, figure in zip(weights, astuple(pixels), strict=True))

    def image_effect(self, image_key: str) -> float:
        """Return the random effect of one creative id on log CTR, always the same."""
        return self.strengths.image_sd * self._normal("image", image_key)

    def best_scene(self, product: Product) -> Scene:
        """The scene with the largest slot part; exact, because slots add up and only the palette needs a setting."""
        best = {
            slot: max(values, key=partial(self.slot_effect, product, slot))
            for slot, values in SLOTS.items()
            if slot != "setting"
        }
        wall = self.slot_effect(product, "palette", best["palette"])
        setting = max(
            SLOTS["setting"],
            key=lambda value: self.slot_effect(product, "setting", value) + (wall if value in WALLED else 0.0),
        )
        return Scene.from_slots({**best, "setting": setting})

    def _fit_effect(self, where: str, slot: str, value: str) -> float:
        fits = {"setting": FIT[where].settings, "prop": FIT[where].props}.get(slot)
        if fits is None:
            return 0.0
        return self.strengths.fit / 2 if value in fits else -self.strengths.fit / 2

    def _normal(self, *key: str) -> float:
        return normal(self.name, str(VERSION), *key)


@lru_cache(maxsize=len(WORLDS))  # every creative asks
def load(name: str) -> World:
    """Load a frozen world: "harmony" or "siren"; ConfigError for any other."""
    if name not in WORLDS:
        raise ConfigError(f"no world {name!r}. There are: {', '.join(WORLDS)}.")
    strengths, key = WORLDS[name], (name, str(VERSION))
    main = {
        slot: {
            value: round(effect + strengths.sirens.get(slot, {}).get(value, 0.0), _DECIMALS)
            for value, effect in _spread_out(
                strengths.main_sd, [(*key, "main", slot, value) for value in values]
            ).items()
        }
        for slot, values in SLOTS.items()
    }
    bases = {
        where: round(math.log(_BASE_CTR) + strengths.department_sd * normal(*key, "base", where), _DECIMALS)
        for where in FIT
    }
    tastes = {
        segment: {
            slot: {
                value: round(strengths.taste_sd * normal(*key, "taste", segment, slot, value), _DECIMALS)
                for value in values
            }
            for slot, values in SLOTS.items()
        }
        for segment in SEGMENTS
    }
    return World(name, strengths, bases, main, _interactions(strengths, key), tastes)


def department(product: Product) -> str:
    """Return the department whose effects apply to a product; an unknown one gets a fixed known one."""
    if product.department in FIT:
        return product.department
    known = tuple(FIT)
    return known[int(uniform("department", product.department.casefold()) * len(known))]


def matching(product: Product, scene: Scene) -> bool:
    """Return whether the scene's setting and every prop fit the product by the shoppers' table.

    A setting or prop outside of the vocabulary fits nothing.
    """
    fit = FIT[department(product)]
    return scene.setting in fit.settings and all(prop in fit.props for prop in scene.props or (NO_PROP,))


def _interactions(strengths: Strengths, key: tuple[str, ...]) -> dict[str, Effects]:
    """Sparse department × value cells, centered over departments: a universal scene earns main effects alone."""
    tables: dict[str, dict[str, dict[str, float]]] = {where: {slot: {} for slot in SLOTS} for where in FIT}
    groups = (PICTURED, tuple(where for where in FIT if where not in PICTURED))
    for group in groups:
        for slot, values in SLOTS.items():
            for value in values:
                cells = [_cell(strengths, (*key, "interaction", where, slot, value)) for where in group]
                mean = sum(cells) / len(cells)
                for where, cell in zip(group, cells, strict=True):
                    tables[where][slot][value] = round(cell - mean, _DECIMALS)
    return dict(tables)


def _cell(strengths: Strengths, key: tuple[str, ...]) -> float:
    interacts = uniform(*key, "present") < strengths.interaction_share
    return strengths.interaction_sd * normal(*key) if interacts else 0.0


def _spread_out(sd: float, keys: Iterable[tuple[str, ...]]) -> dict[str, float]:
    """Normal draws of one slot, by the last word of the key, with mean 0 and exactly the spread that is promised."""
    draws = {key[-1]: max(-1.5, min(1.5, normal(*key))) for key in keys}
    mean = sum(draws.values()) / len(draws)
    spread = math.sqrt(sum((draw - mean) ** 2 for draw in draws.values()) / len(draws))
    return {value: sd * (draw - mean) / spread for value, draw in draws.items()}


def _sum(effects: Effects, scene: Scene) -> float:
    return sum(effects[slot].get(value, 0.0) for slot, value in scene.slots.items() if value is not None)
