"""What is read from the store's events: the same as from the pulled log, and what choosing earns beside experiments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from tests.service.conftest import KEY, NOW, creative, rows

from clickscape.clicks.locations import locate
from clickscape.clicks.logs import connect, read_cleaned
from clickscape.config import ClicksConfig
from clickscape.experiment.assign import assign, is_held_back, key_id
from clickscape.experiment.definition import ExperimentDefinition, Variant
from clickscape.service import decisions, jobs, publishing, read_events, readings, schema, workspace_sync
from clickscape.service.bandit_policy import propensities
from clickscape.service.bots import counts_of, find_bots
from clickscape.service.event_writer import Event, write_events
from clickscape.service.experiments import exchange
from clickscape.service.run import open_service
from clickscape.service.selector import read_traffic as read_traffic_of
from clickscape.service.worker import Worker
from clickscape.stages import experiment as stage
from clickscape.stages.experiment_reading import read_traffic
from clickscape.types import Product
from clickscape.workspace import Workspace

DAY = 86_400_000_000
CREATIVES = {"control": "a", "new": "b", "bandit": "a", "holdback": "c"}
AUTUMN = ExperimentDefinition(
    "autumn", (Variant("control", 0.5, {"mug": "a"}), Variant("new", 0.5, {"mug": "b"})), "control",
    datetime.fromtimestamp(NOW / 1e6, UTC), key_id(KEY), "autumn", holdback=0.1,
)  # fmt: skip


def write(engine: Engine, events: list[Event]) -> None:
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        for start in range(0, len(events), 5_000):
            write_events(connection, events[start : start + 5_000])


class Told:
    """Events of decisions, numbered."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._decisions = 0

    def decision(self, user: str, variant: str, *told: tuple[str, int], experiment: str | None = None) -> None:
        """One decision of a user, and what came of it: kinds and days after the start."""
        self._decisions += 1
        for kind, day in told:
            at = NOW + day * DAY + 1_000_000
            self.events.append(
                Event(f"e{len(self.events)}", kind, "attributed", f"{self._decisions:016x}", CREATIVES[variant], "mug",  # type: ignore[arg-type]
                      "feed", user, "p", variant, at, at, at, experiment)
            )  # fmt: skip


def test_a_decision_is_one_impression_and_one_click_on_the_days_when_it_was_told(engine: Engine) -> None:
    told = Told()
    told.decision("ann", "new", ("impression", 0), ("click", 1), ("click", 2), ("impression", 2), experiment="autumn")
    told.decision("ann", "new", ("impression", 1), experiment="autumn")
    told.decision("bob", "new", ("click", 1), ("conversion", 5), experiment="autumn")
    told.decision("cat", "control", ("impression", 0), experiment="autumn")
    told.decision("dan", "control", ("click", 0), experiment="winter")
    told.decision("eve", "bandit", ("click", 0))
    write(engine, told.events)
    with engine.connect() as connection:
        found = read_events.of_experiment(connection, AUTUMN)
    assert found is not None
    new, control = found.variant("new"), found.variant("control")
    assert [(day.units, day.counts.impressions, day.counts.clicks) for day in new.days] == [(1, 1, 0), (2, 3, 2)]
    assert (new.conversions, control.units, control.counts.impressions) == (1, 1, 1)
    assert new.latest.always_valid is None
    assert new.decision == "not enough evidence yet"


