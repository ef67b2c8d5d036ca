"""Stage `experiment fatigue`: a log of events or of daily counts becomes a table of what to replace, by the command."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.factory import clickscape

from clickscape.config import SimulateConfig
from clickscape.simulator import changing_traffic, traffic
from clickscape.types import Creative
from clickscape.workspace import Workspace


@pytest.fixture(scope="module")
def tired(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace whose log tires quickly."""
    shop = Workspace.create(tmp_path_factory.mktemp("tired") / "shop")
    ads = [Creative(f"c{n}", f"p{n // 4}", "", "", {}, "studio", "writer", n) for n in range(12)]
    drawn = changing_traffic.draw(
        ads, np.full((12, 1), math.log(0.1)), rng=np.random.default_rng(0), shares={"all": 1.0},
        config=SimulateConfig(days=14, launch_days=4, fatigue=0.3, wear_out=0.15, median_impressions=2_000),
    )  # fmt: skip
    shop.events_folder.mkdir(parents=True)
    list(traffic.write(drawn.events(rng=np.random.default_rng(1)), shop.events_folder))
    return shop


def test_the_command_lists_what_to_replace_and_how_sure_that_is(tired: Workspace) -> None:
    done = clickscape("experiment", "fatigue", tired.path, cwd=tired.path.parent)
    assert done.code == 0, done.err
    assert "CTR when a user sees a creative for the fourth time, against the first: -" in done.out
    assert "creatives on air need a replacement within 14 days (limit 80% of the start, certainty 65%)" in done.out
    assert "worn out" in done.out
    record = json.loads((tired.path / "experiments" / "fatigue.json").read_text(encoding="utf-8"))
    assert len(record["creatives"]) == 12
    assert record["last_day"] == "2026-01-18"
    flagged = [one for one in record["creatives"] if one["replacement"]]
    assert done.out.count("% sure; ") == len(flagged) > 6


def test_daily_counts_are_read_and_counts_without_days_refused(tmp_path: Path) -> None:
    shop = Workspace.create(tmp_path / "shop")
    days = [f"2026-03-{day:02}" for day in range(1, 21)]
    table = {"creative_id": ["a"] * 20, "product_id": ["p"] * 20, "day": days, "impressions": [4_000] * 20,
             "clicks": [round(400 * math.exp(-0.04 * day)) for day in range(20)]}  # fmt: skip
    pq.write_table(pa.table(table), shop.counts_path)
    done = clickscape("experiment", "fatigue", shop.path, cwd=tmp_path)
    assert done.code == 0, done.err
    assert "fourth time" not in done.out
    assert "all creatives of a product began on one day" in done.out
    assert "a (p): worn out now" in done.out
    pq.write_table(pa.table(table).drop_columns("day"), shop.counts_path)
    refused = clickscape("experiment", "fatigue", shop.path, cwd=tmp_path)
    assert refused.code == 2
    assert "counts without a column 'day'" in refused.err
    wrong = clickscape("experiment", "fatigue", shop.path, "--keep", "80", cwd=tmp_path)
    assert wrong.code == 2
    assert "Give another" in wrong.err or "'day'" in wrong.err
