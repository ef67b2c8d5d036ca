"""The reward model: which of two advertising images of one product gets clicked more.

Two forms behind one class. `single` looks at one picture at a time and gives it a score, so N pictures cost N passes;
`pair` is the paper's (Chen et al. 2025, section 3.2): two pictures side by side, two logits, always asked in both
orders. See `checkpoint` for the folder that it is saved in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from scipy.special import stdtrit

from clickscape.errors import ModelError
from clickscape.reward import checkpoint
from clickscape.reward.encoders import Backbone, VisionEncoder
from clickscape.reward.features import (
    Pictures,
    Scenes,
    Slots,
    department_numbers,
    extract,
    price_features,
    text_features,
    widths,
)
from clickscape.reward.heads import Features, FusionHeads, HeadShape
from clickscape.reward.prices import Prices, measure
from clickscape.stats.bootstrap import LEVEL
from clickscape.types import Estimate, Product, Ranked
from clickscape.vlm.slots import NamedSlots

Form = Literal["single", "pair"]

MAX_DEPARTMENTS = 32
MAX_COMPARED = 64
"""Pictures that the pair form ranks at once; it looks at all pairs in both orders."""


class RewardModel:
    """A backbone and the heads on it; see the module for the two forms. `prices`: the scales that prices are read on.

    `scenes` in all methods: those that the images were drawn from, None where unknown. Only a model that learned with
    given scenes (`RewardConfig.scene`), or is asked to (`with_given_scenes`), reads them; others predict their slots.
    """

    def __init__(self, backbone: Backbone, heads: FusionHeads, *, prices: Prices | None = None) -> None:
        self.backbone = backbone
        self.heads = heads
        self.prices = Prices() if prices is None else prices

    @property
    def form(self) -> Form:
        """`single` (one picture → scalar) or `pair` (two side by side → two logits)."""
        return "single" if self.heads.shape.sides == 1 else "pair"

    @property
    def device(self) -> torch.device:
        """Where backbone and heads are."""
        return self.backbone.device

    @property
    def slots(self) -> Mapping[str, tuple[str, ...]]:
        """The scene's slots that the heads name; empty for latent factors."""
        return self.heads.shape.slots

    def with_given_scenes(self) -> RewardModel:
        """Return the same model with given scenes in place of predicted ones; itself where its heads name no slots."""
        if not self.slots or self.heads.shape.given_scenes:
            return self
        heads = copy(self.heads)  # the same parameters under another reading
        heads.shape = replace(heads.shape, given_scenes=True)
        return RewardModel(self.backbone, heads, prices=self.prices)

    def score(
        self, products: Sequence[Product], images: Sequence[np.ndarray], scenes: Sequence[Slots | None] | None = None
    ) -> np.ndarray:
        """Return one number per image, in logits; only differences within one product mean something. (image,) float64.

        In the pair form: mean log-odds against the other images of the same product in this call (0 if there are none).
        """
        _check_lengths(products, images, scenes)
        if self.form == "single":
            return self._single(products, images, scenes).mean(0)
        scores = np.zeros(len(images))
        rows: dict[str, list[int]] = {}
        for row, product in enumerate(products):
            rows.setdefault(product.product_id, []).append(row)
        for product_rows in rows.values():
            given = None if scenes is None else [scenes[row] for row in product_rows]
            odds = self._all_odds(products[product_rows[0]], [images[row] for row in product_rows], given)
            scores[product_rows] = _against_others(odds).mean(0)
        return scores

    def compare(self, product: Product, first: np.ndarray, second: np.ndarray) -> float:
        """Return P(the first image gets clicked more); compare(p, a, b) = 1 − compare(p, b, a)."""
        return float(self.compare_many([product], [first], [second])[0])

    def compare_many(
        self, products: Sequence[Product], firsts: Sequence[np.ndarray], seconds: Sequence[np.ndarray]
    ) -> np.ndarray:
        """Return P(first beats second) for many pairs, (pair,) float64."""
        odds = self.log_odds(products, firsts, seconds).mean(0)
        return np.asarray(0.5 + 0.5 * np.tanh(odds / 2))

    def log_odds(
        self,
        products: Sequence[Product],
        firsts: Sequence[np.ndarray],
        seconds: Sequence[np.ndarray],
        scenes: Sequence[Scenes] | None = None,
    ) -> np.ndarray:
        """Log-odds that first beats second, one row per head of the ensemble: (head, pair), antisymmetric.

        scenes: of both, (first, second) for each pair.
        """
        _check_lengths(products, firsts, scenes)
        _check_lengths(products, seconds)
        if self.form == "single":
            given = None if scenes is None else [pair[side] for side in (0, 1) for pair in scenes]
            scores = self._single([*products, *products], [*firsts, *seconds], given)
            return np.asarray(scores[:, : len(products)] - scores[:, len(products) :])
        turned = None if scenes is None else [(second, first) for first, second in scenes]
        forward = self.left_minus_right_logits(products, list(zip(firsts, seconds, strict=True)), scenes)
        backward = self.left_minus_right_logits(products, list(zip(seconds, firsts, strict=True)), turned)
        return (forward - backward) / 2

    def left_minus_right_logits(
        self, products: Sequence[Product], pictures: Sequence[Pictures], scenes: Sequence[Scenes] | None = None
    ) -> np.ndarray:
        """Pair form only: left logit − right logit as shown, both branches' bias for a side included. (head, pair)."""
        logits = self._logits(products, pictures, scenes)
        return np.asarray(logits[:, :, 0] - logits[:, :, 1])

    def rank(
        self, product: Product, images: Sequence[np.ndarray], scenes: Sequence[Slots | None] | None = None
    ) -> list[Ranked]:
        """The images, best first; scores are mean log-odds against the others, intervals the spread of the heads."""
        if not images:
            return []
        if self.form == "single":
            scores = self._single([product] * len(images), images, scenes)
            odds = scores[:, :, None] - scores[:, None, :]
        else:
            odds = self._all_odds(product, images, scenes)
        against = _against_others(odds)
        heads = len(against)
        means, away = against.mean(0), interval_half_width(against)
        order = sorted(range(len(images)), key=lambda index: (-means[index], index))
        nearest = odds[:, order[:-1], order[1:]]
        ahead = (nearest.mean(0) > interval_half_width(nearest)).tolist() if heads > 1 else [None] * (len(order) - 1)
        return [
            Ranked(index, _estimate(float(means[index]), float(away[index]), known=heads > 1), clear)
            for index, clear in zip(order, [*ahead, None], strict=True)
        ]

    def save(self, folder: Path) -> None:
        """Write backbone, settings and heads; the folder appears whole or not at all, an older one is replaced."""
        checkpoint.save(self.backbone, self.heads, self.prices, Path(folder))

    @torch.inference_mode()
    def features(
        self, products: Sequence[Product], pictures: Sequence[Pictures], scenes: Sequence[Scenes] | None = None
    ) -> Features:
        """Return the features of the pictures; for callers who ask about the same pictures more than once."""
        for views in pictures:
            if len(views) != self.heads.shape.sides:
                raise ModelError(
                    f"the {self.form} form looks at {self.heads.shape.sides} picture(s) at once, got {len(views)}. "
                    f"Load or train a reward model of the other form."
                )
        self.backbone.model.eval()
        last_token = self.heads.shape.hidden_width > 0
        return extract(
            self.backbone, products, pictures,
            prices=self.prices, departments=self.heads.shape.departments, slots=self.slots, last_token=last_token,
            scenes=scenes,
        )  # fmt: skip

    @torch.inference_mode()
    def replace_product_features(self, features: Features, products: Sequence[Product]) -> Features:
        """Return the features with other products; ModelError for heads that read the last token."""
        if self.heads.shape.hidden_width:
            raise ModelError("these heads look at text and pictures together. Ask for the features again.")
        prices = price_features(products, prices=self.prices).to(features.price_features.device)
        department = department_numbers(products, departments=self.heads.shape.departments)
        return replace(
            features,
            text=text_features(self.backbone, products),
            price_features=prices,
            department=department.to(features.department.device),
        )

    @torch.inference_mode()
    def logits(self, features: Features) -> np.ndarray:
        """Return the heads' logits, (head, sample, side) float64; ModelError where one is not a finite number."""
        self.heads.eval()
        found = np.asarray(self.heads(features).logits.double().cpu().numpy())
        if not np.isfinite(found).all():
            raise ModelError(
                "the reward model's scores are not numbers: its weights are too large, or damaged. Train it again."
            )
        return found

    def _single(
        self, products: Sequence[Product], images: Sequence[np.ndarray], scenes: Sequence[Slots | None] | None = None
    ) -> np.ndarray:
        """Scores of the single form, (head, image)."""
        given = None if scenes is None else [(scene,) for scene in scenes]
        return self._logits(products, [(image,) for image in images], given)[:, :, 0]

    def _logits(
        self, products: Sequence[Product], pictures: Sequence[Pictures], scenes: Sequence[Scenes] | None
    ) -> np.ndarray:
        """(head, sample, side) float64."""
        if not products:
            return np.zeros((self.heads.shape.ensemble, 0, self.heads.shape.sides))
        return self.logits(self.features(products, pictures, scenes))

    def _all_odds(
        self, product: Product, images: Sequence[np.ndarray], scenes: Sequence[Slots | None] | None = None
    ) -> np.ndarray:
        """Pair form: log-odds of every image against every other, (head, image, image), antisymmetric."""
        if len(images) > MAX_COMPARED:
            raise ModelError(
                f"the pair form compares all pairs: {len(images)} images of {product.product_id!r} are too many "
                f"(at most {MAX_COMPARED}). Use the single form, or ask for fewer at a time."
            )
        odds = np.zeros((self.heads.shape.ensemble, len(images), len(images)))
        pairs = list(combinations(range(len(images)), 2))
        if pairs:
            left, right = (list(side) for side in zip(*pairs, strict=True))
            values = self.log_odds(
                [product] * len(pairs),
                [images[i] for i in left],
                [images[j] for j in right],
                None if scenes is None else [(scenes[i], scenes[j]) for i, j in pairs],
            )
            odds[:, left, right], odds[:, right, left] = values, -values
        return odds


