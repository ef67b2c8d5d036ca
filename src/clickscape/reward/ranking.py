"""Ranking metrics: NDCG within products, and the CTR lost by the first choice.

One number per product, so that a product with many creatives counts no more than one with few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Rows = Sequence[np.ndarray]
"""Indices of the creatives of every product that is ranked."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ranking metrics per product, (product,): `ndcg` (1 is the best order), regrets of the first and a random choice.

    regret: 1 − CTR of what the model puts first / CTR of the product's best.
    """

    ndcg: np.ndarray
    regret: np.ndarray
    random_regret: np.ndarray


def scores_of(log_odds: np.ndarray, places: np.ndarray, count: int) -> np.ndarray:
    """Mean log-odds of every creative over the pairs (pair, 2) that it is in, (count,); NaN where it is in none."""
    sums = np.bincount(places[:, 0], weights=log_odds, minlength=count)
    sums -= np.bincount(places[:, 1], weights=log_odds, minlength=count)
    seen = np.bincount(places.ravel(), minlength=count)
    return np.asarray(np.where(seen > 0, sums / np.maximum(seen, 1), np.nan))


def rows_of(products: Sequence[str], usable: np.ndarray) -> dict[str, np.ndarray]:
    """Return product → indices of its usable creatives, where there are at least two."""
    found: dict[str, list[int]] = {}
    for place in np.flatnonzero(usable).tolist():
        found.setdefault(products[place], []).append(place)
    return {product: np.array(rows) for product, rows in found.items() if len(rows) > 1}


def ranking(scores: np.ndarray, log_ctr: np.ndarray, rows: Rows) -> Ranking:
    """Return ranking metrics of scores (creative,) by CTRs (creative,) within every product.

    NDCG with linear gains: a creative's gain is its CTR between the product's worst (0) and best (1), discounted by
    1 / log2(rank + 1) (Järvelin and Kekäläinen 2002). Equal scores share their ranks.
    """
    ndcg, regret, chance = (np.zeros(len(rows)) for _ in range(3))
    for number, chosen in enumerate(rows):
        ctr = np.exp(log_ctr[chosen])
        gain = (ctr - ctr.min()) / max(float(np.ptp(ctr)), 1e-12)
        discount = 1 / np.log2(np.arange(len(chosen)) + 2)
        ndcg[number] = _shared(scores[chosen], discount) @ gain / max(float(np.sort(gain)[::-1] @ discount), 1e-12)
        first = scores[chosen] >= scores[chosen].max() - 1e-9
        regret[number] = 1 - ctr[first].mean() / ctr.max()
        chance[number] = 1 - ctr.mean() / ctr.max()
    return Ranking(ndcg, regret, chance)


def _shared(scores: np.ndarray, discount: np.ndarray) -> np.ndarray:
    """Discount of every creative by its rank; creatives of equal score get the mean of theirs."""
    order = np.argsort(-scores, kind="stable")
    given = np.empty(len(scores))
    given[order] = discount
    _, group = np.unique(scores, return_inverse=True)
    return np.asarray((np.bincount(group, weights=given) / np.bincount(group))[group])
