"""Counts of a log → a CTR estimate of every creative and labeled pairs of creatives: the room's main function."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

import ibis
import pyarrow as pa

from clickscape.clicks import audiences, ctr, logs
from clickscape.clicks import pairs as pairing
from clickscape.clicks.cells import POSITIONED
from clickscape.clicks.ctr import ClickModel
from clickscape.clicks.position import Examination
from clickscape.config import ClicksConfig
from clickscape.types import ClickCounts, CreativePair


@dataclass(frozen=True)
class ClickEstimates:
    """Tables `ctr.ESTIMATES`, `pairs.PAIRS` and `audiences.AUDIENCES`, and the model of the log that made them."""

    estimates: pa.Table
    pair_table: pa.Table
    audiences: pa.Table
    model: ClickModel

    @property
    def examination(self) -> Examination:
        """Return how positions were corrected."""
        return self.model.examination

    @property
    def total(self) -> ClickCounts:
        """Return impressions and clicks of the whole log."""
        return ClickCounts(sum(self.estimates["impressions"].to_pylist()), sum(self.estimates["clicks"].to_pylist()))

    @property
    def pairs(self) -> list[CreativePair]:
        """Return the pairs as records."""
        return pairing.to_pairs(self.pair_table)

    def figures(self) -> dict[str, object]:
        """Return what the log holds and what was made of it, as JSON can say it."""
        sizes = Counter(self.estimates["product_id"].to_pylist())
        return {
            "impressions": self.total.impressions,
            "clicks": self.total.clicks,
            "creatives": self.estimates.num_rows,
            "products": len(sizes),
            "median_impressions": statistics.median(self.estimates["impressions"].to_pylist()),
            "pairs_possible": sum(size * (size - 1) // 2 for size in sizes.values()),
            "pairs_kept": self.pair_table.num_rows,
            "positions": list(self.examination.positions),
            "examination": list(self.examination.probability),
            "examination_log_se": list(self.examination.log_se),
            "uncorrected_because": self.examination.reason,
            "model": asdict(self.model),
        }

    def lines(self) -> list[str]:
        """Return the report in lines for people: counts, positions, strata and the prior."""
        known, examination = self.figures(), self.examination
        counted = f"{known['impressions']:,} impressions, {known['clicks']:,} clicks, {known['creatives']:,} creatives"
        pairs = f"{known['pairs_kept']:,} of {known['pairs_possible']:,} pairs kept"
        lines = [f"{counted} of {known['products']:,} products; {pairs}"]
        if examination.reason:
            lines.append(f"positions not corrected: {examination.reason}")
        else:
            rows = zip(examination.positions, examination.probability, examination.log_se, strict=True)
            shown = (f"{position}: {value:.2f} ± {1.96 * error * value:.2f}" for position, value, error in rows)
            lines.append(f"examination by position: {', '.join(shown)}")
        lines += [
            f"impressions without a position: {stratum.effect[0]:.2f} ± "
            f"{1.96 * stratum.log_se[0] * stratum.effect[0]:.2f} times the CTR at the first position"
            for stratum in self.model.strata
            if stratum.name == POSITIONED
        ]
        lines += [
            f"{stratum.name}: from {min(stratum.effect):.2f} to {max(stratum.effect):.2f} times the average CTR"
            for stratum in self.model.strata
            if stratum.reason is None and stratum.name != POSITIONED
        ]
        if prior := self.model.prior:
            lines.append(
                f"the sd of log CTR is {prior.creative_sd:.2f} between creatives of a product, "
                f"{prior.product_sd:.2f} between products"
            )
        return lines


def estimate(
    counts: ibis.Table,
    *,
    config: ClicksConfig | None = None,
    categories: Mapping[str, str] | None = None,
    held_out: Collection[str] = (),
) -> ClickEstimates:
    """Estimate every creative's CTR and label the pairs; `counts`: as `logs.read` returns them.

    `categories`: product_id → department, whose products share a mean CTR. `held_out`: as of `ctr.estimate_ctr`.
    """
    config = config or ClicksConfig()
    estimates, model = ctr.estimate_ctr(counts, config=config, categories=categories, held_out=held_out)
    rows = pairing.kept_pairs(logs.connect().create_table("estimates", estimates), config=config).to_pyarrow()
    table = rows.select(pairing.PAIRS.names).cast(pairing.PAIRS)
    table = table.sort_by([(name, "ascending") for name in ("product_id", "first", "second")])
    return ClickEstimates(estimates, table, audiences.count_by_audience(counts, model), model)
