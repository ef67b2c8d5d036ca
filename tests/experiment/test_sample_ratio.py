from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import betaln

from clickscape.experiment.sample_ratio import FALSE_ALARMS, check_sample_ratio, log_bayes_factor


def test_the_evidence_is_a_mean_of_beta_binomials_by_hand() -> None:
    """Two variants with shares 0.5 after 7 and 3 units: ∫ p⁷ (1 − p)³ dBeta / 0.5¹⁰ for each concentration."""
    found = log_bayes_factor(np.array([7, 3]), shares=[0.5, 0.5])
    parts = [
        math.exp(betaln(k / 2 + 7, k / 2 + 3) - betaln(k / 2, k / 2) - 10 * math.log(0.5)) for k in (1e2, 1e4, 1e6)
    ]
    assert found == pytest.approx(math.log(sum(parts) / 3))


def test_shares_that_hold_raise_no_alarm_however_often_one_looks() -> None:
    """500 experiments of 30 days with unequal shares; 4 sigma above the promised share of false alarms."""
    rng, shares = np.random.default_rng(0), [0.2, 0.3, 0.5]
    alarms = sum(check_sample_ratio(rng.multinomial(200, shares, size=30).T, shares=shares).alarm for _ in range(500))
    assert alarms / 500 <= FALSE_ALARMS + 4 * math.sqrt(FALSE_ALARMS / 500)


def test_a_variant_that_loses_users_is_found_and_stays_found() -> None:
    """52 % in place of 50 % in the first ten days, then as planned: the alarm is not taken back."""
    rng = np.random.default_rng(1)
    early = rng.multinomial(4_000, [0.52, 0.48], size=10)
    late = rng.multinomial(4_000, [0.48, 0.52], size=10)
    found = check_sample_ratio(np.concatenate([early, late]).T, shares=[0.5, 0.5])
    assert found.alarm
    assert found.alarm_after is not None
    assert found.alarm_after <= 40_000
    assert found.p_value < FALSE_ALARMS
    assert sum(found.units) == 80_000


def test_users_who_were_counted_twice_would_not_be_shares() -> None:
    assert check_sample_ratio(np.array([[50, 0], [50, 0]]), shares=[0.5, 0.5]).p_value == 1
