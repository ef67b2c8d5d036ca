"""The room's main function: counts → a CTR estimate of every creative and labeled pairs of creatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import ibis
import pyarrow as pa

from clickscape.clicks import ctr, logs
from clickscape.clicks import pairs as pairing
from clickscape.clicks.ctr import ClickModel
from clickscape.clicks.position import Examination
from clickscape.config import ClicksConfig
from clickscape.types import ClickCounts, CreativePair


@dataclass(frozen=True)
class ClickReport:
    """Tables `ctr.ESTIMATES` and `pairs.PAIRS`, and the model of the whole log that they were estimated with."""

    estimates: pa.Table
    pair_table: pa.Table
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


def estimate(
    counts: ibis.Table, *, config: ClicksConfig | None = None, categories: Mapping[str, str] | None = None
) -> ClickReport:
    """Estimate every creative's CTR and label the pairs; `counts`: as `logs.read` returns them.

    `categories`: product_id → department, whose products share a mean CTR.
    """
    config = config or ClicksConfig()
    estimates, model = ctr.estimate(counts, config=config, categories=categories)
    rows = pairing.pairs(logs.connect().create_table("estimates", estimates), config=config).to_pyarrow()
    table = rows.select(pairing.PAIRS.names).cast(pairing.PAIRS)
    table = table.sort_by([(name, "ascending") for name in ("product_id", "first", "second")])
    return ClickReport(estimates, table, model)
