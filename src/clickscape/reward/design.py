"""The design of the effects model: what its effects are multiplied with, in blocks of columns.

A picture is described by the slots of its scene (given, or as probabilities), by statistics of the whole image and by
the principal components of its thumbnail; a product by its department and price. A block is one of the former, or its
product with one of the latter. How wide a block's effects are is learned (`effects`), so a block that says nothing
does little harm, and a log without scenes or departments has fewer blocks and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from clickscape.reward.image_statistics import STATISTICS, image_statistics
from clickscape.reward.prices import PRICE_FEATURES, Prices, measure
from clickscape.reward.protocol import Floats, Image, Slots
from clickscape.reward.slot_probe import SlotProbe, class_counts, given_probabilities
from clickscape.types import Product

Integers = NDArray[np.int64]

MAX_DEPARTMENTS = 32
THUMBNAIL = 16
PIXELS = THUMBNAIL**2 * 3
COMPONENTS = 40
"""Principal components of thumbnails, THUMBNAIL × THUMBNAIL pixels in CIELAB."""
LEADING = 12
"""Components that may act otherwise in each department."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """What is read of pictures, once for each. tokens: pooled by the backbone; scenes: given ones, or None."""

    tokens: Float64[np.ndarray, "picture token"]
    thumbnails: Float64[np.ndarray, "picture pixel"]
    statistics: Float64[np.ndarray, "picture statistic"]
    scenes: Sequence[Slots | None]

    def take(self, rows: Sequence[int] | np.ndarray) -> Pictures:
        """Return some rows, in that order."""
        rows = np.asarray(rows, np.int64)
        return Pictures(
            self.tokens[rows], self.thumbnails[rows], self.statistics[rows], [self.scenes[row] for row in rows]
        )


def read(tokens: Floats, images: Sequence[Image], scenes: Sequence[Slots | None]) -> Pictures:
    """Return what is read of pictures; tokens: (picture, token)."""
    return Pictures(tokens, np.array([_thumbnail(image) for image in images]).reshape(len(images), PIXELS),
                    image_statistics(images).astype(np.float64), scenes)  # fmt: skip


def joined(parts: Sequence[Pictures]) -> Pictures:
    """Return several lots of pictures as one."""
    whole = {one.name: np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Pictures)[:3]}
    return Pictures(**whole, scenes=[scene for part in parts for scene in part.scenes])


@dataclass(frozen=True, eq=False)
class Design:
    """What turns pictures and products into columns; fitted to a log's training products (`fit`).

    slots, departments: their names, empty where nobody knows any. probe: names slots of pictures, None where nothing
    does. given_scenes: whether given scenes count before predicted ones. statistic_*: (statistic,); thumbnail_mean:
    (pixel,); components: (pixel, component).
    """

    slots: Mapping[str, tuple[str, ...]]
    departments: tuple[str, ...]
    prices: Prices
    probe: SlotProbe | None
    given_scenes: bool
    statistic_mean: Floats
    statistic_scale: Floats
    thumbnail_mean: Floats
    components: Floats

    @classmethod
    def fit(
        cls, pictures: Pictures, products: Sequence[Product], *, slots: Mapping[str, tuple[str, ...]], given: bool
    ) -> Design:
        """Return the design of a log without a probe; products: of every picture (repetitions count)."""
        catalog = list(dict.fromkeys(products))
        names = Counter(product.department for product in products if product.department)
        mean, components = _components(pictures.thumbnails, products)
        scale = pictures.statistics.std(0)
        return cls(
            slots=slots,
            departments=tuple(sorted(name for name, _ in names.most_common(MAX_DEPARTMENTS))),
            prices=measure(catalog),
            probe=None,
            given_scenes=given,
            statistic_mean=pictures.statistics.mean(0),
            statistic_scale=np.where(scale > 1e-6, scale, 1.0),  # what never varied must not be blown up later
            thumbnail_mean=mean,
            components=components,
        )

    def elements(self, pictures: Pictures, *, given: bool | None = None) -> Floats:
        """Return the slots' classes, (picture, class): given ones where asked for and known, else probabilities."""
        count = sum(class_counts(self.slots))
        found = np.full((len(pictures.scenes), count), np.nan)
        if self.given_scenes if given is None else given:
            found = given_probabilities(self.slots, pictures.scenes)
        if self.probe is None or not np.isnan(found).any():
            return np.nan_to_num(found)
        return np.where(np.isnan(found), self.probe.probabilities(pictures.tokens), found)

    def blocks(self, elements: Floats, pictures: Pictures, products: Sequence[Product]) -> dict[str, Floats]:
        """Return the blocks of columns, name → (picture, column); elements: of the pictures (`elements`)."""
        of_product, row = _numbered(products)
        department, price = (values[row] for values in self._facts(of_product))
        statistics = (pictures.statistics - self.statistic_mean) / self.statistic_scale
        found: dict[str, Floats] = {}
        counts = class_counts(self.slots)
        parts = dict(zip(self.slots, np.split(elements, np.cumsum(counts)[:-1], axis=1), strict=True)) if counts else {}
        for slot, part in parts.items():
            found[slot] = part
            found[f"{slot} × department"] = _crossed(part, department)
        found["elements × price"] = _crossed(elements, price)
        found["statistics"] = statistics
        found["thumbnail"] = thumbnail = (pictures.thumbnails - self.thumbnail_mean) @ self.components
        if not self.slots:  # with slots these columns earned nothing (lab notes)
            found["thumbnail × department"] = _crossed(thumbnail[:, :LEADING], department)
        return {name: block for name, block in found.items() if block.shape[1]}

    def matrix(self, elements: Floats, pictures: Pictures, products: Sequence[Product]) -> Floats:
        """Return all blocks side by side, (picture, column)."""
        return np.concatenate(list(self.blocks(elements, pictures, products).values()), axis=1)

    @property
    def column_count(self) -> int:
        """How many columns `matrix` has."""
        return sum(self._widths.values())

    @property
    def own_columns(self) -> Integers:
        """Which columns of `matrix` say something of the picture alone, not of it with a product."""
        alone = ["×" not in name for name in self._widths]
        return np.flatnonzero(np.repeat(alone, list(self._widths.values())))

    @property
    def _widths(self) -> dict[str, int]:
        """Block → number of its columns."""
        nothing = Pictures(
            np.zeros((0, 0)), np.zeros((0, len(self.thumbnail_mean))), np.zeros((0, len(STATISTICS))), ()
        )
        blocks = self.blocks(np.zeros((0, sum(class_counts(self.slots)))), nothing, ())
        return {name: part.shape[1] for name, part in blocks.items()}

    def named_by(self, probe: SlotProbe | None) -> Design:
        """Return the same with a probe that names slots; without one and without given scenes there are no slots."""
        return replace(self, probe=probe, slots={} if probe is None and not self.given_scenes else self.slots)

    def _facts(self, products: Sequence[Product]) -> tuple[Floats, Floats]:
        """Department (product, department) and price (product, price feature)."""
        numbers = {name: number for number, name in enumerate(self.departments)}
        department = np.zeros((len(products), len(numbers)))
        for row, product in enumerate(products):
            if (number := numbers.get(product.department)) is not None:
                department[row, number] = 1.0
        width = PRICE_FEATURES if self.prices.scales else 0
        price = np.array([self.prices.features(product)[:width] for product in products])
        return department, price.reshape(len(products), width)


