from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickscape.errors import ExperimentError, WorkspaceError
from clickscape.experiment.definition import PlannedSample, Variant
from clickscape.stages import experiment as stage
from clickscape.stages.clicks import read_log
from clickscape.stages.experiment import Design
from clickscape.stages.experiment_baseline import read_baseline
from clickscape.stages.experiment_simulation import audience_of, simulate_experiment
from clickscape.stages.progress import run
from clickscape.types import Creative
from clickscape.workspace import Workspace

NOW = datetime(2026, 1, 5, tzinfo=UTC)
PLANNED = PlannedSample(baseline_ctr=0.05, lift=0.2, users=1_400, days=14, reading="always-valid")


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    """A shop with a started and planned experiment on one product."""
    made = Workspace.create(tmp_path / "shop")
    made.write_creatives([Creative(f"mug-{name}", "mug", "", "", {}, "own", "own", 0) for name in "ab"])
    variants = [Variant("control", 0.5, {"mug": "mug-a"}), Variant("new", 0.5, {"mug": "mug-b"})]
    stage.start(made, "autumn", variants, design=Design(planned=PLANNED), now=NOW)
    return made


def simulate(shop: Workspace, *, until: int | None = None, seed: int = 0) -> list[Path]:
    audience = audience_of(stage.read_experiment(shop, "autumn"), lifts={"new": 0.5})
    run(simulate_experiment(shop, "autumn", audience, until=until, seed=seed))
    return sorted(shop.events_folder.rglob("*.parquet"))


def test_the_log_is_read_like_any_other_and_says_how_it_was_allocated(shop: Workspace) -> None:
    assert len(simulate(shop)) == 14
    log = read_log(shop)
    assert log.allocated.allocation == "randomized with shares"
    counted = log.counts.to_pyarrow()
    assert set(counted["creative_id"].to_pylist()) == {"mug-a", "mug-b"}
    shown = sum(counted["impressions"].to_pylist())
    assert 0.9 < shown / (1_400 * 5) < 1.1


def test_the_first_days_stay_when_more_days_pass_and_fewer_are_possible(shop: Workspace) -> None:
    short = [pq.read_table(path) for path in simulate(shop, until=3)]
    whole = [pq.read_table(path) for path in simulate(shop)]
    assert len(short) == 3
    assert whole[:3] == short
    assert len(simulate(shop, until=2)) == 2
    assert pq.read_table(simulate(shop, until=1, seed=9)[0]) != short[0]
    with pytest.raises(ExperimentError, match="15 of 14 simulated days"):
        simulate(shop, until=15)


def test_invented_users_never_stand_beside_a_real_log(shop: Workspace) -> None:
    simulate(shop, until=1)
    own = shop.events_folder / "experiment-autumn" / "monday.parquet"
    pq.write_table(pa.table({"event_id": ["e1"]}), own)
    with pytest.raises(WorkspaceError, match=r"monday\.parquet is no log that `experiment simulate` wrote"):
        simulate(shop)
    assert own.exists()
    own.unlink()
    shop.write_counts(pa.table({"creative_id": ["mug-a"], "product_id": ["mug"], "impressions": [9], "clicks": [1]}))
    with pytest.raises(WorkspaceError, match="invented users would stand beside it"):
        simulate(shop)


def test_without_a_plan_the_users_have_to_be_described(shop: Workspace) -> None:
    stage.stop(shop, "autumn", now=NOW)
    variants = stage.read_experiment(shop, "autumn").variants
    made = stage.start(shop, "winter", variants, now=NOW)
    with pytest.raises(ExperimentError, match="nobody says how large users_per_day is"):
        audience_of(made, lifts={})
    found = audience_of(made, lifts={}, users_per_day=10, days=7, ctr=0.1, impressions_per_user=4.5)
    assert (found.users, found.days, found.ctr) == (70, 7, 0.1)
    assert found.impressions_per_user_day == pytest.approx(1.0)


def test_a_plan_takes_its_baseline_from_the_last_days_of_the_log(shop: Workspace) -> None:
    """Ten days of users who enter evenly, 100 a day: whoever was seen in the last three of them, counted by hand."""
    simulate(shop, until=10)
    found = run(read_baseline(shop, days=3, now=NOW + timedelta(days=15)))
    events = pa.concat_tables([pq.read_table(path) for path in shop.events_folder.rglob("*.parquet")]).to_pylist()
    last = max(one["ts"] for one in events if one["kind"] != "conversion")
    late = [one for one in events if one["ts"] > last - timedelta(days=3) and one["kind"] == "impression"]
    shown = [one["user_key"] for one in late]
    decisions = {one["decision_id"] for one in late}
    clicked = [one["user_key"] for one in events if one["kind"] == "click" and one["decision_id"] in decisions]
    assert found.days == 3
    assert found.users_per_day * 3 == pytest.approx(len(set(shown)))
    assert found.impressions_per_user == pytest.approx(len(shown) / len(set(shown)))
    ctr, users = len(clicked) / len(shown), len(set(shown))
    assert found.ctr == pytest.approx(ctr)
    squares = sum((clicked.count(one) - ctr * shown.count(one)) ** 2 for one in set(shown))
    variance = squares * users / (users - 1)
    assert found.design_effect == pytest.approx(variance / (len(shown) * ctr * (1 - ctr)))
    for path in shop.events_folder.rglob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns("user_key"), path)
    with pytest.raises(ExperimentError, match="no column 'user_key', so it does not say how many users come"):
        run(read_baseline(shop, now=NOW + timedelta(days=15)))
