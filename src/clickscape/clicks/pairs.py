"""From CTR estimates to the pairs of creatives that the reward model learns from. Ibis table → Ibis table."""

from __future__ import annotations

import ibis
import pyarrow as pa
from scipy.special import ndtr

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
    """Φ(z), for an engine without erf; NaN stays NaN, null stays null."""
    values = ndtr(z.to_numpy(zero_copy_only=False))  # type: ignore[attr-defined] # a pyarrow array in, one out
    return pa.array(values)


def pairs(estimates: ibis.Table, *, config: ClicksConfig) -> ibis.Table:
    """Every pair of creatives of one product that the clicks tell apart; columns PAIRS, `first` < `second` by id.

    labels="soft": preference = Φ(z) with z = (log_ctr_a − log_ctr_b) / √(se_a² + se_b²), that is P(CTR_a > CTR_b) when
    log-CTRs are independent and normal; gap = |log_ctr_a − log_ctr_b|; the pairs of a product depend on each other and
    share one unit of weight. labels="paper" (Chen et al. 2025): both creatives have more than `paper_min_impressions`
    impressions and the ratio of their observed CTRs (clicks / impressions) lies in [`paper_min_ratio`,
    `paper_max_ratio`]; preference is 0 or 1, gap the log of the ratio, weight 1. A tie makes no pair.
    """
    left = estimates.view()
    right = estimates.view()
    joined = left.join(
        right, [left.product_id == right.product_id, left.creative_id < right.creative_id], rname="{name}_second"
    )
    if config.labels == "paper":
        return _paper(joined, config=config)
    difference = joined.log_ctr - joined.log_ctr_second
    spread = (joined.log_ctr_se * joined.log_ctr_se + joined.log_ctr_se_second * joined.log_ctr_se_second).sqrt()
    labelled = joined.select(
        "product_id",
        first=joined.creative_id,
        second=joined.creative_id_second,
        preference=normal_cdf(difference / spread.nullif(0)),
        gap=difference.abs(),
    )
    told_apart = labelled.filter(
        labelled.preference.notnull() & ~labelled.preference.isnan() & (labelled.gap > 0) & (labelled.preference != 0.5)
    )
    share = 1.0 / told_apart.count().over(ibis.window(group_by="product_id"))
    return told_apart.mutate(weight=share.cast("float64"))


def to_pairs(table: ibis.Table | pa.Table) -> list[CreativePair]:
    """Rows of `pairs` as records, ordered by product and creatives."""
    rows = table if isinstance(table, pa.Table) else table.to_pyarrow()
    rows = rows.sort_by([(name, "ascending") for name in ("product_id", "first", "second")])
    return [CreativePair(**row) for row in rows.select(PAIRS.names).to_pylist()]


def _paper(joined: ibis.Table, *, config: ClicksConfig) -> ibis.Table:
    least = config.paper_min_impressions
    enough = joined.filter((joined.impressions > least) & (joined.impressions_second > least))
    # one division of whole numbers, so that a ratio of exactly 1.05 is 1.05
    one = enough.clicks.cast("float64") * enough.impressions_second
    other = enough.clicks_second.cast("float64") * enough.impressions
    ratio = ibis.greatest(one, other) / ibis.least(one, other).nullif(0)
    labelled = enough.mutate(ratio=ratio, preference=(one > other).cast("float64"))
    inside = labelled.ratio.between(config.paper_min_ratio, config.paper_max_ratio)
    told_apart = labelled.filter(labelled.ratio.notnull() & (labelled.ratio > 1) & inside)
    return told_apart.select(
        "product_id",
        "preference",
        first=told_apart.creative_id,
        second=told_apart.creative_id_second,
        gap=told_apart.ratio.ln(),
        weight=ibis.literal(1.0),
    )
