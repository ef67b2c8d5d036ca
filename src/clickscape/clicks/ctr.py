"""From counts to one CTR per creative: position bias taken out, noise kept as a posterior.

Model: clicks at position k are Poisson with mean impressions × CTR × examination(k), and examination(first) = 1 (the
position-based model; Richardson, Dominowska & Ragno, WWW 2007). With one free CTR per creative this is a Poisson
regression with two fixed effects, which is consistent however few impressions a single creative has (Hausman, Hall &
Griliches 1984). A CTR here is therefore the CTR at the first position.
"""

from __future__ import annotations

from dataclasses import dataclass

import ibis
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import betaincinv, digamma, polygamma

from clickscape.config import ClicksConfig

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ESTIMATES = pa.schema(
    {
        "creative_id": pa.string(),
        "product_id": pa.string(),
        "impressions": pa.int64(),
        "clicks": pa.int64(),
        "examinations": pa.float64(),
        "ctr": pa.float64(),
        "ctr_low": pa.float64(),
        "ctr_high": pa.float64(),
        "log_ctr": pa.float64(),
        "log_ctr_se": pa.float64(),
    }
)


@dataclass(frozen=True)
class Examination:
    """Probability that a position is looked at, relative to the first; `reason` says why nothing was corrected.

    `positions`, `probability`, `log_se` (standard error of the log): (position,).
    """

    positions: tuple[int, ...]
    probability: tuple[float, ...]
    log_se: tuple[float, ...]
    reason: str | None = None

    @property
    def corrected(self) -> bool:
        """Whether impressions are scaled at all."""
        return self.reason is None


def estimate(counts: ibis.Table, *, config: ClicksConfig) -> tuple[pa.Table, Examination]:
    """Counts (creative_id, product_id, position, impressions, clicks) → table ESTIMATES and the examinations used.

    Posterior of a CTR: Beta(s·m + clicks, s·(1 − m) + max(examinations − clicks, 0)), where s = `prior_impressions` and
    m is the product's own mean, itself drawn to the mean of the log with the same s (empirical Bayes). With (a, b) its
    parameters: ctr = a / (a + b); ctr_low, ctr_high = 2.5 % and 97.5 % points; log_ctr = ψ(a) − ψ(a + b);
    log_ctr_se = √(ψ′(a) − ψ′(a + b)), the exact mean and standard deviation of log CTR under the posterior.
    """
    rows = counts.order_by(["creative_id", "position"]).to_pyarrow()
    creatives, creative = np.unique(np.asarray(rows["creative_id"].to_pylist(), dtype=object), return_inverse=True)
    product_of = np.empty(len(creatives), dtype=object)
    product_of[creative] = rows["product_id"].to_pylist()
    impressions = rows["impressions"].to_numpy().astype(np.int64)
    clicks = rows["clicks"].to_numpy().astype(np.int64)
    if rows["position"].null_count:
        position = np.ones(len(rows), dtype=np.int64)
        examination = _uncorrected(position, reason="the log has no positions")
    else:
        position = rows["position"].to_numpy().astype(np.int64)
        examination = (
            examine(creative, position, impressions, clicks)
            if config.position_correction
            else _uncorrected(position, reason="position_correction is off")
        )
    probability = np.asarray(examination.probability)[np.searchsorted(examination.positions, position)]

    def per_creative(values: NDArray) -> Floats:
        return np.bincount(creative, weights=values, minlength=len(creatives)).astype(np.float64)

    total_clicks, examinations = per_creative(clicks), per_creative(impressions * probability)
    _, product = np.unique(product_of, return_inverse=True)
    a, b = _posterior(total_clicks, examinations, product, strength=config.prior_impressions)
    table = pa.Table.from_arrays(
        [
            pa.array(creatives, pa.string()),
            pa.array(product_of, pa.string()),
            pa.array(per_creative(impressions).astype(np.int64)),
            pa.array(total_clicks.astype(np.int64)),
            pa.array(examinations),
            pa.array(a / (a + b)),
            pa.array(betaincinv(a, b, 0.025)),
            pa.array(betaincinv(a, b, 0.975)),
            pa.array(digamma(a) - digamma(a + b)),
            pa.array(np.sqrt(polygamma(1, a) - polygamma(1, a + b))),
        ],
        schema=ESTIMATES,
    )
    return table, examination


