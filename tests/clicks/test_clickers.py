"""Slow bots are found by their clicks; people stay, however much they look at and however they differ."""

from __future__ import annotations

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import nbinom

from clickscape.clicks import clickers, logs
from clickscape.clicks.clickers import clicked_impressions, clicks_by_user, improbable_clickers
from clickscape.config import ClicksConfig
from clickscape.stages.clicks import read_log
from clickscape.workspace import Workspace

CTR = 0.02
BOTS = [f"bot-{number}" for number in range(3)]


def log(rng: np.random.Generator, *, bots: bool, variance: float = 0.5, people: int = 2_000) -> pa.Table:
    """Events of people who differ, five of them with a hundred times the impressions, and of three bots."""
    shown = np.rint(np.exp(rng.normal(2.5, 1.0, people))).astype(int) + 1
    factor = rng.gamma(1 / variance, variance, people)
    shown[:5], factor[:5] = 1_500, 1.5
    names, chance = [f"user-{number}" for number in range(people)], np.minimum(CTR * factor, 0.9)
    if bots:
        names, shown, chance = [*names, *BOTS], np.append(shown, [400] * 3), np.append(chance, [0.5] * 3)
    user = np.repeat(np.arange(len(names)), shown)
    clicked = rng.random(len(user)) < chance[user]
    number = np.concatenate([np.arange(len(user)), np.flatnonzero(clicked)])
    kind = np.repeat(["impression", "click"], [len(user), int(clicked.sum())])
    keys = pa.array(names).take(pa.array(user[number]))
    creative = rng.choice(["a", "b"], len(user))[number]
    table = pa.table(
        {
            "event_id": [f"{what}-{one}" for what, one in zip(kind, number, strict=True)],
            "kind": kind.tolist(),
            "decision_id": number.astype(str).tolist(),
            "creative_id": creative.tolist(),
            "product_id": ["p"] * len(number),
            "position": pa.array(1 + number % 3, pa.int32()),
            "user_key": keys,
        }
    )
    return table.take(pa.array(rng.permutation(len(table))))


def found(events: pa.Table) -> list[str]:
    table = logs.connect(threads=1).create_table("events", events)
    return sorted(improbable_clickers(table, false_alarms=0.01).to_pyarrow()["user_key"].to_pylist())


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_slow_bots_are_found_and_heavy_users_stay(seed: int) -> None:
    assert found(log(np.random.default_rng(seed), bots=True)) == BOTS


@pytest.mark.parametrize("variance", [0.1, 1.0, 4.0])
def test_nobody_is_a_bot_where_people_differ_little_or_much(variance: float) -> None:
    assert found(log(np.random.default_rng(7), bots=False, variance=variance)) == []


def test_who_is_left_out_has_fewer_chances_than_allowed_and_nearly_all_such_are() -> None:
    """By the exact tail of the negative binomial: never above the limit; below a thousandth of it always."""
    shown, clicked = (axis.ravel() for axis in np.meshgrid(np.arange(5, 400, 9), np.arange(2, 60)))
    those = clicked <= shown
    shown, clicked = shown[those], clicked[those]
    users = pa.table({"user_key": np.arange(len(shown)).astype(str), "shown": shown, "clicked": clicked})
    users = users.append_column("users", pa.array([1_000] * len(users)))
    people = pa.table({"ctr": [0.03], "variance": [0.5]})
    left_out = clickers.improbable(ibis.memtable(users), ibis.memtable(people), 0.1).to_pyarrow()["user_key"]
    out = np.isin(np.arange(len(shown)), left_out.to_numpy(zero_copy_only=False).astype(int))
    tail = nbinom.sf(clicked - 1, 2, 2 / (2 + 0.03 * shown))
    assert 50 < out.sum() < len(out) - 50
    assert tail[out].max() < 0.1 / 1_000
    assert out[tail < 1e-3 * 0.1 / 1_000].all()


