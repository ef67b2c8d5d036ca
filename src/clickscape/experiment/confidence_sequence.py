"""Intervals that hold at all times at once, so that whoever looks every day may stop on any day.

An asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, arXiv 2103.06476) is Robbins'
normal-mixture boundary of Brownian motion around an estimate, with the variance that was estimated. Its clock is not
the number of impressions, because users come back: it is the variance of the estimate's running sum, clustered by user
(`ratio.LogRatio.time`; decision 0042). The mSPRT (Johari, Koomen, Pekelis and Walsh 2022) stands beside it for
comparison: the same mixture, over a prior of the effect and by the clock of information.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import lambertw

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Mixture:
    """Width of the normal that boundaries are mixed over, in units of intrinsic time; fixed before the first look."""

    scale: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"the scale of a mixture is a number above 0, got {self.scale}")

    @classmethod
    def tightest_at(cls, time: float, *, level: float = 0.95) -> Mixture:
        """Return the mixture whose interval is narrowest when so much intrinsic time has passed."""
        ratio = -float(lambertw(-((1 - level) ** 2) / math.e, k=-1).real)  # solves r − log r = 1 − 2 log(1 − level)
        return cls(time / (ratio - 1))

    def half_width(self, *, variance: Floats, time: Floats, level: float = 0.95) -> Floats:
        """Return half the width of the interval around estimates with this variance at this intrinsic time, (…)."""
        grown = time + self.scale
        return np.sqrt(variance * grown / time * np.log(grown / (self.scale * (1 - level) ** 2)))

    def log_e_value(self, *, value: Floats, variance: Floats, time: Floats) -> Floats:
        """Return the log of the evidence against 0, whose chance of ever reaching 1/α is α at most where 0 is true.

        0 lies outside the interval of level 1 − α exactly where the e-value has reached 1/α.
        """
        grown = time + self.scale
        return np.asarray(0.5 * np.log(self.scale / grown) + value**2 / variance * time / (2 * grown))


def one_sided_level(level: float) -> float:
    """Return the level of the two-sided interval whose lower end alone is a bound of this level."""
    return 1 - 2 * (1 - level)


def always_valid_p(log_e_values: Floats) -> Floats:
    """Return the p-values (look,) that may be read at every look: the least of 1 / e-value so far, at most 1."""
    worst = np.fmax.accumulate(np.where(np.isnan(log_e_values), -np.inf, log_e_values))
    return np.exp(-np.maximum(worst, 0.0))


def msprt_log_e_value(*, value: Floats, variance: Floats, prior_sd: float) -> Floats:
    """Return the log of the evidence against 0 of the mixture sequential probability ratio test, (…)."""
    wide = variance + prior_sd**2
    return np.asarray(0.5 * np.log(variance / wide) + prior_sd**2 * value**2 / (2 * variance * wide))


def msprt_half_width(*, variance: Floats, prior_sd: float, level: float = 0.95) -> Floats:
    """Return half the width of the mixture sequential probability ratio test's interval, (…).

    variance: of the estimates. prior_sd: of the effect, mixed over as a normal around 0.
    """
    wide = variance + prior_sd**2
    return np.sqrt(variance * wide / prior_sd**2 * np.log(wide / (variance * (1 - level) ** 2)))
