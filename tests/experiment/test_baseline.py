from __future__ import annotations

import numpy as np
import pytest

from clickscape.errors import ExperimentError
from clickscape.experiment.baseline import baseline, planned_traffic
from clickscape.experiment.plan import Traffic, design_effect


def test_a_baseline_by_hand() -> None:
    """50 users of 2 impressions and no click, 50 of 2 and one: CTR 50 / 200; Σ (C − N / 4)² = 100 · ¼; × 100 / 99."""
    found = baseline(np.full(100, 2), np.repeat([0, 1], 50), days=5)
    assert (found.days, found.ctr, found.users_per_day, found.impressions_per_user) == (5, 0.25, 20, 2)
    assert found.impressions_cv == 0
    assert found.design_effect == pytest.approx(100 * 0.25 * (100 / 99) / (200 * 0.25 * 0.75))
    assert "CTR 25.000%, 20 new users a day with 2.0 impressions each, design effect 0.67" in found.line()


def test_the_design_effect_of_simulated_users_is_that_of_their_tastes() -> None:
    rng = np.random.default_rng(0)
    shown = rng.poisson(rng.gamma(1, 6, 60_000)) + 1
    clicks = rng.binomial(shown, np.minimum(0.05 * rng.gamma(1 / 0.49, 0.49, 60_000), 1))
    found = baseline(shown, clicks, days=10)
    expected = design_effect(
        ctr=0.05, impressions_per_user=shown.mean(), impressions_cv=float(shown.std() / shown.mean()), ctr_cv=0.7
    )
    assert expected > 1.2
    assert found.design_effect == pytest.approx(expected, rel=0.03)


def test_what_is_given_goes_before_what_is_known() -> None:
    known = baseline(np.full(100, 2), np.repeat([0, 1], 50), days=5)
    assert planned_traffic(known) == (0.25, Traffic(20, 2, known.design_effect))
    assert planned_traffic(known, users_per_day=9) == (0.25, Traffic(9, 2, known.design_effect))
    effect = design_effect(ctr=0.1, impressions_per_user=4, impressions_cv=0, ctr_cv=0.7)
    assert planned_traffic(known, ctr=0.1, impressions_per_user=4) == (0.1, Traffic(20, 4, effect))
    alone = planned_traffic(None, ctr=0.1, users_per_day=9, ctr_cv=0)
    assert alone == (0.1, Traffic(9, 1, 1))


def test_what_nobody_says_is_refused() -> None:
    with pytest.raises(ExperimentError, match=r"--users-per-day is missing, and no workspace"):
        planned_traffic(None, ctr=0.1)
    with pytest.raises(ExperimentError, match="20 clicks of 100 users, too few to plan by"):
        baseline(np.full(100, 2), np.repeat([0, 1], [80, 20]), days=5)