def test_nothing_is_read_before_every_variant_was_seen(engine: Engine) -> None:
    told = Told()
    told.decision("ann", "new", ("impression", 0), experiment="autumn")
    with engine.connect() as connection:
        assert read_events.of_experiment(connection, AUTUMN) is None
        assert read_events.of_choosing(connection, "mug", holdback=0.1) is None
    write(engine, told.events)
    with engine.connect() as connection:
        assert read_events.of_experiment(connection, AUTUMN) is None
        assert read_events.of_choosing(connection, "mug", holdback=0.0) is None


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[tuple[Workspace, Engine, ExperimentDefinition]]:
    """A shop whose experiment was visited by 4,000 users on three days; new is clicked a third more often."""
    shop = Workspace.create(tmp_path / "shop")
    _, engine, _, key = open_service(shop.path)
    definition = stage.start(
        shop, "autumn", AUTUMN.variants, design=stage.Design(traffic=0.8), now=datetime.fromtimestamp(NOW / 1e6, UTC)
    )
    rng, told = np.random.default_rng(5), Told()
    for number in range(4_000):
        user = decisions.hashed_user(str(number), key)
        variant = assign(user, definition=definition, key=key)
        ctr = {"control": 0.15, "new": 0.20, None: 0.15}[variant]
        for _ in range(1 + rng.poisson(0.7)):
            day = int(rng.integers(3))
            kinds = [("impression", day)] + [("click", day)] * bool(rng.random() < ctr)
            of = None if variant is None else "autumn"
            told.decision(user, variant or "bandit", *kinds, experiment=of)
    write(engine, told.events)
    yield shop, engine, definition
    engine.dispose()


def test_the_store_says_what_the_pulled_log_says(shop: tuple[Workspace, Engine, ExperimentDefinition]) -> None:
    workspace, engine, definition = shop
    with engine.connect() as connection:
        here = read_events.of_experiment(connection, definition)
    assert here is not None
    workspace_sync.pull(engine, workspace, now=NOW + 3 * DAY)
    steps = read_traffic(workspace, "autumn", now=datetime.fromtimestamp((NOW + 3 * DAY) / 1e6, UTC))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            there = end.value
            break
    assert here.variant("new").decision == "better"
    for one, other in zip(here.variants, there.variants, strict=True):
        assert (one.units, one.counts, one.decision) == (other.units, other.counts, other.decision)
        assert [day.units for day in one.days] == [day.units for day in other.days]
        for mine, theirs in zip(one.days, other.days, strict=True):
            if mine.always_valid is not None:
                assert mine.always_valid.low == pytest.approx(theirs.always_valid.low, rel=1e-9)
                assert mine.always_valid.high == pytest.approx(theirs.always_valid.high, rel=1e-9)
    assert here.sample_ratio == there.sample_ratio


def test_users_who_are_no_people_are_left_out_as_clicks_leaves_them_out(
    shop: tuple[Workspace, Engine, ExperimentDefinition],
) -> None:
    """One clicks on whatever it sees, on every day; one looks seventy times in a minute."""
    workspace, engine, definition = shop
    _, _, _, key = open_service(workspace.path)
    workspace.settings_path.write_text("[clicks]\nbot_false_alarms = 0.3\n")  # ads here are clicked very often
    config = workspace.settings.clicks
    with engine.connect() as connection:
        clean = read_events.of_experiment(connection, definition)
    found: list[str] = []
    for number in range(10**6, 10**6 + 100):
        user = decisions.hashed_user(str(number), key)
        if assign(user, definition=definition, key=key) == "new" and len(found) < 2:
            found.append(user)
    told = Told()
    told._decisions = 10**6
    for day in range(3):
        for _ in range(30):
            told.decision(found[0], "new", ("impression", day), ("click", day), experiment="autumn")
    told.events = [replace(one, ts=one.ts + 61_000_000 * turn) for turn, one in enumerate(told.events)]  # and slowly
    told.decision(found[0], "bandit", ("click", 0), ("impression", 0))
    for _ in range(70):
        told.decision(found[1], "new", ("impression", 1), experiment="autumn")
    write(engine, [replace(one, event_id=f"bot-{one.event_id}") for one in told.events])
    with engine.connect() as connection:
        assert find_bots(connection, config=config) == sorted(found)
        assert find_bots(connection, config=ClicksConfig(bot_false_alarms=0)) == [found[1]]
        dirty = read_events.of_experiment(connection, definition)
        assert counts_of(connection, "mug", found) == {"a": (1, 1), "b": (160, 90)}
    assert Worker(workspace, engine)._bots() == sorted(found)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        exchange(connection, [definition], now=NOW)
    readings.ask_anew(engine, "experiment", "autumn", held=None, now=NOW)
    readings.ask_anew(engine, "product", "mug", held=None, now=NOW)
    worker = Worker(workspace, engine)
    assert worker.do_next()
    assert worker.do_next()
    held = readings.newest(engine, "experiment", "autumn")
    assert held is not None
    assert dirty is not None
    assert held.experiment == clean != dirty
    of_product = readings.newest(engine, "product", "mug")
    assert of_product is not None
    assert of_product.content["bots"] == {"users": 2, "counts": {"a": [1, 1], "b": [160, 90]}}
    workspace_sync.pull(engine, workspace, now=NOW + 4 * DAY)
    log = read_cleaned(
        locate(workspace.clicks, config), config=config, connection=connect(threads=1),
        now=datetime.fromtimestamp((NOW + 4 * DAY) / 1e6, UTC),
    )  # fmt: skip
    assert (log.report.bots, log.report.clickers) == (1, 1)
    assert (log.report.busiest_bot, log.report.keenest_clicker) == (found[1], found[0])


