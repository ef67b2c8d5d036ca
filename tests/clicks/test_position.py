"""Examinations: EM reaches the same top, randomized traffic tells the same, and both find the simulator's truth."""

from __future__ import annotations

from collections.abc import Iterator

import ibis
import numpy as np
import pyarrow as pa
import pytest

from clickscape.clicks import logs, propensity
from clickscape.clicks.position import Examination, examine
from clickscape.errors import LogError
from clickscape.simulator import traffic
from clickscape.types import Creative

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

    Looks and attractions start at a half; what is yielded are the looks relative to the first position's (position,).
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
    assert look / look[0] == pytest.approx(by_newton(shown, clicked).probability, rel=1e-7)


@pytest.fixture(scope="module")
def drawn() -> traffic.Traffic:
    """60 products of 4 creatives; better creatives stand in front, and the policy's propensities say so."""
    rng = np.random.default_rng(7)
    creatives = [Creative(f"c{n}", f"p{n // 4}", "", "", {}, "studio", "tiny", 0) for n in range(240)]
    log_ctr = np.log(0.15) + rng.normal(0, 0.4, 240)
    return traffic.simulate(creatives, log_ctr, rng=rng, median_impressions=900, position_evenness=20.0)


@pytest.fixture(scope="module")
def events(drawn: traffic.Traffic) -> ibis.Table:
    log = pa.concat_tables(list(drawn.events(rng=np.random.default_rng(8), days=2)))
    return logs.connect(threads=1).create_table("events", log)


def miss(found: Examination) -> np.ndarray:
    """How far the logs are from the simulator's truth, in standard errors, (position − 1,)."""
    away = np.log(found.probability) - np.log(traffic.EXAMINATION)
    return np.asarray(away[1:] / np.array(found.log_se)[1:])


def test_both_estimators_recover_the_simulated_examination(drawn: traffic.Traffic, events: ibis.Table) -> None:
    likely = by_newton(drawn.impressions.sum(axis=2), drawn.clicks.sum(axis=2))
    weighted = propensity.examine(events)
    for found in (likely, weighted):
        assert found.corrected
        assert np.abs(miss(found)).max() < 3
    assert np.all(np.array(weighted.log_se)[1:] > np.array(likely.log_se)[1:]), "weights cost precision"
    assert max(weighted.log_se) < 0.1


def test_examination_from_uniformly_randomized_traffic_by_hand() -> None:
    # two candidates, a drawn with 0.8: weights 1 / (0.8 · 2) = 0.625 and 1 / (0.2 · 2) = 2.5
    rows = [("a", 0), ("a", 1), ("b", 1), ("a", 0), ("b", 0)]
    log = [
        {"kind": kind, "decision_id": f"d{number}", "creative_id": name, "position": 1,
         "candidates": ["b", "a"] if kind == "impression" else None,
         "propensities": [0.2, 0.8] if kind == "impression" else None}
        for number, (name, clicked) in enumerate(rows)
        for kind in (["impression", "click"] if clicked else ["impression"])
    ]  # fmt: skip
    (row,) = propensity.weighted(ibis.memtable(pa.Table.from_pylist(log))).to_pyarrow().to_pylist()
    assert (row["list"], row["position"], row["impressions"]) == ("a\x1fb", 1, 5)
    assert row["weight"] == pytest.approx(3 * 0.625 + 2 * 2.5)
    assert row["weighted_clicks"] == pytest.approx(0.625 + 2.5)
    assert row["click_variance"] == pytest.approx(0.625**2 + 2.5**2)


@pytest.mark.slow
def test_standard_errors_of_weighted_examination_are_calibrated() -> None:
    rng = np.random.default_rng(9)
    share = np.array([[0.7, 0.1], [0.3, 0.9]])  # of the creatives (row) at each of two positions
    scaled = []
    for _ in range(40):
        shown = np.stack([rng.multinomial(900, share[:, place]) for place in (0, 1)], axis=1)
        clicked = rng.binomial(shown, np.array([[0.2], [0.1]]) * np.array([1, 0.5]))
        log = {name: [] for name in ("kind", "decision_id", "creative_id", "position", "candidates", "propensities")}
        for creative, place in np.ndindex(2, 2):
            for number in range(shown[creative, place]):
                kinds = ["impression", "click"] if number < clicked[creative, place] else ["impression"]
                for kind in kinds:
                    decision = f"{creative}-{place}-{number}"
                    values = (kind, decision, "ab"[creative], place + 1, ["a", "b"], share[:, place].tolist())
                    for name, value in zip(log, values, strict=True):
                        log[name].append(value)  # type: ignore[arg-type]
        found = propensity.examine(ibis.memtable(pa.table(log)))
        scaled.append((np.log(found.probability[1]) - np.log(0.5)) / found.log_se[1])
    assert np.std(scaled) == pytest.approx(1, abs=0.25)
    assert np.mean(scaled) == pytest.approx(0, abs=0.4)


def test_traffic_without_propensities_or_with_impossible_ones_is_not_used(events: ibis.Table) -> None:
    bare = events.filter(events.kind == "click")
    assert propensity.examine(bare).reason == "no impression has candidates and propensities"
    strangers = events.filter(events.position < 3).mutate(creative_id=ibis.literal("stranger"))
    with pytest.raises(LogError, match=r"a creative that is no candidate.*Log the candidates"):
        propensity.examine(strangers)
    one_place = events.filter(
        ((events.position == 1) & (events.product_id == "p1")) | ((events.position == 2) & (events.product_id == "p2"))
    )
    assert "no list of candidates with clicks was shown both at position 1 and at 2" in str(
        propensity.examine(one_place).reason
    )


def test_the_weighting_can_be_shown_as_sql(events: ibis.Table) -> None:
    sql = str(ibis.to_sql(propensity.weighted(events), dialect="duckdb")).lower()
    assert "group by" in sql
    assert "left" in sql
