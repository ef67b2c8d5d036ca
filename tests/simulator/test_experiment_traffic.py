from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from clickscape.errors import ExperimentError
from clickscape.experiment.assign import assign_many, key_id
from clickscape.experiment.definition import ExperimentDefinition, Variant
from clickscape.simulator.experiment_traffic import Audience, events
from clickscape.workspace.tables import EVENTS

KEY = bytes(range(32))
START = datetime(2026, 3, 2, tzinfo=UTC)
SMALL = Audience(users=4_000, days=5, impressions_per_user_day=1.0, ctr=0.05)


def definition(**values: object) -> ExperimentDefinition:
    variants = tuple(Variant(name, 0.5, {"mug": f"mug-{name}", "shoe": f"shoe-{name}"}) for name in ("control", "new"))
    made = ExperimentDefinition("autumn", variants, "control", START, key_id(KEY), "autumn")
    return replace(made, **values)  # type: ignore[arg-type]


def drawn(audience: Audience = SMALL, *, seed: int = 0, **values: object) -> pa.Table:
    return pa.concat_tables(events(definition(**values), audience, key=KEY, rng=np.random.default_rng(seed)))


def by_user(table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Impressions and clicks of every user, and whether the user saw new."""
    users = table["user_key"].combine_chunks().dictionary_encode()
    codes, kinds = users.indices.to_numpy(), table["kind"].to_numpy()
    size = len(users.dictionary)
    seen, clicked = (np.bincount(codes[kinds == kind], minlength=size) for kind in ("impression", "click"))
    new = np.zeros(size, bool)
    new[codes[table["variant"].to_numpy() == "new"]] = True
    return seen, clicked, new


def test_every_day_is_a_table_of_the_workspaces_events() -> None:
    days = list(events(definition(), SMALL, key=KEY, rng=np.random.default_rng(0)))
    assert len(days) == 5
    for day, table in enumerate(days):
        assert table.select(EVENTS.names).schema.types == EVENTS.types
        shown = table.filter(pc.equal(table["kind"], "impression"))["ts"].to_pylist()
        assert START + timedelta(days=day) <= min(shown) < max(shown) < START + timedelta(days=day + 1)
        assert table["ts"].to_pylist() == sorted(table["ts"].to_pylist())
    whole = pa.concat_tables(days)
    assert len(set(whole["event_id"].to_pylist())) == len(whole)


def test_who_sees_what_is_the_experiments_own_assignment_and_clicks_follow_impressions() -> None:
    table = drawn(holdback=0.2, traffic=0.5)
    variants = assign_many(table["user_key"], definition=definition(holdback=0.2, traffic=0.5), key=KEY)
    assert variants.cast(pa.string()).to_pylist() == table["variant"].to_pylist()
    rows = table.to_pylist()
    shown = {row["decision_id"]: row for row in rows if row["kind"] == "impression"}
    assert {row["variant"] for row in rows} == {"control", "new", "holdback", None}
    for row in rows:
        inside = row["variant"] in ("control", "new")
        assert row["allocation"] == ("randomized with shares" if inside else None)
        assert row["policy_id"] == ("autumn" if inside else None)
        assert row["creative_id"] == f"{row['product_id']}-{row['variant'] if inside else 'control'}"
        before = shown[row["decision_id"]]
        assert before["ts"] <= row["ts"]
        assert (before["user_key"], before["creative_id"]) == (row["user_key"], row["creative_id"])


def test_the_same_seed_draws_the_same_traffic_and_another_other_users() -> None:
    assert drawn(seed=3) == drawn(seed=3)
    assert not set(drawn(seed=3)["user_key"].to_pylist()) & set(drawn(seed=4)["user_key"].to_pylist())


@pytest.mark.slow
def test_the_lift_is_the_one_that_was_asked_for_and_users_are_clusters() -> None:
    """Bounds of four standard errors, of which the delta method over users knows how large they are."""
    audience = Audience(users=60_000, days=7, ctr=0.05, lifts={"new": 0.3}, ctr_cv=1.0, rate_cv=1.0)
    seen, clicked, new = by_user(drawn(audience))
    rates, errors = [], []
    for arm in (new, ~new):
        ctr = clicked[arm].sum() / seen[arm].sum()
        linear = (clicked[arm] - ctr * seen[arm]) / seen[arm].mean()
        rates.append(ctr)
        errors.append(linear.std() / np.sqrt(arm.sum()) / ctr)
    log_lift, error = np.log(rates[0] / rates[1]), np.hypot(*errors)
    assert abs(log_lift - np.log(1.3)) < 4 * error
    assert error < 0.04
    independent = np.hypot(*(1 / np.sqrt(clicked[arm].sum()) for arm in (new, ~new)))
    assert error > 1.05 * independent  # impressions of a user resemble each other
    assert abs(np.mean(seen) - (1 + 0.5 * 7 / 2)) < 4 * np.std(seen) / np.sqrt(len(seen))


@pytest.mark.slow
def test_novelty_wears_off() -> None:
    audience = Audience(
        users=40_000, days=8, ctr=0.05, impressions_per_user_day=1.0, novelty=1.0, novelty_half_life=1.0
    )
    days = list(events(definition(), replace(audience), key=KEY, rng=np.random.default_rng(1)))

    def lift(table: pa.Table) -> float:
        counts = {
            (one["variant"], one["kind"]): one["variant_count"]
            for one in table.group_by(["variant", "kind"]).aggregate([("variant", "count")]).to_pylist()
        }
        ctrs = [counts[name, "click"] / counts[name, "impression"] for name in ("new", "control")]
        return ctrs[0] / ctrs[1] - 1

    assert lift(days[0]) > 0.6
    assert lift(days[-1]) < 0.45


def test_settings_that_no_traffic_can_have_are_refused() -> None:
    for values, message in (
        ({"users": 0}, "needs users, days and impressions"),
        ({"ctr": 1.5}, "a CTR and the rate"),
        ({"ctr_cv": -1.0}, "not negative"),
        ({"lifts": {"new": -1.0}}, "expected a relative one above -1"),
    ):
        with pytest.raises(ExperimentError, match=message):
            Audience(**values)  # type: ignore[arg-type]
    with pytest.raises(ExperimentError, match="no variant 'other', which has a lift"):
        drawn(replace(SMALL, lifts={"other": 0.1}))
