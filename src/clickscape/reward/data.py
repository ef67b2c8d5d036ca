"""Training data of a reward model, laid out as arrays.

The unit of everything is the product (or, for held-out and validation sets, its group: color variants of one object
are not independent). A tie makes no pair; a product without spread makes no regression target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from clickscape.types import CreativePair, Product

ImageSource = Sequence[np.ndarray] | Callable[[int], np.ndarray]


@dataclass(frozen=True, eq=False)
class AudienceCounts:
    """Clicks of audiences. names: (audience,); clicks, examinations: (creative, audience), 0 where it did not look."""

    names: tuple[str, ...]
    clicks: np.ndarray
    examinations: np.ndarray

    def __post_init__(self) -> None:
        for values in (self.clicks, self.examinations):
            if values.shape != (len(self.clicks), len(self.names)):
                raise ValueError(f"counts of {len(self.names)} audiences have the shape {values.shape}")

    def take(self, rows: np.ndarray | list[int]) -> AudienceCounts:
        """Return the counts of some creatives, in that order."""
        return replace(self, clicks=self.clicks[rows], examinations=self.examinations[rows])

    def largest(self, count: int) -> AudienceCounts:
        """Return the counts of the audiences that saw most, at most so many, in the order of their names."""
        kept = sorted(np.argsort(-self.examinations.sum(0), kind="stable")[:count].tolist())
        return AudienceCounts(
            tuple(self.names[place] for place in kept), self.clicks[:, kept], self.examinations[:, kept]
        )


@dataclass(frozen=True)
class RewardData:
    """Creatives of products, and pairs of them.

    products: by product_id. creative_ids, product_of: one entry per creative. images: a sequence, or a function from
    the creative's index to its picture, uint8 (height, width, 3) sRGB. log_ctr: (creative,) natural logarithm of the
    estimated CTR, NaN where unknown. clicks, examinations: (creative,) counts, NaN where unknown. slots: one scene per
    creative, None where unknown. groups: product_id → what its look comes from. audiences: the same counts by audience.
    """

    products: Mapping[str, Product]
    creative_ids: Sequence[str]
    product_of: Sequence[str]
    images: ImageSource
    pairs: Sequence[CreativePair]
    log_ctr: np.ndarray | None = None
    clicks: np.ndarray | None = None
    examinations: np.ndarray | None = None
    slots: Sequence[Mapping[str, str | None] | None] | None = None
    groups: Mapping[str, str] | None = None
    audiences: AudienceCounts | None = None

    def __post_init__(self) -> None:
        count = len(self.creative_ids)
        if self.audiences is not None and len(self.audiences.clicks) != count:
            raise ValueError(f"audiences have {len(self.audiences.clicks)} entries for {count} creatives")
        for name in ("product_of", "log_ctr", "clicks", "examinations", "slots"):
            values = getattr(self, name)
            if values is not None and len(values) != count:
                raise ValueError(f"{name} has {len(values)} entries for {count} creatives; one each is needed")
        if len(self.index_of) < count:
            raise ValueError("creative_ids must be unique")
        for product_id in set(self.product_of) - set(self.products):
            raise ValueError(f"a creative belongs to the unknown product {product_id!r}")
        for pair in self.pairs:
            for creative_id in (pair.first, pair.second):
                if creative_id not in self.index_of:
                    raise ValueError(f"a pair names the unknown creative {creative_id!r}")
                if self.product_of[self.index_of[creative_id]] != pair.product_id:
                    raise ValueError(f"the pair {pair.first!r}, {pair.second!r} mixes products")

    @cached_property
    def index_of(self) -> dict[str, int]:
        """Creative id → its index in every per-creative sequence."""
        return {creative_id: index for index, creative_id in enumerate(self.creative_ids)}

    @cached_property
    def informative(self) -> tuple[CreativePair, ...]:
        """Pairs with a preference: not tied, and with positive weight."""
        return tuple(pair for pair in self.pairs if pair.preference != 0.5 and pair.weight > 0)

    @cached_property
    def pair_indices(self) -> np.ndarray:
        """Indices of the creatives of the informative pairs, (pair, 2)."""
        rows = [(self.index_of[pair.first], self.index_of[pair.second]) for pair in self.informative]
        return np.array(rows, dtype=np.int64).reshape(-1, 2)

    def image(self, index: int) -> np.ndarray:
        """The picture of one creative."""
        return self.images(index) if callable(self.images) else self.images[index]

    def product(self, index: int) -> Product:
        """The product of one creative."""
        return self.products[self.product_of[index]]

    def group(self, product_id: str) -> str:
        """Return the group that is held out together: the object behind a product if known, else the product itself."""
        return self.groups.get(product_id, product_id) if self.groups is not None else product_id

    def only(self, product_ids: set[str]) -> RewardData:
        """Return the part of some products: all creatives keep their indices, those of others lose their labels."""
        mine = [product_id in product_ids for product_id in self.product_of]

        def known(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else np.where(mine, values, np.nan)

        return replace(
            self,
            pairs=[pair for pair in self.pairs if pair.product_id in product_ids],
            log_ctr=known(self.log_ctr),
            clicks=known(self.clicks),
            examinations=known(self.examinations),
            audiences=None
            if self.audiences is None
            else replace(
                self.audiences,
                clicks=np.where(np.array(mine)[:, None], self.audiences.clicks, 0),
                examinations=np.where(np.array(mine)[:, None], self.audiences.examinations, 0),
            ),
            slots=None
            if self.slots is None
            else [scene if is_known else None for scene, is_known in zip(self.slots, mine, strict=True)],
        )


@dataclass(frozen=True)
class JudgePartition:
    """The data by who may learn from it: the reward model, the judge, nobody. products: the reward model's."""

    learning: RewardData
    judging: RewardData
    testing: RewardData
    products: tuple[Product, ...]


