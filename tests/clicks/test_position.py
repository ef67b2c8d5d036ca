"""Examination by position: EM reaches the same maximum, and the simulator's truth is recovered."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tests.clicks.reference import examine

from clickscape.clicks.position import Examination
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