def test_the_worker_keeps_a_reading_for_those_who_look(shop: tuple[Workspace, Engine, ExperimentDefinition]) -> None:
    workspace, engine, definition = shop
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        exchange(connection, [definition], now=NOW)
    readings.ask_anew(engine, "experiment", "autumn", held=None, now=NOW)
    assert Worker(workspace, engine).do_next()
    held = readings.newest(engine, "experiment", "autumn")
    assert held is not None
    with engine.connect() as connection:
        assert held.experiment == read_events.of_experiment(connection, definition)
    readings.ask_anew(engine, "experiment", "autumn", held=held, now=held.made_at + 1_000_000)
    assert jobs.claim(engine, now=NOW) is None  # it is fresh
    readings.ask_anew(engine, "experiment", "autumn", held=held, now=held.made_at + 61_000_000)
    readings.ask_anew(engine, "experiment", "autumn", held=held, now=held.made_at - 3_600_000_000)  # a clock set back
    assert [row.status for row in rows(engine, schema.jobs)].count("queued") == 1


def choosing(engine: Engine, *, users: int, holdback: float, experiment: bool) -> None:
    """Users of a bandit that earns a third more than an even choice; with an experiment, on half of the rest."""
    rng, told = np.random.default_rng(2), Told()
    definition = ExperimentDefinition(
        "autumn", AUTUMN.variants, "control", AUTUMN.start, key_id(KEY), "autumn", traffic=0.5, holdback=holdback
    )
    for number in range(users):
        user = decisions.hashed_user(str(number), KEY)
        variant = assign(user, definition=definition, key=KEY) if experiment else None
        if is_held_back(user, share=holdback, key=KEY):
            variant = "holdback"
        ctr = 0.15 if variant == "holdback" else 0.20
        for _ in range(1 + rng.poisson(1.0)):
            kinds = [("impression", 0)] + [("click", 0)] * bool(rng.random() < ctr)
            of = "autumn" if variant in ("control", "new") else None
            told.decision(user, variant or "bandit", *kinds, experiment=of)
    write(engine, told.events)


@pytest.mark.parametrize("experiment", [False, True])
def test_what_choosing_earns_is_read_beside_an_experiment_without_a_false_alarm(
    engine: Engine, experiment: bool
) -> None:
    choosing(engine, users=4_000, holdback=0.3, experiment=experiment)
    with engine.connect() as connection:
        found = read_events.of_choosing(connection, "mug", holdback=0.3)
        wrong = read_events.of_choosing(connection, "mug", holdback=0.2)
    assert found is not None
    bandit = found.variant("bandit")
    assert bandit.latest.always_valid is not None
    assert bandit.latest.always_valid.low < 1 / 3 < bandit.latest.always_valid.high
    assert (bandit.units < 1_600) == experiment
    assert found.sample_ratio is not None
    assert not found.sample_ratio.alarm
    assert sum(found.sample_ratio.units) == 4_000  # those of the experiment are counted, not compared
    assert wrong is not None
    assert wrong.variant("bandit").decision == "sample ratio mismatch"


