"""From CTR estimates to the pairs of creatives that the reward model learns from. Ibis table → Ibis table."""

from __future__ import annotations

import ibis
import ibis.expr.datatypes as dt
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import betainc, digamma, ndtr, ndtri, polygamma

from clickscape.clicks.cells import Floats
from clickscape.config import ClicksConfig
from clickscape.types import CreativePair

PAIRS = pa.schema(
    {
        "product_id": pa.string(),
        "first": pa.string(),
        "second": pa.string(),
        "preference": pa.float64(),
        "gap": pa.float64(),
        "weight": pa.float64(),
    }
)


@ibis.udf.scalar.pyarrow  # type: ignore[untyped-decorator]
def normal_cdf(z: float) -> float:
    """Return Φ(z), for an engine without erf; NaN stays NaN, null stays null."""
    values = ndtr(z.to_numpy(zero_copy_only=False))  # type: ignore[attr-defined] # a pyarrow array in, one out
    return pa.array(values)


@ibis.udf.scalar.pyarrow(signature=((dt.float64, dt.float64, dt.float64, dt.float64, dt.float64), dt.float64))
def gamma_probability_above(shape, rate, shape_second, rate_second, shared):  # type: ignore[no-untyped-def]
    """Return `probability_above` of pyarrow arrays."""
    columns = (shape, rate, shape_second, rate_second, shared)
    return pa.array(probability_above(*(column.to_numpy(zero_copy_only=False) for column in columns)))


def probability_above(
    shape: NDArray, rate: NDArray, shape_second: NDArray, rate_second: NDArray, shared: NDArray
) -> Floats:
    """Return P(CTR of the first > CTR of the second) for Gamma(shape, rate) each, times errors that both share.

    shared: variance of the difference of those errors' logs; all (pair,). Exact without
    shared errors: with X and Y the two Gammas times their rates, Y / (X + Y) is Beta distributed. Shared errors widen
    the gap's standard deviation, and the probability moves as on the normal scale.
    """
    part = rate_second / (rate + rate_second)
    above, below = betainc(shape_second, shape, part), betainc(shape, shape_second, 1 - part)
    variance = polygamma(1, shape) + polygamma(1, shape_second)
    # from the smaller of the two tails, which keeps its digits; where even that is 0, the gap in standard deviations
    plain = (digamma(shape) - np.log(rate) - digamma(shape_second) + np.log(rate_second)) / np.sqrt(variance)
    smaller = np.minimum(above, below)
    z = np.where(smaller > 0, np.where(above < below, 1, -1) * ndtri(np.maximum(smaller, 1e-300)), plain)
    return np.where(shared > 0, ndtr(z * np.sqrt(variance / (variance + shared))), above)


def kept_pairs(estimates: ibis.Table, *, config: ClicksConfig) -> ibis.Table:
    """Return the pairs of creatives of one product to learn from; columns PAIRS, `first` < `second` by id.

    labels="soft": preference = P(CTR_a > CTR_b) under the two posteriors, exactly for Gammas and as Φ(z) for others,
    z = (log_ctr_a − log_ctr_b) / √(se_a² + se_b²); gap = |log_ctr_a − log_ctr_b|, the expected one; the pairs of a
    product depend on each other and share one unit of weight. labels="paper" (Chen et al. 2025): both creatives have
    more than `paper_min_impressions` impressions and the ratio of their observed CTRs (clicks / impressions) lies in
    [`paper_min_ratio`, `paper_max_ratio`]; preference is 0 or 1, gap the log of the ratio, weight 1. A tie makes no
    pair.
    """
    labeled = label_pairs(estimates, config=config)
    return labeled.filter(labeled.reason.isnull()).select(*PAIRS.names)


def label_pairs(estimates: ibis.Table, *, config: ClicksConfig) -> ibis.Table:
    """Label every pair of creatives of one product: columns PAIRS and `reason`, which is null for a kept pair."""
    left, right = estimates.view(), estimates.view()
    joined = left.join(
        right, [left.product_id == right.product_id, left.creative_id < right.creative_id], rname="{name}_second"
    )
    labeled = _paper(joined, config=config) if config.labels == "paper" else _soft(joined)
    kept = labeled.reason.isnull()
    if config.labels == "paper":
        weight = ibis.literal(1.0)
    else:
        weight = 1.0 / kept.cast("int64").sum().over(ibis.window(group_by="product_id")).nullif(0)
    return labeled.select(
        *("product_id", "first", "second", "preference", "gap"),
        weight=ibis.ifelse(kept, weight.cast("float64"), 0.0),
        reason=labeled.reason,
    )


def to_pairs(table: ibis.Table | pa.Table) -> list[CreativePair]:
    """Return rows of `kept_pairs` as records, ordered by product and creatives."""
    rows = table if isinstance(table, pa.Table) else table.to_pyarrow()
    rows = rows.sort_by([(name, "ascending") for name in ("product_id", "first", "second")])
    return [CreativePair(**row) for row in rows.select(PAIRS.names).to_pylist()]


def _soft(joined: ibis.Table) -> ibis.Table:
    difference = joined.log_ctr - joined.log_ctr_second
    spread = (joined.log_ctr_se * joined.log_ctr_se + joined.log_ctr_se_second * joined.log_ctr_se_second).sqrt()
    shared = joined.shared.zip(joined.shared_second).map(lambda two: (two.f1 - two.f2) * (two.f1 - two.f2)).sums()
    exact = gamma_probability_above(
        joined.shape, joined.rate, joined.shape_second, joined.rate_second, shared.fill_null(0.0)
    )
    preference = ibis.coalesce(exact, normal_cdf(difference / spread.nullif(0)))
    known = preference.notnull() & ~preference.isnan() & ~difference.isnan()
    apart = known & (difference.abs() > 0) & (preference != 0.5)
    return _labeled(
        joined,
        preference=preference,
        gap=difference.abs(),
        reason=ibis.cases((apart, ibis.null("string")), else_=ibis.literal("a tie, or unknown")),
    )


def _paper(joined: ibis.Table, *, config: ClicksConfig) -> ibis.Table:
    least = config.paper_min_impressions
    enough = (joined.impressions > least) & (joined.impressions_second > least)
    # one division of whole numbers, so that a ratio of exactly 1.05 is 1.05
    one = joined.clicks.cast("float64") * joined.impressions_second
    other = joined.clicks_second.cast("float64") * joined.impressions
    ratio = ibis.greatest(one, other) / ibis.least(one, other).nullif(0)
    inside = ratio.between(config.paper_min_ratio, config.paper_max_ratio)
    bounds = f"{config.paper_min_ratio:.2f} to {config.paper_max_ratio:.2f}"
    reason = ibis.cases(
        (~enough, f"one has {least:,} impressions or fewer"),
        (ratio.isnull() | (ratio == 1), "a tie, or unknown"),
        (~inside, f"CTR ratio outside {bounds}"),
        else_=ibis.null("string"),
    )
    return _labeled(joined, preference=(one > other).cast("float64"), gap=ratio.ln(), reason=reason)


def _labeled(joined: ibis.Table, **columns: ibis.Value) -> ibis.Table:
    return joined.select(
        "product_id",
        first=joined.creative_id,
        second=joined.creative_id_second,
        **columns,
    )
