"""Nobody wins by better days: effects of strata are found, divided out, and their uncertainty is carried along."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from clickscape.clicks import cells, ctr, exposure, logs
from clickscape.clicks.pairs import kept_pairs, to_pairs
from clickscape.config import ClicksConfig
from clickscape.types import CreativePair

DAYS = [f"2026-01-{day:02}" for day in range(1, 15)]
BETTER = np.where(np.arange(14) % 7 < 2, 2.0, 1.0)  # two days of the week with doubled CTR
LOOKED_AT = np.array([1.0, 0.6, 0.4])


def table(shown: np.ndarray, clicked: np.ndarray, *, per_product: int, **columns: list[str]) -> pa.Table:
    """Counts from arrays (creative, position, day, …); `columns`: name → values of each further axis."""
    place = np.nonzero(shown)
    names = pa.array([f"c{number:05d}" for number in place[0]])
    further = {name: pa.array(np.array(columns[name])[place[axis + 2]]) for axis, name in enumerate(columns)}
    return pa.table(
        {
            "creative_id": names,
            "product_id": pa.array([f"p{number // per_product}" for number in place[0]]),
            "position": pa.array((place[1] + 1).astype(np.int32)),
            "impressions": shown[place],
            "clicks": clicked[place],
            **further,
        }
    )


def learned(counts: pa.Table, **settings: object) -> tuple[list[CreativePair], list[dict], ctr.ClickModel]:
    config = ClicksConfig.model_validate(settings)
    connection = logs.connect(threads=1)
    estimates, model = ctr.estimate_ctr(connection.create_table("counts", counts), config=config)
    return (
        to_pairs(kept_pairs(connection.create_table("estimates", estimates), config=config)),
        estimates.to_pylist(),
        model,
    )


def favored(
    seed: int, *, products: int, gap: np.ndarray | float, lean: float = 4.0, days: np.ndarray = BETTER
) -> pa.Table:
    """Two creatives a product, the second better by `gap` of log CTR; the first is shown `lean` times as much on the
    better days, and the other on the others."""
    rng = np.random.default_rng(seed)
    truth = np.log(0.03) + np.repeat(rng.normal(0, 0.4, products), 2)
    truth[1::2] += gap
    liking = np.where(days > np.median(days), lean, 1.0)
    day_share = np.where(np.arange(2 * products)[:, None] % 2 == 0, liking, 1 / liking)
    day_share /= day_share.sum(axis=1, keepdims=True)
    place_share = rng.dirichlet(np.ones(3) * 4, size=2 * products)
    cell = place_share[:, :, None] * day_share[:, None, :]
    shown = rng.multinomial(3_000, cell.reshape(len(cell), -1)).reshape(cell.shape)
    clicked = rng.poisson(shown * np.exp(truth)[:, None, None] * LOOKED_AT[:, None] * days)
    return table(shown, np.minimum(clicked, shown), per_product=2, day=DAYS[: len(days)])


def test_two_days_and_two_creatives_by_hand() -> None:
    # both creatives get twice the clicks on day 2; a had 900 of 1,000 impressions there, b 100, and b is better:
    # 2 % and 4 % on day 1, 4 % and 8 % on day 2
    shown = np.array([[[100, 900]], [[900, 100]]]) * 100
    clicked = np.array([[[2, 36]], [[36, 8]]]) * 100
    counts = table(shown, clicked, per_product=2, day=DAYS[:2])
    (naive,), _, _ = learned(counts, within_strata=False, shrinkage="beta")
    (pair,), rows, model = learned(counts, shrinkage="beta", prior_impressions=1e-6)
    assert naive.gap == pytest.approx(np.log(4.4 / 3.8), rel=0.01), "by the totals, b is hardly better"
    (day,) = model.strata
    assert day.effect[1] / day.effect[0] == pytest.approx(2, rel=1e-3)
    assert np.mean(day.effect) == pytest.approx(1), "1 on the average impression"
    # examinations: a 10,000 · ⅔ + 90,000 · 4⁄3 impressions of the average day, b the other way round
    assert [row["examinations"] for row in rows] == pytest.approx([126_667, 73_333], rel=1e-3)
    assert rows[1]["ctr"] / rows[0]["ctr"] == pytest.approx(2, rel=1e-3)
    assert pair.preference < 1e-6


def test_a_creative_shown_on_better_days_gets_no_credit_for_them() -> None:
    counts = favored(1, products=150, gap=0.15)
    naive, _, _ = learned(counts, within_strata=False)
    fair, _, model = learned(counts)
    assert np.mean([pair.preference > 0.5 for pair in naive]) > 0.85, "without strata, the worse one wins by its days"
    assert np.mean([pair.preference < 0.5 for pair in fair]) > 0.75
    truth = BETTER / np.mean(BETTER)
    (day,) = model.strata
    ratio = np.array(day.effect) / truth
    assert np.log(ratio / ratio.mean()) == pytest.approx(np.zeros(14), abs=0.08)
    assert model.examination.probability == pytest.approx(LOOKED_AT, rel=0.06)


@pytest.mark.slow
def test_probabilities_within_strata_are_calibrated() -> None:
    gap = np.random.default_rng(2).normal(0, 0.3, 3_000)
    fair, _, _ = learned(favored(3, products=3_000, gap=gap))
    naive, _, _ = learned(favored(3, products=3_000, gap=gap), within_strata=False)
    right = {f"p{number}": gap[number] < 0 for number in range(3_000)}

    def log_loss(found: list[CreativePair]) -> float:
        stated = np.array([pair.preference if right[pair.product_id] else 1 - pair.preference for pair in found])
        return float(-np.mean(np.log(np.maximum(stated, 1e-12))))

    assert log_loss(fair) < 0.5 < 1.0 < log_loss(naive)
    preference = np.array([pair.preference for pair in fair])
    first = np.array([right[pair.product_id] for pair in fair])
    for low, high in pairwise((0, 0.1, 0.3, 0.7, 0.9, 1)):
        inside = (preference >= low) & (preference < high)
        assert inside.sum() > 250
        assert first[inside].mean() == pytest.approx(preference[inside].mean(), abs=0.06)


def test_creatives_that_share_no_day_are_not_ordered() -> None:
    # all first creatives ran on days 1–7 and all second ones on days 8–14: twice the clicks may be a better week
    rng = np.random.default_rng(4)
    shown = np.zeros((80, 1, 14), dtype=int)
    shown[0::2, :, :7] = shown[1::2, :, 7:] = 400
    clicked = rng.poisson(shown * np.where(np.arange(80) % 2, 0.06, 0.03)[:, None, None])
    counts = table(shown, clicked, per_product=2, day=DAYS)
    trusting, _, _ = learned(counts, within_strata=False)
    careful, rows, _ = learned(counts)
    assert max(pair.preference for pair in trusting) < 0.01
    assert np.median([pair.preference for pair in careful]) > 0.08
    assert min(row["log_ctr_se"] for row in rows) > 0.15
    # one creative that ran through both weeks is enough to tell them apart
    bridge = np.full((2, 1, 14), 4_000)
    both = table(
        np.concatenate([shown, bridge]), np.concatenate([clicked, rng.poisson(bridge * 0.05)]), per_product=2, day=DAYS
    )
    linked, _, model = learned(both)
    assert np.median([pair.preference for pair in linked]) < 0.01
    assert max(model.strata[0].log_se) < 0.15


def test_several_strata_and_positions_are_found_together() -> None:
    rng = np.random.default_rng(5)
    device, day = np.array([1.0, 1.6]), np.array([1.0, 1.3, 0.8])
    mixed = rng.dirichlet(np.ones(18), size=300).reshape(300, 3, 3, 2)
    shown = np.stack([rng.multinomial(4_000, one.ravel()).reshape(one.shape) for one in mixed])
    ctrs = 0.03 * np.exp(rng.normal(0, 0.3, 300))
    chance = ctrs[:, None, None, None] * LOOKED_AT[:, None, None] * day[:, None] * device
    counts = table(shown, rng.binomial(shown, chance), per_product=3, day=DAYS[:3], device=["desktop", "phone"])
    _, rows, model = learned(counts)
    assert [stratum.name for stratum in model.strata] == ["day", "device"]
    for stratum, truth in zip(model.strata, (day, device), strict=True):
        away = np.log(stratum.effect) - np.log(truth)
        assert np.abs((away - away.mean()) / np.array(stratum.log_se)).max() < 3.5
        assert max(stratum.log_se) < 0.03
    errors = np.log(model.examination.probability[1:]) - np.log(LOOKED_AT[1:])
    assert np.abs(errors / np.array(model.examination.log_se[1:])).max() < 3.5
    scaled = np.array([row["log_ctr"] for row in rows]) - np.log(ctrs)
    assert np.std(scaled / np.array([row["log_ctr_se"] for row in rows])) == pytest.approx(1, abs=0.15)


def test_uninformative_strata_are_left_out_with_a_reason() -> None:
    shown = np.full((2, 2, 1, 401), 2)
    clicked = np.zeros_like(shown)
    clicked[:, :, :, :50] = 1
    counts = table(shown, clicked, per_product=2, day=DAYS[:1], audience=[f"u{number}" for number in range(401)])
    read = cells.read(logs.connect(threads=1).create_table("counts", counts))
    found = exposure.fit_exposure(read, position_correction=True, within_strata=True)
    assert [(stratum.name, stratum.reason) for stratum in found.strata] == [
        ("day", "the same for every impression"),
        ("audience", "401 values; a stratum has at most 400"),
    ]
    assert found.multiplier == pytest.approx(np.ones(len(read.creative)))
    assert exposure.fit_exposure(read, position_correction=False, within_strata=False).strata == ()


def test_a_stratum_that_is_the_position_leaves_the_position_its_effect() -> None:
    # the banner is always the second position: their effects cannot be told apart, and the prior gives them to it
    rng = np.random.default_rng(6)
    shown = np.zeros((200, 2, 2), dtype=int)
    shown[:, 0, 0], shown[:, 1, 1] = rng.integers(500, 3_000, (2, 200))
    clicked = rng.poisson(shown * 0.04 * np.array([1, 0.5])[:, None])
    _, _, model = learned(table(shown, clicked, per_product=2, placement=["feed", "banner"]))
    assert model.examination.probability[1] == pytest.approx(0.5, rel=0.06)
    assert model.strata[0].effect == pytest.approx((1, 1), abs=0.02)


def test_the_order_of_rows_changes_nothing() -> None:
    counts = favored(7, products=20, gap=0.1)
    shuffled = counts.take(pa.array(np.random.default_rng(0).permutation(len(counts))))
    assert learned(counts)[0] == learned(shuffled)[0]


@pytest.mark.parametrize("values", [pa.array(DAYS).cast(pa.date32()), pa.array(DAYS).cast(pa.timestamp("us"))])
def test_days_may_be_dates_times_or_text(values: pa.Array) -> None:
    counts = favored(8, products=10, gap=0.1)
    place = pa.array([DAYS.index(day) for day in counts["day"].to_pylist()])
    dated = counts.set_column(counts.column_names.index("day"), "day", values.take(place))
    assert learned(dated)[0] == learned(counts)[0]
