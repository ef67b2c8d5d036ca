"""Estimate CTRs without position bias from counts, and label the pairs of creatives."""

from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq

import clickscape

columns = ("creative_id", "product_id", "position", "impressions", "clicks")
rows = [  # a was mostly at the first position, b mostly at the second
    ("a", "mug", 1, 9000, 270),
    ("a", "mug", 2, 1000, 15),
    ("b", "mug", 1, 1000, 40),
    ("b", "mug", 2, 9000, 180),
]
table = {name: [row[i] for row in rows] for i, name in enumerate(columns)}
counts = ibis.memtable(pa.table(table))
report = clickscape.clicks.estimate(counts)
out = Path("example-pairs.parquet")
pq.write_table(report.pair_table, out)
print(report.estimates.select(["creative_id", "ctr", "ctr_low", "ctr_high"]).to_pylist())
print(out.resolve())