def test_what_wears_out_is_told_from_the_counts(engine: Engine) -> None:
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        few = [{"product_id": "mug", "creative_id": "a", "placement": "feed", "day": 20_000, "impressions": 100,
                "clicks": 5, "conversions": 0}]  # fmt: skip
        connection.execute(sa.insert(schema.counts), few)
        assert "spans 1 days" in read_events.of_fatigue(connection)["note"]
        connection.execute(sa.delete(schema.counts))
        many = [
            {"product_id": f"p{number // 4}", "creative_id": f"c{number}", "placement": where,
             "day": 20_000 + day, "impressions": 4_000,
             "clicks": round(4_000 * 0.05 * (0.93**day if number % 4 == 0 else 1.0)), "conversions": 0}
            for number in range(12) for day in range(4 if number % 4 == 1 else 0, 21) for where in ("feed", "story")
        ]  # fmt: skip
        connection.execute(sa.insert(schema.counts), many)
        found = read_events.of_fatigue(connection)
    assert set(found["worn"]) == {"c0", "c4", "c8"}
    assert found["worn"]["c0"]["reason"] == "worn out"
    assert 0 < found["worn"]["c0"]["left"] < 0.5
    assert found["note"] == ""


def test_a_reading_of_an_experiment_that_nobody_started_fails_in_one_line(tmp_path: Path) -> None:
    shop = Workspace.create(tmp_path / "shop")
    _, engine, _, _ = open_service(shop.path)
    readings.ask_anew(engine, "experiment", "none", held=None, now=NOW)
    assert Worker(shop, engine).do_next()
    assert [row.message for row in rows(engine, schema.jobs)] == ["no experiment is called 'none'."]
    engine.dispose()


def scored_shop(engine: Engine, *, correlation: float) -> None:
    """Forty products with clicks, whose scores have this correlation with log CTR, and one without any traffic."""
    rng = np.random.default_rng(0)
    effect = rng.normal(0, 0.3, (40, 4))
    noise = rng.normal(0, 0.3, effect.shape)
    score = correlation * effect + np.sqrt(1 - correlation**2) * noise
    made = [creative(f"{p}-{c}", f"product-{p}") for p in range(40) for c in range(4)]
    known = {f"{p}-{c}": (float(score[p, c]), 0.05) for p in range(40) for c in range(4)}
    made += [creative(name, "new") for name in ("strong", "weak")]
    known |= {"strong": (0.4, 0.05), "weak": (-0.4, 0.05)}
    products = [Product(name, name) for name in sorted({one.product_id for one in made})]
    clicks = rng.poisson(2_000 * 0.03 * np.exp(effect))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        images = {one.creative_id: one.image for one in made}
        publishing.publish(connection, products, made, images=images, scores=known, now=NOW)
        connection.execute(sa.insert(schema.counts), [
            {"product_id": f"product-{p}", "creative_id": f"{p}-{c}", "placement": "feed", "day": 0,
             "impressions": 2_000, "clicks": int(clicks[p, c]), "conversions": 0} for p in range(40) for c in range(4)
        ])  # fmt: skip


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_a_new_ad_starts_from_its_score_as_far_as_scores_explained_clicks(engine: Engine, correlation: float) -> None:
    scored_shop(engine, correlation=correlation)
    with engine.connect() as connection:
        prior = read_events.of_scores(connection)
    readings.keep_prior(engine, prior, now=NOW)
    with engine.connect() as connection:
        traffic = read_traffic_of(connection, "new", now=NOW)
    assert traffic.prior == prior
    strong, weak = propensities(traffic, "feed", 0)
    if correlation:
        assert 0.5 < prior.weight < 1
        assert strong > 2 * weak
    else:
        assert prior.weight < 0.15
        assert strong < 1.5 * weak


def test_before_any_click_scores_say_nothing(engine: Engine) -> None:
    with engine.connect() as connection:
        assert read_events.of_scores(connection).weight == 0
        assert readings.newest_prior(connection).weight == 0