def divide_for_judge(data: RewardData, *, held_out: frozenset[str], judge: frozenset[str]) -> JudgePartition:
    """Divide the data by groups of products: no group in two parts; the reward model gets what the others do not.

    held_out: groups to test on. judge: groups that only the judge learns from; ValueError where both name a group.
    """
    if both := held_out & judge:
        raise ValueError(f"groups {sorted(both)} are held out, so the judge cannot learn from them")
    learning, judging, testing = set[str](), set[str](), set[str]()
    for product_id in data.products:
        group = data.group(product_id)
        (testing if group in held_out else judging if group in judge else learning).add(product_id)
    return JudgePartition(
        learning=data.only(learning),
        judging=data.only(judging),
        testing=data.only(testing),
        products=tuple(product for product_id, product in data.products.items() if product_id in learning),
    )


def pair_weights(pairs: Sequence[CreativePair]) -> np.ndarray:
    """Return weights, (pair,): the pairs of one product share one unit, as dependent pairs are no new observations."""
    weights = np.array([pair.weight for pair in pairs], dtype=np.float64)
    product = np.unique([pair.product_id for pair in pairs], return_inverse=True)[1]
    return np.asarray(weights / np.bincount(product, weights)[product])


def regression_targets(data: RewardData) -> np.ndarray:
    """Return the targets of the regression branch, (creative,); NaN where there are none.

    Log CTR standardized within the product (mean 0, sd 1), because click rates of different products differ by far more
    than those of one product's creatives; a product with one creative, or without spread, has no target.
    """
    targets = np.full(len(data.creative_ids), np.nan)
    if data.log_ctr is None:
        return targets
    log_ctr = np.asarray(data.log_ctr, dtype=np.float64)
    rows: dict[str, list[int]] = {}
    for row, product_id in enumerate(data.product_of):
        if np.isfinite(log_ctr[row]):
            rows.setdefault(product_id, []).append(row)
    for product_rows in rows.values():
        values = log_ctr[product_rows]
        if len(product_rows) > 1 and values.std() > 1e-6:
            targets[product_rows] = (values - values.mean()) / values.std()
    return targets


def split(data: RewardData, *, share: float, rng: np.random.Generator) -> tuple[RewardData, RewardData | None]:
    """Return a training and a validation part, whole groups on one side each; no validation part of a single group."""
    groups = sorted({data.group(pair.product_id) for pair in data.informative})
    if len(groups) < 2:
        return data, None
    count = min(max(round(share * len(groups)), 1), len(groups) - 1)
    held = {groups[index] for index in rng.permutation(len(groups))[:count]}
    product_ids = {pair.product_id for pair in data.informative}
    validation = {product_id for product_id in product_ids if data.group(product_id) in held}
    return data.only(product_ids - validation), data.only(validation)
