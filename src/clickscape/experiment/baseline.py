"""What a log says of the traffic that an experiment is planned for: CTR, users a day, and how much users differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickscape.errors import ExperimentError
from clickscape.experiment.lift_sequence import LEAST_CLICKS, LEAST_UNITS
from clickscape.experiment.plan import Traffic, design_effect

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Baseline:
    """Traffic of so many days; the fields are those of `plan.Goal`, `plan.Traffic` and `plan.design_effect`."""

    days: int
    ctr: float
    users_per_day: float
    impressions_per_user: float
    impressions_cv: float
    design_effect: float

    def line(self) -> str:
        """Return it in one sentence for people."""
        return (
            f"the last {self.days} days of the log: CTR {self.ctr:.3%}, {self.users_per_day:,.0f} new users a day with "
            f"{self.impressions_per_user:.1f} impressions each, design effect {self.design_effect:.2f}"
        )


def baseline(impressions: Integers, clicks: Integers, *, days: int) -> Baseline:
    """Return what users' totals over so many days say; impressions, clicks: (user,), every user with an impression.

    design_effect: variance of the CTR by the delta method over users, over that of independent impressions.
    ExperimentError for too few clicks or users to plan by.
    """
    users, shown, clicked = len(impressions), int(impressions.sum()), int(clicks.sum())
    if clicked < LEAST_CLICKS or users < LEAST_UNITS or clicked >= shown:
        raise ExperimentError(f"the last {days} days of the log have {shown:,} impressions and {clicked:,} clicks of "
                              f"{users:,} users, too few to plan by. Pass --ctr and --users-per-day.")  # fmt: skip
    ctr = clicked / shown
    clustered = float(np.sum((clicks - ctr * impressions) ** 2)) * users / (users - 1)
    return Baseline(
        days=days,
        ctr=ctr,
        users_per_day=users / days,
        impressions_per_user=shown / users,
        impressions_cv=float(impressions.std() / impressions.mean()),
        design_effect=clustered / (shown * ctr * (1 - ctr)),
    )


def planned_traffic(
    known: Baseline | None,
    *,
    ctr: float | None = None,
    users_per_day: float | None = None,
    impressions_per_user: float | None = None,
    impressions_cv: float | None = None,
    ctr_cv: float | None = None,
) -> tuple[float, Traffic]:
    """Return CTR and traffic to plan for: what is given, else what is known, else the defaults of `design_effect`.

    The design effect is the known one, unless something is given that it depends on. ExperimentError where neither
    says the CTR or the users.
    """
    if known is None:
        for option, value in (("--ctr", ctr), ("--users-per-day", users_per_day)):
            if value is None:
                raise ExperimentError(f"{option} is missing, and no workspace whose log says it. Give one of them.")
    of_user = impressions_per_user if impressions_per_user is not None else known.impressions_per_user if known else 1.0
    level = ctr if ctr is not None else known.ctr if known else 0.0
    users = users_per_day if users_per_day is not None else known.users_per_day if known else 0.0
    if known and (ctr, impressions_per_user, impressions_cv, ctr_cv) == (None,) * 4:
        return level, Traffic(users, of_user, known.design_effect)
    spread = impressions_cv if impressions_cv is not None else known.impressions_cv if known else 1.0
    taste = 0.7 if ctr_cv is None else ctr_cv
    effect = design_effect(ctr=level, impressions_per_user=of_user, impressions_cv=spread, ctr_cv=taste)
    return level, Traffic(users, of_user, effect)
