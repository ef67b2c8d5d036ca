"""What audiences like otherwise than everybody: deviations of the effects by audience, pooled as far as clicks say.

Effects of everybody stay as they are. Given a product, an audience and how good a creative is to everybody, clicks are

    P(next click of audience a falls on i) ∝ examinations_ia · exp(pooled_i + x_i · (w_a − Σ_b share_b w_b) + u_ia)

by the likelihood of `effects`: how wide a block's deviations are is learned, so where tastes do not differ, a model
for an audience is the model for everybody (partial pooling). pooled_i holds what the picture itself gained with
all, so that one good picture seen by four audiences is not four good pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from clickscape.reward.data import AudienceCounts
from clickscape.reward.effects import ClickTable, Effects, Floats, Integers, fit_effects
from clickscape.stats.bootstrap import ClusterBootstrap, percentile_interval
from clickscape.types import Estimate

MOST_AUDIENCES = 16
"""Those that saw most; of others the model says what it says of everybody."""


@dataclass(frozen=True, eq=False)
class Tastes:
    """Deviations by audience. names: (audience,). shares: (audience,) of what was seen.

    deviations: effects of (audience · column), audience after audience, of the `place`d columns of the design.
    place: (column,).
    """

    names: tuple[str, ...]
    shares: Floats
    deviations: Effects
    place: Integers

    def effects_of(self, name: str, pooled: Effects) -> Effects:
        """Return the effects on an audience's log CTR, of all columns; those of everybody for an unknown name."""
        if name not in self.names:
            return pooled
        contrast = _contrasts(self.shares)[self.names.index(name)]

        def of_audience(values: Floats) -> Floats:
            return np.einsum(
                "a,ac...->c...", contrast, values.reshape(len(contrast), len(self.place), *values.shape[1:])
            )

        mode, prior = pooled.mode.copy(), pooled.prior.copy()
        mode[self.place] += of_audience(self.deviations.mode)
        squared = contrast**2 @ self.deviations.prior.reshape(len(contrast), len(self.place))
        prior[self.place] += squared
        factor = np.zeros((len(mode), self.deviations.factor.shape[1]))
        factor[self.place] = of_audience(self.deviations.factor)
        return Effects(mode, prior, np.concatenate([pooled.factor, factor], axis=1), pooled.image_sd)


def fit_tastes(
    columns: Floats, block: Integers, *, place: Integers, pooled: Effects, product: Integers, counts: AudienceCounts
) -> Tastes | None:
    """Fit the deviations of some columns by audience; None where fewer than two audiences clicked.

    columns: (creative, column), of the whole design; block, place: which of them may deviate, (column,), and the block
    of each. product: (creative,). counts: of the same creatives.
    """
    counts = counts.largest(MOST_AUDIENCES)
    if np.count_nonzero(counts.clicks.sum(0)) < 2:
        return None
    shares = counts.examinations.sum(0) / counts.examinations.sum()
    creative, audience = np.nonzero(counts.examinations > 0)
    order = np.lexsort((creative, audience, product[creative]))
    creative, audience = creative[order], audience[order]
    own, contrasts = columns[:, place], _contrasts(shares)
    level = _known(columns @ pooled.mode, product, counts, image_sd=pooled.image_sd)

    def design(rows: Integers) -> Floats:
        crossed = contrasts[audience[rows]][:, :, None] * own[creative[rows]][:, None, :]
        return crossed.reshape(len(rows), -1)

    table = ClickTable(
        design,
        product[creative] * len(shares) + audience,
        counts.clicks[creative, audience],
        counts.examinations[creative, audience] * np.exp(level[creative]),
    )
    found = fit_effects(table, np.tile(block, len(shares)))
    return Tastes(counts.names, shares, found, place)


def gain_per_click(
    blind: Floats, aware: Floats, counts: AudienceCounts, *, product: Integers, groups: Sequence[str],
    rng: np.random.Generator,
) -> Estimate | None:  # fmt: skip
    """Return how much likelier each audience's clicks are by scores that know the audience, nats per click.

    blind: (creative,), aware: (creative, audience) scores, log CTR; counts: of the same creatives. groups: name of what
    is resampled together, (creative,). None without a click.
    """
    clicks, likelier = counts.clicks, np.zeros(counts.clicks.shape)
    with np.errstate(divide="ignore"):
        seen = np.log(counts.examinations)
    for one in np.unique(product):
        rows = product == one
        for sign, scores in ((1.0, aware[rows]), (-1.0, blind[rows][:, None])):
            odds = seen[rows] + scores
            told = np.isfinite(odds) & (clicks[rows] > 0)
            likelier[rows] += sign * np.where(told, clicks[rows] * (odds - logsumexp(odds, axis=0)), 0.0)
    if not clicks.sum():
        return None
    draws = ClusterBootstrap.draw(groups, rng=rng)
    gains, counted = draws.sums(likelier.sum(1)), draws.sums(clicks.sum(1))
    resampled = np.where(counted > 0, gains / np.maximum(counted, 1), np.nan)
    return percentile_interval(float(likelier.sum() / clicks.sum()), resampled)


def _contrasts(shares: Floats) -> Floats:
    """What audiences' deviations are multiplied with in each, (audience, audience): over all they cancel out."""
    return np.eye(len(shares)) - shares


def _known(scores: Floats, product: Integers, counts: AudienceCounts, *, image_sd: float) -> Floats:
    """Log CTR of every creative to everybody, up to its product's level: its score and what its own clicks add."""
    number = np.unique(product, return_inverse=True)[1]
    clicks, seen = counts.clicks.sum(1), counts.examinations.sum(1)
    share = seen * np.exp(scores - scores.max(initial=0.0))
    total = np.bincount(number, share)
    expected = share * np.divide(np.bincount(number, clicks), total, out=np.zeros_like(total), where=total > 0)[number]
    prior = 1 / max(image_sd, 1e-3) ** 2  # a Gamma of mean 1 and this shape
    return np.asarray(scores + np.log((clicks + prior) / (expected + prior)))
