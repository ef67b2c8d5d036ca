"""From counts to a posterior of every creative's CTR, corrected for position and strata.

Model: clicks in a cell are Poisson with mean impressions × CTR × examination of the position × effects of the strata
(`exposure`), and CTRs come from a prior that is learned (`shrinkage`). Clicks stay counts; impressions become expected
examinations. A CTR here is therefore the CTR at the first position, on an average impression of the log otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
from scipy.special import betaincinv, digamma, gammaincinv, polygamma

from clickscape.clicks import cells as counted
from clickscape.clicks import exposure, shrinkage
from clickscape.clicks.cells import Cells, Floats, Integers
from clickscape.clicks.exposure import Stratum
from clickscape.clicks.position import Examination
from clickscape.clicks.shrinkage import Prior
from clickscape.config import ClicksConfig

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
        "shape": pa.float64(),
        "rate": pa.float64(),
        "shared": pa.list_(pa.float64()),
    }
)


@dataclass(frozen=True)
class ClickModel:
    """Estimates of the whole log: positions, strata and the prior of CTRs (None with a Beta prior)."""

    examination: Examination
    strata: tuple[Stratum, ...]
    prior: Prior | None


@dataclass(frozen=True, eq=False)
class _Posterior:
    """Columns of ESTIMATES from `ctr` on; each (creative,), `shared` (creative, error)."""

    ctr: Floats
    low: Floats
    high: Floats
    log_ctr: Floats
    log_ctr_se: Floats
    shape: Floats | None
    rate: Floats | None
    shared: Floats


def estimate_ctr(
    counts: ibis.Table,
    *,
    config: ClicksConfig,
    categories: Mapping[str, str] | None = None,
    held_out: Collection[str] = (),
) -> tuple[pa.Table, ClickModel]:
    """Estimate every creative's CTR from counts; return table ESTIMATES and the model of the log.

    `counts`: creative_id, product_id, position, impressions, clicks, any of STRATA. `held_out`: ids of products whose
    clicks tell their own CTRs alone; positions, strata and the prior are learned from the others.

    `categories`: product_id → a category whose products have a mean CTR of their own. Under "gamma_poisson", log CTR is
    the log of Gamma(`shape`, `rate` in examinations) + errors shared with other creatives, `shared` · N(0, 1); ctr and
    its interval are those of the Gamma whose log has the same mean and variance. Under "beta" it is Beta(s·m + clicks,
    s·(1 − m) + max(examinations − clicks, 0)), where s = `prior_impressions` and m is the product's own mean, drawn to
    the mean of the log with the same s; no shape and rate. Both: ctr = mean; ctr_low, ctr_high = 2.5 % and 97.5 %
    points; log_ctr, log_ctr_se = mean and standard deviation of log CTR.
    """
    cells = counted.read(counts)
    others = ~np.isin(np.array(cells.products.to_pylist()), list(held_out))[cells.product]
    fitted = exposure.fit_exposure(  # a creative without clicks tells nothing of positions and strata
        replace(cells, clicks=cells.clicks * others[cells.creative]),
        position_correction=config.position_correction,
        within_strata=config.within_strata,
    )
    examined = cells.impressions * fitted.multiplier
    clicks, examinations = cells.per_creative(cells.clicks), cells.per_creative(examined)
    prior = None
    if config.shrinkage == "beta":
        overall = ((clicks * others).sum() + 0.5) / ((examinations * others).sum() + 1)
        posterior = _beta(clicks, examinations, cells.product, overall=overall, strength=config.prior_impressions)
    else:
        category = _category(cells, categories)
        shrunk = shrinkage.shrink(clicks, examinations, cells.product, category=category, learned=others)
        prior = shrunk.prior
        posterior = _gamma(shrunk, fitted.shared_errors, examinations)
    count = len(cells.creatives)
    table = pa.Table.from_arrays(
        [
            cells.creatives,
            cells.products.take(pa.array(cells.product)),
            pa.array(cells.per_creative(cells.impressions).astype(np.int64)),
            pa.array(clicks.astype(np.int64)),
            pa.array(examinations),
            *(pa.array(column) for column in (posterior.ctr, posterior.low, posterior.high)),
            *(pa.array(column) for column in (posterior.log_ctr, posterior.log_ctr_se)),
            *(pa.nulls(count, pa.float64()) if c is None else pa.array(c) for c in (posterior.shape, posterior.rate)),
            _lists(posterior.shared),
        ],
        schema=ESTIMATES,
    )
    return table, ClickModel(fitted.examination, fitted.strata, prior)


def model_from(record: Mapping[str, Any]) -> ClickModel:
    """Return the model from the record that `dataclasses.asdict` and JSON made of it."""

    def tuples(part: Mapping[str, Any]) -> dict[str, Any]:
        return {name: tuple(value) if isinstance(value, list) else value for name, value in part.items()}

    return ClickModel(
        examination=Examination(**tuples(record["examination"])),
        strata=tuple(Stratum(**tuples(part)) for part in record["strata"]),
        prior=None if record["prior"] is None else Prior(**tuples(record["prior"])),
    )


def _category(cells: Cells, categories: Mapping[str, str] | None) -> np.ndarray | None:
    if categories is None:
        return None
    return np.array([categories.get(name, "") for name in cells.products.to_pylist()])


def _gamma(shrunk: shrinkage.Posterior, exposure_errors: Floats, examinations: Floats) -> _Posterior:
    """Posterior under the learned prior; errors of the exposure count as far as a creative's own clicks do."""
    evidence = np.divide(examinations, shrunk.rate, out=np.zeros_like(examinations), where=examinations > 0)
    shared = np.column_stack([shrunk.pull, -evidence[:, None] * exposure_errors])
    log_ctr = digamma(shrunk.shape) - np.log(shrunk.rate)
    variance = polygamma(1, shrunk.shape) + np.sum(shared**2, axis=1)
    shape = _shape_of(variance)
    rate = np.exp(digamma(shape) - log_ctr)
    low, high = (gammaincinv(shape, point) / rate for point in (0.025, 0.975))
    # a rate of clicks has no upper end, a CTR has
    ctr, low, high = (np.minimum(values, 1.0) for values in (shape / rate, low, high))
    return _Posterior(ctr, low, high, log_ctr, np.sqrt(variance), shrunk.shape, shrunk.rate, shared)