def examine(creative: Integers, position: Integers, impressions: Integers, clicks: Integers) -> Examination:
    """Examination of every position by maximum likelihood; arrays: (row,), `creative` counts from 0.

    Given a creative's clicks, where they fell is a choice among positions with weights impressions × examination, so
    creatives must have moved: `reason` names the positions that nobody can compare with the first. A unique finite
    maximum needs more (Ford 1957: no group of positions beats all others without ever losing a click to them); with too
    few clicks for that an imaginary creative joins, shown equally and clicked half a time at every position.
    """
    positions, column = np.unique(position, return_inverse=True)
    count = int(creative.max()) + 1
    shown, clicked = (
        coo_array((values, (creative, column)), shape=(count, len(positions))).toarray().astype(np.float64)
        for values in (impressions, clicks)
    )
    informative = clicked.sum(axis=1) > 0
    shown, clicked = shown[informative], clicked[informative]
    together = (shown > 0).T.astype(np.float64) @ (shown > 0)
    unlinked = positions[_group(together, connection="weak") != 0]
    if unlinked.size:
        listed = ", ".join(str(number) for number in unlinked)
        return _uncorrected(
            position, reason=f"no creative with clicks was shown both at position {positions[0]} and at {listed}"
        )
    won = (clicked > 0).T.astype(np.float64) @ (shown > 0)
    if _group(won, connection="strong").any():
        shown = np.vstack([shown, np.ones(len(positions))])
        clicked = np.vstack([clicked, np.full(len(positions), 0.5)])
    probability, information = _likeliest(shown, clicked)
    log_se = np.sqrt(np.maximum(np.linalg.pinv(information).diagonal(), 0))
    return Examination(tuple(positions.tolist()), tuple(probability.tolist()), (0.0, *log_se.tolist()))


def _likeliest(shown: Floats, clicked: Floats) -> tuple[Floats, Floats]:
    """Examinations (position,) at the top of the likelihood, and the information about the logs of all but the first.

    Newton's method on a concave function, with halved steps where a whole one would not climb.
    """
    clicks_there, clicks_of = clicked.sum(axis=0), clicked.sum(axis=1)

    def height(log_examination: Floats) -> float:
        return float(clicks_there @ log_examination - clicks_of @ np.log(shown @ np.exp(log_examination)))

    log_examination = np.zeros(shown.shape[1])
    for _ in range(200):
        expected = shown * np.exp(log_examination)
        share = expected / expected.sum(axis=1, keepdims=True)  # (creative, position): where its clicks should fall
        information = (np.diag(clicks_of @ share) - (share * clicks_of[:, None]).T @ share)[1:, 1:]
        step = np.zeros_like(log_examination)
        step[1:] = np.clip(np.linalg.pinv(information) @ (clicks_there - clicks_of @ share)[1:], -2, 2)
        while np.abs(step).max() > 1e-10 and height(log_examination + step) < height(log_examination):
            step /= 2
        log_examination += step
        if np.abs(step).max() <= 1e-10:
            break
    return np.exp(log_examination), information


def _group(links: Floats, *, connection: str) -> Integers:
    """0 for positions in the first position's component of the graph `links` (position, position), else 1."""
    _, component = connected_components(links > 0, directed=True, connection=connection)
    return (component != component[0]).astype(np.int64)


def _uncorrected(position: Integers, *, reason: str) -> Examination:
    positions = tuple(np.unique(position).tolist())
    return Examination(positions, (1.0,) * len(positions), (0.0,) * len(positions), reason)


def _posterior(clicks: Floats, examinations: Floats, product: Integers, *, strength: float) -> tuple[Floats, Floats]:
    """Parameters a, b of every creative's Beta posterior; `product`: index of the creative's product, (creative,)."""
    overall = (clicks.sum() + 0.5) / (examinations.sum() + 1)
    product_clicks = np.bincount(product, weights=clicks)
    product_examinations = np.bincount(product, weights=examinations)
    mean = (product_clicks + strength * overall) / (product_examinations + strength)
    mean = np.clip(mean, 1e-12, 1 - 1e-9)[product]
    return strength * mean + clicks, strength * (1 - mean) + np.maximum(examinations - clicks, 0)