def _thumbnail(image: Image) -> Floats:
    small = cv2.resize(image, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1).astype(np.float64)


def _components(values: Floats, products: Sequence[Product]) -> tuple[Floats, Floats]:
    """Mean (value,), and the components in which pictures of one product differ most, (value, component).

    The first has variance 1 within products, the others as much less as they vary less: a prior of one width then
    expects little of what hardly varies.
    """
    mean = values.mean(0)
    number = np.array(_numbered(products)[1])
    sums = np.zeros((number.max(initial=0) + 1, values.shape[1]))
    np.add.at(sums, number, values)
    within = values - (sums / np.maximum(np.bincount(number), 1)[:, None])[number]
    variances, vectors = np.linalg.eigh(within.T @ within / max(len(within), 1))
    return mean, vectors[:, ::-1][:, :COMPONENTS] / np.sqrt(max(float(variances[-1]), 1e-9))


def _crossed(one: Floats, other: Floats) -> Floats:
    """All products of two columns, (row, one · other)."""
    return np.asarray((one[:, :, None] * other[:, None, :]).reshape(len(one), one.shape[1] * other.shape[1]))


def _numbered(products: Sequence[Product]) -> tuple[list[Product], list[int]]:
    """Every product once, and the place of each row's."""
    places = {product: place for place, product in enumerate(dict.fromkeys(products))}
    return list(places), [places[product] for product in products]