def _shape_of(variance: Floats) -> Floats:
    """Shape of the Gamma whose logarithm has this variance: ψ′(shape) = variance, by Newton's method."""
    shape = 0.5 + 1 / variance
    for _ in range(50):
        found = polygamma(1, shape)
        step = found * (1 - found / variance) / polygamma(2, shape)
        shape = shape + step
        if np.max(np.abs(step) / shape) < 1e-12:
            break
    return shape


def _beta(clicks: Floats, examinations: Floats, product: Integers, *, overall: float, strength: float) -> _Posterior:
    """Posterior under the Beta prior; `product`: number of the creative's product, (creative,); `overall`: CTR."""
    product_clicks = np.bincount(product, weights=clicks)
    product_examinations = np.bincount(product, weights=examinations)
    mean = (product_clicks + strength * overall) / (product_examinations + strength)
    mean = np.clip(mean, 1e-12, 1 - 1e-9)[product]
    a, b = strength * mean + clicks, strength * (1 - mean) + np.maximum(examinations - clicks, 0)
    return _Posterior(
        ctr=a / (a + b),
        low=betaincinv(a, b, 0.025),
        high=betaincinv(a, b, 0.975),
        log_ctr=digamma(a) - digamma(a + b),
        log_ctr_se=np.sqrt(polygamma(1, a) - polygamma(1, a + b)),
        shape=None,
        rate=None,
        shared=np.zeros((len(clicks), 0)),
    )


def _lists(rows: Floats) -> pa.ListArray:
    """One list per row of (row, number)."""
    ends = np.arange(len(rows) + 1, dtype=np.int32) * np.int32(rows.shape[1])
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(rows.ravel()))
