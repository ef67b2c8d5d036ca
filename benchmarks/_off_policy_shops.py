"""Shops in simulated worlds whose policies' true CTRs are known, and the logs of several logging policies in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickscape.catalog import sample
from clickscape.experiment.decisions import Decisions
from clickscape.experiment.target_policy import TargetPolicy
from clickscape.simulator import worlds, writer
from clickscape.simulator.family import DrawnWorld
from clickscape.simulator.perception import FIGURES
from clickscape.types import Product

EXAMINATION = np.array([1.0, 0.7, 0.5])
FLOOR = 0.02
"""Least propensity of a candidate."""

LOGGERS = ("even", "skewed", "thompson", "greedy")
"""Propensities that hardly differ; that differ up to the floor; a bandit's, in twenty batches; the same, ε-greedy."""

_BATCHES = 20
_GREED = 0.9
_DRAWS = 400  # of the posterior, for Thompson's propensities
_PER_USER = 20

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shop:
    """Products with `candidates` creatives each that were shown, and as many `new` ones that never were.

    scenes: creative → slots. log_ctr: (creative, segment), the shown ones first. share: of the traffic, (product ×
    position,).
    """

    products: tuple[Product, ...]
    creatives: tuple[str, ...]
    candidates: int
    new: tuple[str, ...]
    scenes: Mapping[str, Mapping[str, str | None]]
    log_ctr: Floats
    segments: Floats
    share: Floats

    @property
    def ctr(self) -> Floats:
        """True CTR at the first position, (creative,), new ones last."""
        return np.exp(self.log_ctr) @ self.segments

    @property
    def sets(self) -> int:
        """Products × positions."""
        return len(self.products) * len(EXAMINATION)

    def rates(self, creative: NDArray, sets: NDArray) -> Floats:
        """True CTR of creatives in sets of one log, whose batches repeat the sets."""
        return self.ctr[creative] * EXAMINATION[sets % len(EXAMINATION)]

    def value(self, policy: TargetPolicy) -> float:
        """True CTR of a policy that does the same in every batch."""
        first = policy.sets < self.sets
        sets, creative = policy.sets[first], policy.creative[first]
        return float((self.share[sets] * policy.probability[first] * self.rates(creative, sets)).sum())

    def logged_value(self, log: Decisions) -> float:
        """True CTR of the logging policy, over its batches."""
        of_set = np.bincount(
            log.set_of_entry, log.propensity * self.rates(log.creative, log.set_of_entry), len(log.product)
        )
        batches = len(log.product) // self.sets
        return float((np.tile(self.share, batches) / batches * of_set).sum())


def open_shop(
    world: str, rng: np.random.Generator, *, products: int, candidates: int, theme: tuple[str, str] | None = None
) -> Shop:
    """Choose products, write creatives for them, and as many new ones; theme: slot and value that all new ones show."""
    shoppers = worlds.load(world)
    catalog = sample.products()
    chosen = tuple(catalog[place] for place in sorted(rng.choice(len(catalog), products, replace=False)))
    names, scenes, rows = [], {}, []
    for old in (True, False):
        for product in chosen:
            for place in range(candidates):
                name = f"{product.product_id}-{'c' if old else 'n'}{place}"
                scene = writer.write(product, rng)[1]
                if theme and not old:
                    scene = type(scene).from_slots({**scene.slots, theme[0]: theme[1]})
                names.append(name)
                scenes[name] = scene.slots
                figures = {"figures": rng.normal(size=len(FIGURES))} if isinstance(shoppers, DrawnWorld) else {}
                rows.append(shoppers.segment_log_ctrs(product, scene, image_key=name, **figures))
    half = products * candidates
    return Shop(
        products=chosen,
        creatives=tuple(names[:half]),
        candidates=candidates,
        new=tuple(names[half:]),
        scenes=scenes,
        log_ctr=np.minimum(np.array(rows), np.log(0.9)),
        segments=np.array(list(shoppers.segments.values())),
        share=rng.dirichlet(np.full(products * len(EXAMINATION), 3.0)),
    )


def log_of(shop: Shop, rng: np.random.Generator, *, decisions: int, logger: str) -> Decisions:
    """Show creatives by a logging policy: users of a segment each, who come about twenty times."""
    batches = _BATCHES if logger in ("thompson", "greedy") else 1
    count, positions = shop.candidates, len(EXAMINATION)
    segment_of = rng.choice(len(shop.segments), size=max(decisions // _PER_USER, 1), p=shop.segments)
    chances = np.exp(shop.log_ctr[: len(shop.creatives)]).reshape(len(shop.products), count, -1)
    clicks, looks = np.zeros((2, len(shop.products), count))
    propensities, shown, clicked, users = [], [], [], []
    for batch in range(batches):
        of_set = _propensities(shop, rng, logger, clicks, looks)
        size = decisions // batches
        sets = rng.choice(shop.sets, size=size, p=shop.share)
        place = (rng.random(size)[:, None] > np.cumsum(of_set, axis=1)[sets, :-1]).sum(1)
        user = rng.integers(len(segment_of), size=size)
        product, position = np.divmod(sets, positions)
        click = rng.random(size) < chances[product, place, segment_of[user]] * EXAMINATION[position]
        np.add.at(clicks, (product, place), click)
        np.add.at(looks, (product, place), EXAMINATION[position])
        propensities.append(of_set)
        shown.append((batch * shop.sets + sets) * count + place)
        clicked.append(click)
        users.append(user)
    product, position = np.divmod(np.tile(np.arange(shop.sets), batches), positions)
    return Decisions(
        creatives=shop.creatives,
        products=tuple(product.product_id for product in shop.products),
        product=product,
        places=(position,),
        start=np.arange(batches * shop.sets + 1) * count,
        creative=(product[:, None] * count + np.arange(count)).ravel(),
        propensity=np.concatenate(propensities).ravel(),
        shown=np.concatenate(shown),
        clicked=np.concatenate(clicked).astype(float),
        user=np.concatenate(users),
        ordered=True,
    )


def _propensities(shop: Shop, rng: np.random.Generator, logger: str, clicks: Floats, looks: Floats) -> Floats:
    """Of every set's candidates, (set, candidate), from what was clicked so far."""
    positions, count = len(EXAMINATION), shop.candidates
    if logger in ("even", "skewed"):
        own = rng.dirichlet(np.full(count, {"even": 20.0, "skewed": 0.7}[logger]), size=shop.sets)
    else:
        prior = 2.0 / max(clicks.sum() / max(looks.sum(), 1), 0.01)  # examinations that two clicks are worth
        if logger == "thompson":
            draws = rng.gamma(2.0 + clicks, size=(_DRAWS, *clicks.shape)) / (prior + looks)
            best = draws.argmax(axis=2)
            of_product = np.stack([(best == place).mean(0) for place in range(count)], axis=1)
        else:
            rate = (2.0 + clicks) / (prior + looks)
            of_product = np.full(clicks.shape, (1 - _GREED) / count)
            of_product[np.arange(len(rate)), rate.argmax(1)] += _GREED
        own = np.repeat(of_product, positions, axis=0)
    return (1 - count * FLOOR) * own + FLOOR
