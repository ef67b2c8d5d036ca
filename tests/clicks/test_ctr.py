"""Hand-worked estimates, and the truth of small simulations found again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta
from tests.clicks.reference import examine

from clickscape import clicks
from clickscape.clicks import ctr, logs
from clickscape.clicks.position import Examination
from clickscape.config import ClicksConfig

_EXAMINATION = np.array([1.0, 0.7, 0.5, 0.38, 0.3])


def table(
    creative: list[str], product: list[str], position: list[int], shown: list[int], clicked: list[int]
) -> pa.Table:
    return pa.table(
        {
            "creative_id": creative,
            "product_id": product,
            "position": pa.array(position, pa.int32()),
            "impressions": shown,
            "clicks": clicked,
        }
    )


def estimate(counts: pa.Table, **settings: object) -> tuple[list[dict[str, float]], Examination]:
    source = logs.connect(threads=1).create_table("counts", counts)
    estimates, model = ctr.estimate_ctr(source, config=ClicksConfig.model_validate(settings))
    return estimates.to_pylist(), model.examination


def simulated(
    rng: np.random.Generator, *, products: int, per_product: int, impressions: int, log_sd: float = 0.25
) -> tuple[pa.Table, np.ndarray]:
    """Counts of a world in which good creatives get good positions, and its true log-CTRs."""
    count = products * per_product
    product = np.repeat(np.arange(products), per_product)
    truth = np.log(0.03) + rng.normal(0, 0.4, products)[product] + rng.normal(0, log_sd, count)
    better = np.exp(truth - truth.mean())[:, None] * np.array([3, 1.5, 1, 0.7, 0.5])
    shown = np.stack([rng.multinomial(impressions, rng.dirichlet(row)) for row in better])
    clicked = rng.binomial(shown, np.minimum(np.exp(truth)[:, None] * _EXAMINATION, 1))
    row, column = np.indices(shown.shape)
    counts = table(
        [f"c{number:05d}" for number in row.ravel()],
        [f"p{number}" for number in product[row.ravel()]],
        (column.ravel() + 1).tolist(),
        shown.ravel().tolist(),
        clicked.ravel().tolist(),
    )
    return counts, truth


def test_examination_of_two_positions_is_the_one_worked_out_by_hand() -> None:
    # 1,000 impressions everywhere; clicks 40 + 20 and 20 + 10: position 2 is looked at half as often as position 1,
    # so 2,000 impressions are 1,500 examinations, and the CTRs are 60 / 1,500 and 30 / 1,500
    counts = table(["a", "a", "b", "b"], ["p"] * 4, [1, 2, 1, 2], [1000] * 4, [40, 20, 20, 10])
    (first, second), examination = estimate(counts, shrinkage="beta", prior_impressions=1e-6)
    assert examination.probability == pytest.approx((1, 0.5))
    assert examination.corrected
    assert (first["impressions"], first["clicks"]) == (2000, 60)
    assert first["examinations"] == pytest.approx(1500)
    assert (first["ctr"], second["ctr"]) == pytest.approx((0.04, 0.02), rel=1e-6)
    # log examination of two positions: variance 1/60 + 1/30 of the clicks there
    assert examination.log_se == pytest.approx((0, np.sqrt(1 / 60 + 1 / 30)))


def test_the_beta_posterior_is_the_one_worked_out_by_hand() -> None:
    # 3 of 100 and 1 of 100, one position. Mean of the log: (4 + ½) / 201; the product's mean: (4 + 50 · that) / 250
    counts = table(["a", "b"], ["p", "p"], [1, 1], [100, 100], [3, 1])
    (first, second), _ = estimate(counts, shrinkage="beta", prior_impressions=50)
    mean = (4 + 50 * 4.5 / 201) / 250
    assert first["ctr"] == pytest.approx((50 * mean + 3) / 150)
    assert second["ctr"] == pytest.approx((50 * mean + 1) / 150)
    posterior = beta(50 * mean + 3, 50 * (1 - mean) + 97)
    assert (first["ctr_low"], first["ctr_high"]) == pytest.approx(posterior.interval(0.95))
    draws = np.log(posterior.rvs(400_000, random_state=np.random.default_rng(1)))
    assert first["log_ctr"] == pytest.approx(draws.mean(), abs=0.005)
    assert first["log_ctr_se"] == pytest.approx(draws.std(), rel=0.01)


def test_examination_is_recovered_when_better_creatives_get_better_positions() -> None:
    counts, truth = simulated(np.random.default_rng(3), products=300, per_product=4, impressions=3_000, log_sd=0.5)
    estimates, examination = estimate(counts)
    error = (np.log(examination.probability) - np.log(_EXAMINATION))[1:] / np.asarray(examination.log_se)[1:]
    assert np.abs(error).max() < 3.5
    assert max(examination.log_se) < 0.03
    naive = [row["clicks"] / row["impressions"] for row in estimates]
    found = [row["log_ctr"] for row in estimates]
    assert np.corrcoef(found, truth)[0, 1] > np.corrcoef(np.log(np.maximum(naive, 1e-4)), truth)[0, 1] + 0.02


def test_intervals_and_standard_errors_cover_the_truth() -> None:
    rng = np.random.default_rng(4)
    counts, truth = simulated(rng, products=250, per_product=6, impressions=2_000)
    estimates, _ = estimate(counts)
    low, high, middle, error = (
        np.array([row[name] for row in estimates]) for name in ("ctr_low", "ctr_high", "log_ctr", "log_ctr_se")
    )
    covered = np.mean((low <= np.exp(truth)) & (np.exp(truth) <= high))
    assert 0.93 <= covered <= 0.975
    assert np.std((middle - truth) / error) == pytest.approx(1, abs=0.1)


def test_standard_errors_of_examination_are_calibrated() -> None:
    rng = np.random.default_rng(5)
    scaled = []
    for _ in range(60):
        shown = rng.multinomial(400, rng.dirichlet(np.ones(5), 60))
        clicked = rng.binomial(shown, 0.1 * _EXAMINATION)
        row, column = np.indices(shown.shape)
        found = examine(row.ravel(), column.ravel() + 1, shown.ravel(), clicked.ravel())
        scaled.append((np.log(found.probability) - np.log(_EXAMINATION))[1:] / np.asarray(found.log_se)[1:])
    assert np.std(scaled) == pytest.approx(1, abs=0.15)
    assert np.mean(scaled) == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (table(["a", "b"], ["p", "p"], [1, 2], [100, 100], [3, 1]), "shown both at position 1 and at 2"),
        (table(["a", "b", "b"], ["p"] * 3, [1, 2, 3], [100] * 3, [3, 1, 1]), "shown both at position 1 and at 2, 3"),
        (table(["a", "b", "b"], ["p"] * 3, [1, 1, 2], [100] * 3, [3, 0, 0]), "no creative with clicks"),
    ],
)
def test_positions_that_nobody_can_compare_are_not_corrected_and_the_reason_is_said(
    counts: pa.Table, reason: str
) -> None:
    estimates, examination = estimate(counts)
    assert not examination.corrected
    assert reason in str(examination.reason)
    assert all(row["examinations"] == row["impressions"] for row in estimates)


def test_correction_can_be_switched_off() -> None:
    counts = table(["a", "a", "b", "b"], ["p"] * 4, [1, 2, 1, 2], [1000] * 4, [40, 20, 20, 10])
    estimates, examination = estimate(counts, position_correction=False)
    assert [row["examinations"] for row in estimates] == [2000, 2000]
    assert examination.reason == "position_correction is off"


def test_a_position_without_clicks_is_small_and_not_zero() -> None:
    # the imaginary creative adds ½ click to both positions, so their odds are 40.5 to ½ with equal impressions
    counts = table(["a", "a"], ["p", "p"], [1, 2], [1000, 1000], [40, 0])
    (row,), examination = estimate(counts)
    assert examination.probability[1] == pytest.approx(0.5 / 40.5)
    assert row["examinations"] == pytest.approx(1000 + 1000 * 0.5 / 40.5)


def test_separable_clicks_still_give_finite_examination() -> None:
    # a was clicked at 1 only, b at 2 only and never shown at 1: on its own, the examination of 2 would sink to 0
    counts = table(["a", "a", "b"], ["p"] * 3, [1, 2, 2], [1000, 1000, 1000], [40, 0, 30])
    _, examination = estimate(counts)
    assert 0.005 < examination.probability[1] < 0.05
    assert examination.log_se[1] > 1


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(1, 4), st.integers(0, 1000), st.floats(0, 1)), min_size=1, max_size=12
    )
)
@settings(max_examples=25)
def test_whatever_the_counts_every_number_is_finite_and_in_its_range(rows: list[tuple[int, int, int, float]]) -> None:
    cells = {(creative, position): (shown, int(shown * share)) for creative, position, shown, share in rows}
    counts = table(
        [f"c{creative}" for creative, _ in cells],
        [f"p{creative // 3}" for creative, _ in cells],
        [position for _, position in cells],
        [shown for shown, _ in cells.values()],
        [clicked for _, clicked in cells.values()],
    )
    estimates, examination = estimate(counts)
    assert all(np.isfinite(value) and value > 0 for value in examination.probability)
    for row in estimates:
        assert 0 <= row["ctr_low"] <= row["ctr"] * (1 + 1e-9)
        assert row["ctr"] <= 1
        assert row["ctr_low"] <= row["ctr_high"] <= 1
        assert np.isfinite([row["log_ctr"], row["examinations"]]).all()
        assert row["log_ctr_se"] > 0


def test_counts_are_estimated_without_a_workspace() -> None:
    counts = table(["a", "b"], ["p", "p"], [1, 1], [5000, 5000], [150, 100])
    report = clicks.estimate(logs.connect().create_table("counts", counts))
    (pair,) = report.pairs
    assert pair.preference > 0.99
    assert report.total.clicks == 250


def test_more_positions_than_strata_may_have_values_are_not_corrected() -> None:
    # 401 "positions" are no places on a page: estimating their examinations takes minutes, and says nothing
    for count, corrected in ((400, True), (401, False)):
        names = ["a"] * count + ["b"] * count
        counts = table(names, ["p"] * 2 * count, [*range(1, count + 1)] * 2, [10] * 2 * count, [1] * 2 * count)
        _, examination = estimate(counts)
        assert examination.corrected == corrected
    assert examination.reason == "401 positions; at most 400 are corrected"


@pytest.mark.parametrize("shrinkage", ["gamma_poisson", "beta"])
def test_clicks_of_held_out_products_estimate_nothing_but_their_own_ctrs(shrinkage: str) -> None:
    rng = np.random.default_rng(3)
    counts, _ = simulated(rng, products=12, per_product=3, impressions=400)
    turned = pa.array([name in ("p1", "p5") for name in counts["product_id"].to_pylist()])
    flipped = pc.if_else(turned, pc.subtract(counts["impressions"], counts["clicks"]), counts["clicks"])
    other = counts.set_column(counts.column_names.index("clicks"), "clicks", flipped)
    made = [
        ctr.estimate_ctr(
            logs.connect(threads=1).create_table("counts", table),
            config=ClicksConfig.model_validate({"shrinkage": shrinkage}),
            held_out=["p1", "p5"],
        )
        for table in (counts, other)
    ]
    assert made[0][1] == made[1][1], "positions, strata and the prior"
    same = [a == b for a, b in zip(made[0][0].to_pylist(), made[1][0].to_pylist(), strict=True)]
    assert same == [name not in ("p1", "p5") for name in made[0][0]["product_id"].to_pylist()]
    alone, _ = ctr.estimate_ctr(
        logs.connect(threads=1).create_table("counts", counts.filter(pc.invert(turned))),
        config=ClicksConfig.model_validate({"shrinkage": shrinkage}),
    )
    kept = made[0][0].filter(pa.array(same))
    assert kept["log_ctr"].to_numpy() == pytest.approx(alone["log_ctr"].to_numpy(), abs=1e-4), (
        "as if they were not there"
    )