def build(
    backbone: Backbone,
    *,
    form: Form = "single",
    slots: Mapping[str, tuple[str, ...]] | None = None,
    departments: Iterable[str] = (),
    products: Iterable[Product] = (),
    last_token: bool | None = None,
    named: NamedSlots | None = None,
    given_scenes: bool = False,
    ensemble: int = 6,
    seed: int = 0,
) -> RewardModel:
    """Build a reward model with untrained heads.

    ``slots`` are the scene's, ``departments`` the products' coarsest categories: the auxiliary losses name both. The
    commonest MAX_DEPARTMENTS are kept (repetitions count). Without them the heads find factors of their own.
    ``products``: the training's; the scales that prices are read on, by currency and department, are theirs.
    ``named``: what predicts slots from this backbone's image tokens already. ``given_scenes``: before predicted ones.
    ``last_token``: look at the last hidden state of the language model, too; None means in the pair form only.
    ModelError for the pair form of a vision encoder.
    """
    if form == "pair" and isinstance(backbone, VisionEncoder):
        raise ModelError(f"{backbone.model_id}: an encoder sees one picture at a time, so it cannot hold two against "
                         f"each other. Use the single form, or a vision-language model.")  # fmt: skip
    reads_last_token = form == "pair" if last_token is None else last_token
    shape = HeadShape(
        sides=2 if form == "pair" else 1,
        **widths(backbone, last_token=reads_last_token),
        slots={slot: tuple(values) for slot, values in (slots or {}).items()},
        departments=tuple(sorted(name for name, _ in Counter(departments).most_common(MAX_DEPARTMENTS) if name)),
        ensemble=ensemble,
        given_scenes=given_scenes,
    )
    heads = FusionHeads(shape, seed=seed)
    if named is not None:
        heads.use_named_slots(named)
    heads = heads.to(backbone.device)
    return RewardModel(backbone, heads, prices=measure(products))


