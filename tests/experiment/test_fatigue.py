"""Fatigue: slopes of the truth are recovered, forecasts hold, warnings come in time, and bad counts are refused."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from clickscape.config import SimulateConfig
from clickscape.errors import ExperimentError
from clickscape.experiment.decay import fit_decay
from clickscape.experiment.fatigue import forecast_fatigue
from clickscape.experiment.fatigue_report import FatigueReport
from clickscape.experiment.fatigue_rows import DailyLog
from clickscape.simulator import changing_traffic
from clickscape.simulator.changing_traffic import ChangingTraffic
from clickscape.types import Creative

BANDS = np.array([1, 2, 3, 5, 9, 17, 33, 65])


def log(*, seed: int, creatives: int = 40, **options: object) -> ChangingTraffic:
    rng = np.random.default_rng(seed)
    ads = [Creative(f"c{n:03}", f"p{n // 4:02}", "", "", {}, "studio", "writer", n) for n in range(creatives)]
    base = np.log(0.04) + np.repeat(0.5 * rng.normal(size=creatives // 4), 4) + 0.25 * rng.normal(size=creatives)
    asked = {"median_impressions": 6_000, "frequency": 5.0, "launch_days": 14, "drift": 0.05, "rhythm": 0.1}
    config = SimulateConfig.model_validate({**asked, **options})
    return changing_traffic.draw(ads, base[:, None], rng=rng, config=config, shares={"all": 1.0}, examination=(1.0,))


def counts(drawn: ChangingTraffic, *, last: int = 400) -> pa.Table:
    """Counts of the log up to a day, from the arrays behind it."""
    until = int(np.searchsorted(drawn.day, last + 1))
    creative, day, user = drawn.creative()[:until], drawn.day[:until], drawn.user[:until]
    band = np.searchsorted(BANDS, drawn.exposures[:until], side="right")
    activity = np.searchsorted(BANDS, np.bincount(user)[user], side="right")
    key, cell = np.unique(np.column_stack([creative, day, band, activity]), axis=0, return_inverse=True)
    cell = cell.ravel()
    shown = np.bincount(cell)
    return pa.table(
        {
            "creative_id": np.array(drawn.total.creative_ids)[key[:, 0]],
            "product_id": np.array(drawn.total.product_ids)[key[:, 0]],
            "day": key[:, 1].astype(np.int64) + 20_000,
            "activity": key[:, 3],
            "impressions": shown,
            "clicks": np.bincount(cell, weights=drawn.clicked[:until]).astype(np.int64),
            "exposures": np.bincount(cell, weights=np.log1p(drawn.exposures[:until])) / shown,
        }
    )


@pytest.fixture(scope="module")
def tiring() -> tuple[ChangingTraffic, FatigueReport]:
    """A log of six weeks, read after four."""
    drawn = log(seed=1, days=42, fatigue=0.2, wear_out=0.05)
    return drawn, forecast_fatigue(counts(drawn, last=27))


def covered(estimates: list, truth: np.ndarray) -> int:
    return sum(one.low <= value <= one.high for one, value in zip(estimates, truth, strict=True))


def test_slopes_of_the_truth_are_recovered(tiring: tuple[ChangingTraffic, FatigueReport]) -> None:
    drawn, report = tiring
    assert report.separable
    assert report.mean_per_exposure is not None
    assert report.mean_per_exposure.high < 0
    # 40 intervals of 95 %: 31 or fewer would be more than 4 standard deviations away
    assert covered([one.per_exposure for one in report.creatives], -drawn.truth["fatigue"]) >= 32
    assert covered([one.per_week for one in report.creatives], -drawn.truth["wear_out"]) >= 32
    assert covered(list(report.drifts.values()), drawn.truth["drift"][::4]) >= 6
    told = [one.per_exposure.value for one in report.creatives if one.per_exposure]
    assert np.corrcoef(told, -drawn.truth["fatigue"])[0, 1] > 0.2
    assert report.dispersion < 1.3, "clicks are binomial"


def test_the_weekly_rhythm_is_told_and_is_no_wear(tiring: tuple[ChangingTraffic, FatigueReport]) -> None:
    drawn, report = tiring
    assert date(1970, 1, 1) + timedelta(days=20_000) == date(2024, 10, 4)  # the log's first day, a Friday
    true = np.roll(np.array(drawn.course.rhythm), 4)  # from Monday on
    told = np.array([one.value for one in report.weekdays.values()])
    assert next(iter(report.weekdays)) == "Monday"
    assert np.corrcoef(told, true)[0, 1] > 0.8


def test_forecasts_of_coming_days_hold_their_truth(tiring: tuple[ChangingTraffic, FatigueReport]) -> None:
    drawn, report = tiring
    creative, at = drawn.creative(), 27 + 10
    that_day = drawn.day == at
    shown = np.bincount(creative[that_day], minlength=40)
    ctr = np.bincount(creative[that_day], weights=drawn.chance[that_day], minlength=40) / shown
    told = [one.forecast[9] for one in report.creatives]
    assert {one.day for one in told} == {date(2024, 10, 4) + timedelta(days=at)}
    assert covered([one.ctr for one in told], ctr) >= 32
    widths = [np.log(one.ctr.high / one.ctr.low) for one in told]
    assert np.median(widths) < 0.7, "an interval that says something"


@pytest.mark.slow
def test_warnings_come_before_the_drop_and_not_where_nothing_tires() -> None:
    tired = forecast_fatigue(counts(log(seed=2, days=14, launch_days=7, fatigue=0.35, wear_out=0.1)))
    assert len(tired.to_replace) > 20
    drops = [one.replacement.drop for one in tired.to_replace if one.replacement and one.replacement.drop]
    assert drops == sorted(drops), "the most urgent first"
    still = forecast_fatigue(counts(log(seed=3, days=28)))
    assert len(still.to_replace) <= 3
    lines = list(tired.lines())
    assert any("creatives on air need a replacement within 14 days" in line for line in lines)
    assert any("worn out" in line and "sure" in line for line in lines)


def test_a_product_that_drifts_down_as_a_whole_does_not_wear() -> None:
    """Creatives that begin late fall from the same day on as the old ones: that is the market."""
    days, rng = 42, np.random.default_rng(0)
    rows = []
    for product in range(12):
        for number in range(4):
            first = 7 * number
            for day in range(first, days):
                slope = -0.15 if product == 0 else 0.0
                rate = 0.05 * np.exp(slope * day / 7)
                rows.append((f"p{product:02}c{number}", f"p{product:02}", day, 800, rng.binomial(800, rate)))
    names = ("creative_id", "product_id", "day", "impressions", "clicks")
    table = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    report = forecast_fatigue(table)
    assert report.mean_per_exposure is None
    assert report.drifts["p00"].high < -0.05
    assert not [one for one in report.to_replace if one.replacement and one.replacement.reason == "worn out"]


def test_daily_counts_and_finer_rows_of_the_same_days_say_the_same() -> None:
    """Two rows of a day are one row of their sum, and a date is its number."""
    rng = np.random.default_rng(4)
    day = np.tile(np.arange(20), 8)
    names = np.repeat([f"c{n}" for n in range(8)], 20)
    halves = rng.integers(50, 150, size=(2, 160))
    clicks = rng.binomial(halves, 0.1 * np.exp(-0.02 * day))
    fine = pa.table({
        "creative_id": np.concatenate([names, names]), "product_id": np.full(320, "p"),
        "day": np.concatenate([day, day]), "impressions": halves.ravel(), "clicks": clicks.ravel(),
    })  # fmt: skip
    epoch = date(1970, 1, 1)
    whole = pa.table({
        "creative_id": names, "product_id": np.full(160, "p"),
        "day": [epoch + timedelta(days=int(one)) for one in day],
        "impressions": halves.sum(0), "clicks": clicks.sum(0),
    })  # fmt: skip
    one, other = forecast_fatigue(fine), forecast_fatigue(whole)
    for left, right in zip(one.creatives, other.creatives, strict=True):
        assert left.per_week.value == pytest.approx(right.per_week.value, abs=1e-6)
        assert left.forecast[-1].ctr.low == pytest.approx(right.forecast[-1].ctr.low, rel=1e-4)


def test_the_arrow_is_the_inverse_of_the_whole_information() -> None:
    """Means and variances of the block elimination are those of one dense matrix."""
    drawn = log(seed=5, creatives=8, days=14, launch_days=3, median_impressions=300)
    decay = fit_decay(DailyLog.read(counts(drawn)).rows)
    rows = DailyLog.read(counts(drawn)).rows
    creatives, products, names = rows.creatives, rows.products, decay.names
    count = 3 * creatives + 2 * products + len(names)
    design = np.zeros((len(rows.creative), count))
    each = np.arange(len(rows.creative))
    assert rows.exposures is not None
    local = np.column_stack([np.ones(len(each)), rows.exposures, rows.weeks])
    for place in range(3):
        design[each, 3 * rows.creative + place] = local[:, place]
        design[:, 3 * creatives + 2 * products + place] = local[:, place]
    product = rows.product[rows.creative]
    design[each, 3 * creatives + 2 * product] = 1
    design[each, 3 * creatives + 2 * product + 1] = rows.calendar
    start = 3 * creatives + 2 * products + 3
    for factor in rows.factors:
        design[each, start + factor.code] = 1
        start += len(factor.values)
    theta = np.concatenate([decay.local.ravel(), decay.shared.ravel(), decay.common])
    mean = rows.examinations * np.exp(design @ theta)
    sd = {"intercept": 10.0, "mean exposures": 0.3, "mean weeks": 0.15, "activity": 1.0, **decay.sd}
    kinds = ["base", "exposures", "weeks"] * creatives + ["level", "drift"] * products
    kinds += [*names[:3], *(name.split()[0] for name in names[3:])]
    prior = np.array([sd[kind] ** -2.0 for kind in kinds])
    gradient = design.T @ (rows.clicks - mean) / decay.dispersion - prior * theta
    assert np.abs(gradient).max() < 1e-2 * np.sqrt(rows.clicks.sum())
    inverse = np.linalg.inv(design.T @ (mean[:, None] * design) / decay.dispersion + np.diag(prior))
    rng = np.random.default_rng(6)
    for creative in (0, 5):
        parts = rng.normal(size=(1, 3)), rng.normal(size=(1, 2)), rng.normal(size=(1, len(names)))
        weights = np.zeros(count)
        weights[3 * creative : 3 * creative + 3] = parts[0]
        at = 3 * creatives + 2 * rows.product[creative]
        weights[at : at + 2], weights[3 * creatives + 2 * products :] = parts[1], parts[2]
        value, deviation = decay.combine(np.array([creative]), *parts)
        assert value[0] == pytest.approx(weights @ theta)
        assert deviation[0] == pytest.approx(np.sqrt(weights @ inverse @ weights), rel=0.02)


def test_a_creative_off_air_is_neither_forecast_nor_replaced() -> None:
    day = np.concatenate([np.arange(10), np.arange(30)])
    names = ["old"] * 10 + ["new"] * 30
    table = pa.table({"creative_id": names, "product_id": ["p"] * 40, "day": day,
                      "impressions": [500] * 40, "clicks": [40 - int(one) for one in day]})  # fmt: skip
    report = forecast_fatigue(table)
    new, old = report.creatives
    assert (old.creative_id, old.forecast, old.replacement) == ("old", (), None)
    assert len(new.forecast) == 14
    assert new.forecast[0].day == new.last_day + timedelta(days=1)
    assert new.remaining.high < 1


GOOD = {"creative_id": ["a"] * 8, "product_id": ["p"] * 8, "day": list(range(8)), "impressions": [9] * 8,
        "clicks": [1] * 8}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"clicks": [0] * 8}, "the log has no clicks"),
        ({"impressions": [9] * 7 + [0]}, "row 8: 1 clicks of 0 impressions; expected clicks of at least one"),
        ({"clicks": [1] * 7 + [-1]}, "row 8: -1 clicks of 9 impressions"),
        ({"day": [0] * 8}, "the log spans 1 days; fatigue is read from 7 to 400. Wait"),
        ({"day": [0] * 7 + [900]}, "Give the last ones"),
        ({"day": ["Monday"] * 8}, "the column day holds string"),
        ({"day": [None, *range(7)]}, "has no day"),
        ({"product_id": ["p"] * 7 + ["q"]}, "creative 'a' belongs to two products"),
    ],
)
def test_counts_that_say_nothing_are_refused_with_the_remedy(change: dict[str, list], said: str) -> None:
    with pytest.raises(ExperimentError, match=said):
        forecast_fatigue(pa.table({**GOOD, **change}))


def test_limits_out_of_range_are_refused() -> None:
    with pytest.raises(ExperimentError, match="counts without a column 'day'"):
        forecast_fatigue(pa.table(GOOD).drop_columns("day"))
    with pytest.raises(ExperimentError, match="keep must lie between 0 and 1, got 80"):
        forecast_fatigue(pa.table(GOOD), keep=80)
    with pytest.raises(ExperimentError, match=r"certainty must lie between 0\.5 and 1"):
        forecast_fatigue(pa.table(GOOD), certainty=0.2)
