"""Are the variants seen by as many users as planned? A check that may be read every day.

More users in one variant than its share means that something beside chance decides who is counted: a page that loads
too slowly, a bot filter that acts on one side. The evidence is a Bayes factor of multinomial counts against Dirichlet
alternatives, a martingale where the shares hold: the chance that it ever reaches 1/α is α at most (Lindon and Malek
2022, arXiv 2011.03567). Every user counts once, on the day when he was first seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

FALSE_ALARMS = 0.01
"""Chance of ever raising an alarm though the shares hold."""

_CONCENTRATIONS = (1e2, 1e4, 1e6)  # alternatives some 5, 0.5 and 0.05 points from even shares, in equal parts


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """Units seen per variant against the planned shares; `p_value` may be read at any time.

    alarm_after: units that had been seen when the alarm was raised, None for no alarm. It is not taken back.
    """

    units: tuple[int, ...]
    shares: tuple[float, ...]
    p_value: float
    alarm_after: int | None

    @property
    def alarm(self) -> bool:
        """Whether the shares do not hold, or something beside them decides who is counted."""
        return self.alarm_after is not None


def check_sample_ratio(new_units: NDArray, *, shares: Sequence[float]) -> SampleRatio:
    """Return whether units first seen, (variant, day), came by these shares (variant,), which add up to 1."""
    counts = np.cumsum(np.asarray(new_units, np.int64), axis=1)
    evidence = log_bayes_factor(counts, shares=shares)
    worst = max(float(evidence.max(initial=0.0)), 0.0)
    over = np.flatnonzero(evidence >= -math.log(FALSE_ALARMS))
    after = int(counts[:, over[0]].sum()) if len(over) else None
    return SampleRatio(tuple(counts[:, -1].tolist()), tuple(map(float, shares)), math.exp(-worst), after)


def log_bayes_factor(counts: NDArray, *, shares: Sequence[float]) -> NDArray[np.float64]:
    """Return the log evidence against these shares of cumulated counts (variant, …), (…)."""
    share = np.asarray(shares, float).reshape(-1, *(1 for _ in np.shape(counts)[1:]))
    seen = np.asarray(counts, float)
    total = seen.sum(axis=0)
    null = (seen * np.log(share)).sum(axis=0)
    parts = []
    for concentration in _CONCENTRATIONS:
        prior = concentration * share
        inside = (gammaln(prior + seen) - gammaln(prior)).sum(axis=0)
        parts.append(inside - gammaln(concentration + total) + gammaln(concentration) - null)
    return np.asarray(logsumexp(parts, axis=0) - math.log(len(parts)))
