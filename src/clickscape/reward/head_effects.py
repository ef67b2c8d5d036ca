"""Fit the heads of the single form to counts of clicks: their scores are effects of scene elements times a design.

What the heads see (slots, departments, prices, image statistics) gives the design; `effects.fit_effects` gives the mode
and covariance; the heads are draws from that posterior, so they differ where the clicks leave room.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from clickscape.reward.effects import ClickTable, EffectPrior, Floats, Integers, fit_effects
from clickscape.reward.features import concatenate
from clickscape.reward.heads import CLASSIFICATION, Features, FusionHeads, HeadShape, SlotPrediction

PRICE_SCALE = 0.2
"""What one standard deviation of a price changes about an effect begins so much smaller than the effect."""


@dataclass(frozen=True)
class FeatureCounts:
    """Rows of features with their clicks; product: (row,) number of each, rows of one product together.

    A row without a finite count of clicks and positive examinations says nothing.
    """

    features: Features
    product: Integers
    clicks: Floats
    examinations: Floats

    def with_more(self, others: FeatureCounts) -> FeatureCounts:
        """Return these and the rows of other products, whose numbers go on after these."""
        return FeatureCounts(
            concatenate([self.features, others.features]),
            np.concatenate([self.product, others.product + self.product.max(initial=-1) + 1]),
            np.concatenate([self.clicks, others.clicks]),
            np.concatenate([self.examinations, others.examinations]),
        )


def has_linear_effects(heads: FusionHeads) -> bool:
    """Return whether scores are linear in effects of named elements: the single form, with slots, no last token."""
    return heads.shape.sides == 1 and bool(heads.shape.slots) and not heads.shape.hidden_width


@torch.no_grad()
def fit_heads(heads: FusionHeads, counts: FeatureCounts, *, rng: np.random.Generator) -> None:
    """Replace the effects of every head, in place, by draws from their posterior; scores are log CTRs afterwards.

    The heads' mean is the posterior's mode. What the heads see stays as it is, and the temperature is set to 1.
    """
    usable = torch.from_numpy(np.flatnonzero(np.isfinite(counts.clicks) & (counts.examinations > 0)))
    rows = usable.numpy()
    predicted = heads.predict_slots(counts.features.take(usable))

    def design(some: NDArray[np.int64]) -> Floats:
        return np.asarray(effect_design(predicted.take(torch.from_numpy(some))).double().cpu().numpy())

    table = ClickTable(design, counts.product[rows], counts.clicks[rows], counts.examinations[rows])
    effects = fit_effects(table, head_prior(heads.shape))
    heads.temperature.fill_(1.0)
    _write(heads, torch.from_numpy(effects.draw(heads.shape.ensemble, rng=rng)).float().to(heads.value.device))


def effect_design(predicted: SlotPrediction) -> Float[torch.Tensor, "row column"]:
    """Return what effects are multiplied with: elements, × topics, × prices, and image statistics."""
    scene, statistics = predicted.scene[:, 0], predicted.image_statistics[:, 0]
    crossed = [
        (scene[:, :, None] * other[:, None, :]).flatten(1)
        for other in (predicted.topic_weights, predicted.price_features)
    ]
    return torch.cat([scene, *crossed, statistics], dim=1)


def head_prior(shape: HeadShape) -> EffectPrior:
    """Blocks: elements everywhere, those of each slot in one department, all at a price, and image statistics."""
    slots, prices = np.repeat(np.arange(1, 1 + len(shape.groups)), shape.groups), 1 + len(shape.groups)
    block = np.concatenate(
        [
            np.zeros(shape.factors, np.int64), np.repeat(slots, shape.topics),
            np.full(shape.factors * shape.fact_width, prices), np.full(shape.statistic_width, prices + 1),
        ]
    )  # fmt: skip
    return EffectPrior.of(block, scale=np.where(np.arange(prices + 2) == prices, PRICE_SCALE, 1.0))


def _write(heads: FusionHeads, effects: torch.Tensor) -> None:
    """Effects (head, column), columns as of `effect_design`, into the classification channel."""
    parts = [heads.value, heads.interaction, heads.fact_interaction, heads.statistic]
    widths = [part[0, CLASSIFICATION].numel() for part in parts]
    for part, effect in zip(parts, effects.split(widths, dim=1), strict=True):
        part[:, CLASSIFICATION] = effect.reshape(len(effect), *part.shape[2:])