def test_mean_and_variance_of_people_are_learned_from_their_clicks() -> None:
    rng = np.random.default_rng(3)
    shown = rng.integers(5, 60, 40_000)
    clicked = rng.poisson(0.05 * shown * rng.gamma(0.5, 2.0, len(shown)))
    users = pa.table({"shown": shown, "clicked": clicked, "weight": np.minimum(1, 30 / shown)})
    row = clickers.moments(ibis.memtable(users)).to_pyarrow().to_pylist()[0]
    assert row["ctr"] == pytest.approx(0.05, rel=0.05)
    assert row["variance"] == pytest.approx(2.0, rel=0.1)


def test_a_users_clicks_are_those_on_impressions_of_the_same_user_each_decision_once() -> None:
    rows = [("impression", "1", "ann"), ("impression", "2", "ann"), ("impression", "3", None), ("click", "1", "ann")]
    rows += [("click", "1", "ann"), ("click", "3", "bob"), ("click", "2", "bob"), ("impression", "4", "bob")]
    columns = ("kind", "decision_id", "user_key")
    table = pa.table({name: [row[place] for row in rows] for place, name in enumerate(columns)})
    table = table.append_column("creative_id", pa.array(["a"] * len(rows)))
    events = logs.connect(threads=1).create_table("events", table)
    counted = clicks_by_user(events, clicked_impressions(events)).order_by("user_key").to_pyarrow()
    assert counted.to_pylist() == [
        {"user_key": "ann", "shown": 2, "clicked": 1},
        {"user_key": "bob", "shown": 1, "clicked": 0},
    ]


def write(workspace: Workspace, events: pa.Table) -> None:
    workspace.events_folder.mkdir(exist_ok=True)
    pq.write_table(events, workspace.events_folder / "log.parquet")


def counts(workspace: Workspace, **config: float) -> list[dict[str, object]]:
    found = read_log(workspace, config=ClicksConfig.model_validate(config), by=()).counts
    return found.order_by(["creative_id", "position"]).to_pyarrow().to_pylist()


@pytest.mark.slow
def test_counts_are_those_of_the_people_alone(workspace: Workspace) -> None:
    events = log(np.random.default_rng(1), bots=True, people=500)
    bot = np.isin(events["user_key"].to_numpy(zero_copy_only=False).astype(str), BOTS)
    write(workspace, events.filter(pa.array(~bot)))
    people = counts(workspace)
    assert people == counts(workspace, bot_false_alarms=0), "a log without bots is what it was"
    write(workspace, events)
    assert counts(workspace) == people
    assert counts(workspace, bot_false_alarms=0) != people


def test_the_report_says_how_many_click_too_often_and_whose_events_are_missing(workspace: Workspace) -> None:
    events = log(np.random.default_rng(1), bots=True, people=500)
    bot = np.isin(events["user_key"].to_numpy(zero_copy_only=False).astype(str), BOTS)
    click = events["kind"].to_numpy(zero_copy_only=False) == "click"
    write(workspace, events)
    read = read_log(workspace, by=())
    report = read.cleaning
    assert report is not None
    assert read.counts.impressions.sum().to_pyarrow().as_py() == int((~bot & ~click).sum())
    assert (report.clickers, report.clicker_events) == (3, int(bot.sum()))
    assert report.clicker_click_share == pytest.approx((bot & click).sum() / click.sum())
    (line,) = [line for line in report.lines() if "click too often to be people" in line]
    assert f"{report.clicker_click_share:.1%} of all clicks" in line
    assert "bot_false_alarms = 0 lets them count" in line


def test_a_log_without_user_keys_is_not_searched_for_bots(workspace: Workspace) -> None:
    write(workspace, log(np.random.default_rng(1), bots=True, people=50).drop_columns(["user_key"]))
    report = read_log(workspace, by=()).cleaning
    assert report is not None
    assert (report.clickers, report.clicker_events, report.clicker_click_share) == (None, None, None)
