"""Examination by position: EM reaches the same maximum, and the simulator's truth is recovered."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.clicks.reference import examine

from clickscape.clicks import estimate
from clickscape.clicks.position import Examination
from clickscape.config import ClicksConfig
from clickscape.simulator import traffic
from clickscape.stages.clicks import read_log
from clickscape.types import Creative
from clickscape.workspace import Workspace

Cube = tuple[np.ndarray, np.ndarray]


def shown_and_clicked(seed: int, *, creatives: int = 40, ctr: float = 0.05) -> Cube:
    """Impressions and clicks (creative, position) in which good creatives stand in front."""
    rng = np.random.default_rng(seed)
    chance = ctr * np.exp(rng.normal(0, 0.4, creatives))
    shown = np.stack([rng.multinomial(3_000, rng.dirichlet([8 * c / ctr, 4, 3, 2, 2])) for c in chance])
    return shown, rng.binomial(shown, chance[:, None] * np.array(traffic.EXAMINATION))


def by_newton(shown: np.ndarray, clicked: np.ndarray) -> Examination:
    row, column = np.indices(shown.shape)
    return examine(row.ravel(), column.ravel() + 1, shown.ravel(), clicked.ravel())


def em(shown: np.ndarray, clicked: np.ndarray) -> Iterator[np.ndarray]:
    """EM of the position-based model, a yield per round: each impression without a click was looked at in vain or not.

    Both start at a half; yields the examination relative to the first position's (position,).
    """
    look, attraction = np.full(shown.shape[1], 0.5), np.full(shown.shape[0], 0.5)
    while True:
        both = attraction[:, None] * look
        looked = clicked + (shown - clicked) * look * (1 - attraction[:, None]) / (1 - both)
        attracted = clicked + (shown - clicked) * attraction[:, None] * (1 - look) / (1 - both)
        look, attraction = looked.sum(axis=0) / shown.sum(axis=0), attracted.sum(axis=1) / shown.sum(axis=1)
        yield look / look[0]


def test_em_reaches_the_same_maximum_hundreds_of_rounds_later() -> None:
    shown, clicked = shown_and_clicked(1, ctr=0.004)  # at small CTRs, Bernoulli (EM) and Poisson are one likelihood
    found = by_newton(shown, clicked)
    rounds = em(shown, clicked)
    after_20, *_, last = (look for _, look in zip(range(3_000), rounds, strict=False))
    assert last == pytest.approx(found.probability, rel=2e-3)
    assert np.abs(np.log(last) - np.log(found.probability)).max() < 0.02 * max(found.log_se)
    assert np.abs(np.log(after_20) - np.log(found.probability)).max() > max(found.log_se)


def test_alternating_between_ctrs_and_examinations_ends_at_the_very_same_point() -> None:
    # EM for Poisson clicks: each CTR given the examinations, each examination given the CTRs
    shown, clicked = shown_and_clicked(2)
    look = np.ones(5)
    for _ in range(2_000):
        ctr = clicked.sum(axis=1) / (shown @ look)
        look = clicked.sum(axis=0) / (ctr @ shown)
    assert look / look[0] == pytest.approx(by_newton(shown, clicked).probability, rel=1e-9)


def test_the_simulators_examination_is_recovered_though_better_creatives_stand_in_front() -> None:
    rng = np.random.default_rng(7)
    creatives = [Creative(f"c{n}", f"p{n // 4}", "", "", {}, "studio", "tiny", 0) for n in range(240)]
    log_ctr = np.log(0.15) + rng.normal(0, 0.4, 240)
    drawn = traffic.simulate(creatives, log_ctr, rng=rng, median_impressions=900, position_evenness=20.0)
    found = by_newton(drawn.impressions.sum(axis=2), drawn.clicks.sum(axis=2))
    assert found.corrected
    away = np.log(found.probability) - np.log(traffic.EXAMINATION)
    assert np.abs(away[1:] / np.array(found.log_se)[1:]).max() < 3
    assert max(found.log_se) < 0.1


@pytest.mark.slow
def test_slow_bots_bend_the_examination_beyond_its_interval_and_are_named(workspace: Workspace) -> None:
    """Three users with 24 events a minute click wherever a creative stands; a lower limit leaves them out."""
    rng, rows = np.random.default_rng(0), 40_000
    place, creative = rng.integers(0, 5, rows), rng.choice(["a", "b"], rows)
    clicked = rng.random(rows) < 0.2 * np.array(traffic.EXAMINATION)[place]
    bot = np.arange(rows) < 3 * 1_440
    clicked = np.where(bot, rng.random(rows) < 0.3, clicked)
    user = np.where(bot, np.char.add("bot", (np.arange(rows) // 1_440).astype(str)), np.arange(rows).astype(str))
    seconds = np.where(bot, np.arange(rows) % 1_440 * 2.5, rng.uniform(0, 3_600, rows))
    start = np.datetime64("2026-03-01T12:00:00", "us")
    ids = np.arange(rows).astype(str)
    shown = {"event_id": ids, "decision_id": ids, "creative_id": creative, "user_key": user, "position": place + 1,
             "ts": start + (seconds * 1e6).astype("timedelta64[us]")}  # fmt: skip
    tables = [
        pa.table({**{name: values[those] for name, values in shown.items()}, "kind": [kind] * int(those.sum())})
        for kind, those in (("impression", np.full(rows, True)), ("click", clicked))
    ]
    events = pa.concat_tables(tables).append_column("product_id", pa.array(["p"] * (rows + int(clicked.sum()))))
    events = events.set_column(0, "event_id", pc.binary_join_element_wise(events["kind"], events["event_id"], "-"))
    workspace.events_folder.mkdir()
    pq.write_table(events, workspace.events_folder / "log.parquet")

    def away(**settings: int) -> tuple[float, str]:
        """By how many standard errors the furthest examination is off, and what the report says."""
        config = ClicksConfig.model_validate(settings)
        log = read_log(workspace, config=config, by=(), now=datetime(2026, 3, 5, tzinfo=UTC))
        found = estimate(log.counts, config=config).examination
        error = np.log(found.probability) - np.log(traffic.EXAMINATION)
        assert log.cleaning is not None
        return float(np.abs(error[1:] / np.array(found.log_se)[1:]).max()), " ".join(log.cleaning.lines())

    bent, said = away()
    assert bent > 5
    assert "are of 3 users with over 1,000 on a day" in said
    honest, said = away(bot_events_per_minute=20)
    assert honest < 3
    assert "3 users too busy to be people" in said