def load(folder: str | Path, *, device: str = "cpu") -> RewardModel:
    """Open what `RewardModel.save` wrote. ModelError for anything missing, damaged or of another kind."""
    backbone, heads, prices = checkpoint.load(Path(folder), device=device)
    return RewardModel(backbone, heads, prices=prices)


def interval_half_width(heads: np.ndarray) -> np.ndarray:
    """How far the interval of the heads' mean reaches to either side: (head, …) → (…).

    Each head is one reading of the clicks, a draw from the posterior or learned from its own weighting of the products:
    one more reading would land this far away.
    """
    count = len(heads)
    spread = heads.std(0, ddof=1) if count > 1 else np.full(heads.shape[1:], np.nan)
    return np.asarray(spread * stdtrit(max(count - 1, 1), 0.5 + LEVEL / 2))


def _against_others(odds: np.ndarray) -> np.ndarray:
    """Mean log-odds against the other images: (head, image, image) → (head, image); 0 for an only image."""
    return np.asarray(odds.sum(2) / max(odds.shape[2] - 1, 1))


def _estimate(mean: float, half_width: float, *, known: bool) -> Estimate:
    """One head has no spread: its interval is everything."""
    if not known:
        return Estimate(mean, -np.inf, np.inf, LEVEL)
    return Estimate(mean, mean - half_width, mean + half_width, LEVEL)


def _check_lengths(
    products: Sequence[Product], images: Sequence[np.ndarray], scenes: Sequence[object] | None = None
) -> None:
    if len(products) != len(images):
        raise ValueError(f"one product per image is needed, got {len(products)} products and {len(images)} images")
    if scenes is not None and len(scenes) != len(images):
        raise ValueError(f"one scene per image is needed, or None, got {len(scenes)} scenes and {len(images)} images")
