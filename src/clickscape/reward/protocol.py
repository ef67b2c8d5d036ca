"""What every reward model can do, whatever it is made of; callers know this and no more.

Scores are logits: P(first gets clicked more) = σ(difference of scores), milder where the model itself is unsure of the
difference (MacKay 1992).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, TypeVar

import numpy as np
from jaxtyping import Float64, UInt8
from numpy.typing import NDArray
from scipy.special import ndtri

from clickscape.stats.bootstrap import LEVEL
from clickscape.types import Estimate, Product, Ranked

Floats = NDArray[np.float64]
Image = UInt8[np.ndarray, "height width 3"]
Slots = Mapping[str, str | None]
Scenes = tuple[Slots | None, ...]
"""The scenes of as many pictures, slot → value, None where none was given."""

PROBIT = 1.702
"""Logits per standard deviation: σ(1.702 x) is Φ(x) to 0.01. So much two pictures of equal score differ by chance."""

HALF_WIDTH = float(ndtri(0.5 + LEVEL / 2))
"""Standard deviations from the middle of an interval to its end."""

CHUNK = 256
"""Pictures that are open at a time."""

_One = TypeVar("_One")


@dataclass(frozen=True, eq=False)
class Odds:
    """How much better the first of two pictures is: difference of scores and its standard deviation, logits, (pair,).

    sd: by what the model does not know of effects; NaN for a model that cannot say.
    """

    mean: Float64[np.ndarray, " pair"]
    sd: Float64[np.ndarray, " pair"]

    @property
    def log_odds(self) -> Floats:
        """Return log-odds that the first gets clicked more, milder than `mean` where `sd` is large."""
        return np.asarray(self.mean / np.sqrt(1 + np.nan_to_num(self.sd) ** 2 / PROBIT**2))

    @property
    def probability(self) -> Floats:
        """Return P(first gets clicked more), (pair,)."""
        return np.asarray(0.5 + 0.5 * np.tanh(self.log_odds / 2))

    @property
    def known(self) -> bool:
        """Whether the model can say how sure it is."""
        return bool(np.isfinite(self.sd).all())


def joined(parts: Sequence[Odds]) -> Odds:
    """Return the odds of several lots of pairs as one."""
    return Odds(np.concatenate([part.mean for part in parts]), np.concatenate([part.sd for part in parts]))


@dataclass(frozen=True, slots=True)
class Step:
    """One step of training, of `total`: what is done, and the loss where there is one (nats per product)."""

    number: int
    total: int
    text: str
    loss: float | None = None


class RewardModel(Protocol):
    """A reward model: which of two images of one product gets clicked more.

    `scenes` in all methods: those that the images were drawn from, None where unknown; a model that reads pictures
    alone ignores them.
    """

    reads_sides: bool
    """Whether it looks at two pictures side by side, so that it can prefer a side."""

    @property
    def audiences(self) -> tuple[str, ...]:
        """Audiences that it tells apart."""
        return ()

    def score(
        self, products: Sequence[Product], images: Sequence[Image], scenes: Sequence[Slots | None] | None = None
    ) -> Float64[np.ndarray, " image"]:
        """Return one logit per image; only differences within one product mean something."""
        ...

    def odds(
        self,
        products: Sequence[Product],
        firsts: Sequence[Image],
        seconds: Sequence[Image],
        scenes: Sequence[Scenes] | None = None,
    ) -> Odds:
        """Compare pairs of images, both orders alike: odds(a, b) = −odds(b, a). scenes: of both, for each pair."""
        ...

    def rank(
        self, product: Product, images: Sequence[Image], scenes: Sequence[Slots | None] | None = None
    ) -> list[Ranked]:
        """Return the images, best first, with 95 % intervals of their logits that hold what no model can know."""
        ...

    def with_given_scenes(self) -> Self:
        """Return the same model with given scenes in place of predicted ones; itself where it reads none."""
        ...

    def for_audience(self, name: str) -> Self:  # noqa: ARG002
        """Return the model of what one audience clicks; itself where it does not tell this audience apart."""
        return self

    def log_ctrs_by_audience(
        self,
        products: Sequence[Product],  # noqa: ARG002
        images: Sequence[Image],  # noqa: ARG002
        scenes: Sequence[Slots | None] | None = None,  # noqa: ARG002
    ) -> Mapping[str, Float64[np.ndarray, " image"]]:
        """Return log CTRs, up to a level of each product, by audience, "" for everybody; empty where it tells none."""
        return {}

    def save(self, folder: Path) -> None:
        """Write everything that `reward.load` needs; the folder appears whole or not at all."""
        ...

    def side_by_side(
        self,
        products: Sequence[Product],
        pairs: Sequence[tuple[Image, Image]],
        questions: Sequence[str | None] = (),  # noqa: ARG002
    ) -> Odds:
        """Compare left and right as they are shown, in this order only, with any bias for a side.

        questions: the words to ask in, for a model that was trained on them.
        """
        return self.odds(products, [left for left, _ in pairs], [right for _, right in pairs])

    def compare(self, product: Product, first: Image, second: Image) -> float:
        """Return P(the first image gets clicked more); compare(p, a, b) = 1 − compare(p, b, a)."""
        return float(self.odds([product], [first], [second]).probability[0])


def ranked(scores: Floats, sd: Floats, neighbors: Odds) -> list[Ranked]:
    """Return images, best first. scores, sd: (image,); neighbors: odds of each over the next, in that order."""
    if not len(scores):
        return []
    order = best_first(scores)
    half = HALF_WIDTH * np.sqrt(sd**2 + PROBIT**2 / 2)
    half = np.where(np.isfinite(half), half, np.inf)
    sure = (neighbors.mean > HALF_WIDTH * neighbors.sd).tolist() if neighbors.known else [None] * len(neighbors.mean)
    return [
        Ranked(
            at, Estimate(float(scores[at]), float(scores[at] - half[at]), float(scores[at] + half[at]), LEVEL), ahead
        )
        for at, ahead in zip(order, [*sure, None], strict=True)
    ]


def best_first(scores: Floats) -> list[int]:
    """Return the indices of scores (image,), largest first, equal ones in their order."""
    return sorted(range(len(scores)), key=lambda index: (-scores[index], index))


def check_lengths(products: Sequence[Product], images: Sequence[Image], scenes: Sequence[object] | None = None) -> None:
    """Raise ValueError where there is not one product, and one scene, per image."""
    if len(products) != len(images):
        raise ValueError(f"one product per image is needed, got {len(products)} products and {len(images)} images")
    if scenes is not None and len(scenes) != len(images):
        raise ValueError(f"one scene per image is needed, or None, got {len(scenes)} scenes and {len(images)} images")


def unique(items: Sequence[_One]) -> tuple[list[_One], list[int]]:
    """Return every object once, and the place of each item among them: the same object is looked at once."""
    places: dict[int, int] = {}
    numbers = [places.setdefault(id(item), len(places)) for item in items]
    firsts = dict(reversed(list(zip(numbers, items, strict=True))))
    return [firsts[number] for number in range(len(places))], numbers
