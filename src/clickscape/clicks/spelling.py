"""Creatives of a log under the names that the workspace gives them, whichever way Unicode encodes an accent."""

from __future__ import annotations

import ibis

from clickscape.clicks.duckdb_engine import composed
from clickscape.errors import LogError


def in_known_spelling(counted: ibis.Table, known: ibis.Table, *, where: str) -> ibis.Table:
    """Return counts with ids as the table `creatives` (`known`) writes them; both are tables of a DuckDB.

    LogError where two creatives differ in nothing but the encoding of accents, so that a log cannot tell them apart.
    """
    names = known.select(key=composed(known.creative_id), named=known.creative_id, of=known.product_id)
    twins = names.semi_join(counted.select(key=composed(counted.creative_id)), "key").group_by("key")
    shared = twins.agg(creatives=lambda table: table.named.nunique())
    for row in shared.filter(shared.creatives > 1).limit(1).to_pyarrow().to_pylist():
        raise LogError(
            f"{where}: two creatives of the workspace are called {row['key']!r}, and differ only in how the accents "
            f"are encoded. Rename the product of one of them."
        )
    found = counted.mutate(key=composed(counted.creative_id)).left_join(names, "key")
    same = composed(found.of) == composed(found.product_id)
    respelled = found.mutate(
        creative_id=ibis.coalesce(found.named, found.creative_id),
        product_id=ibis.ifelse(same.fill_null(False), found.of, found.product_id),
    )
    keys = [name for name in counted.columns if name not in ("impressions", "clicks")]
    return respelled.group_by(keys).agg(
        impressions=lambda table: table.impressions.sum().cast("int64"),
        clicks=lambda table: table.clicks.sum().cast("int64"),
    )
