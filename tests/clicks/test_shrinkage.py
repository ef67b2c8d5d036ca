"""The learned prior against integrals done by brute force, and intervals and probabilities that mean what they say."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from scipy.special import digamma, polygamma
from scipy.stats import gamma, nbinom

from clickscape.clicks import ctr, logs, shrinkage
from clickscape.clicks.pairs import kept_pairs, probability_above, to_pairs
from clickscape.clicks.shrinkage import Prior
from clickscape.config import ClicksConfig


def world(
    seed: int, *, products: int, per_product: int, creative_shape: float = 16.0, product_shape: float = 4.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Clicks, examinations, product and true CTR of every creative; examinations are log-normal around 1,500."""
    rng = np.random.default_rng(seed)
    product = np.repeat(np.arange(products), per_product)
    rate = 0.02 * rng.gamma(product_shape, 1 / product_shape, products)
    truth = rate[product] * rng.gamma(creative_shape, 1 / creative_shape, len(product))
    shown = np.rint(np.exp(rng.normal(np.log(1_500), 0.7, len(product))))
    return rng.poisson(truth * shown).astype(float), shown, product, truth


def evidence(clicks: np.ndarray, shown: np.ndarray, prior: Prior) -> float:
    """∫ prior × Π negative binomials of one product, on a fine grid of its log rate."""
    k, a, m = prior.creative_shape, prior.product_shape, prior.means[0]
    grid = np.linspace(np.log(m) - 8, np.log(m) + 4, 4_000)
    rate = np.exp(grid)
    chances = nbinom.pmf(clicks[:, None], k, k / (k + shown[:, None] * rate))
    return float(trapezoid(gamma.pdf(rate, a, scale=m / a) * rate * chances.prod(axis=0), grid))


def test_the_prior_maximizes_the_marginal_likelihood_found_by_brute_force() -> None:
    clicks, shown, product, _ = world(2, products=12, per_product=3)
    best = shrinkage.fit_prior(clicks, shown, product)

    def height(prior: Prior) -> float:
        whole = sum(np.log(evidence(clicks[product == p], shown[product == p], prior)) for p in range(12))
        # κ and a are drawn to 16 and 4, by one standard deviation per factor of e
        return float(whole - (np.log(prior.creative_shape / 16) ** 2 + np.log(prior.product_shape / 4) ** 2) / 2)

    top = height(best)
    for factors in ((1.1, 1, 1), (1 / 1.1, 1, 1), (1, 1.1, 1), (1, 1 / 1.1, 1), (1, 1, 1.05), (1, 1, 1 / 1.05)):
        shapes = best.creative_shape * factors[0], best.product_shape * factors[1]
        assert height(Prior(*shapes, ("",), (best.means[0] * factors[2],))) < top, factors


def test_the_prior_of_a_large_log_is_recovered() -> None:
    clicks, shown, product, _ = world(1, products=600, per_product=6)
    found = shrinkage.shrink(clicks, shown, product).prior
    assert found.creative_shape == pytest.approx(16, rel=0.12)
    assert found.product_shape == pytest.approx(4, rel=0.15)
    assert found.means == (pytest.approx(0.02, rel=0.06),)
    assert found.creative_sd == pytest.approx(0.254, abs=0.015)


def test_categories_have_means_of_their_own() -> None:
    clicks, shown, product, _ = world(3, products=300, per_product=4)
    rich = np.arange(300) % 2 == 1
    clicks = np.random.default_rng(0).poisson(clicks * np.where(rich, 3, 1)[product]).astype(float)
    together = shrinkage.shrink(clicks, shown, product).prior
    apart = shrinkage.shrink(clicks, shown, product, category=np.where(rich, "rich", "poor")).prior
    assert apart.categories == ("poor", "rich")
    assert apart.means[1] / apart.means[0] == pytest.approx(3, rel=0.15)
    assert apart.product_sd < together.product_sd - 0.1


def posterior_draws(clicks: list[int], shown: list[float], prior: Prior, count: int = 400_000) -> np.ndarray:
    """Draws of the CTRs of one product's creatives, (draw, creative): rates from a fine grid, then Gammas."""
    rng = np.random.default_rng(5)
    k, a, m = prior.creative_shape, prior.product_shape, prior.means[0]
    grid = np.linspace(np.log(m) - 7, np.log(m) + 4, 6_000)
    rate = np.exp(grid)
    height = gamma.logpdf(rate, a, scale=m / a) + grid
    for c, e in zip(clicks, shown, strict=True):
        height += nbinom.logpmf(c, k, k / (k + e * rate))
    weight = np.exp(height - height.max())
    drawn = rng.choice(rate, size=count, p=weight / weight.sum())
    scale = 1 / (k / drawn[:, None] + np.array(shown))
    return np.asarray(rng.gamma(k + np.array(clicks), scale))


@pytest.mark.parametrize(
    ("clicks", "shown"), [([30, 22], [1_500.0, 1_400.0]), ([2, 40, 6], [60.0, 1_500.0, 400.0]), ([0, 3], [5.0, 90.0])]
)
def test_posteriors_and_probabilities_match_a_brute_force_mixture(clicks: list[int], shown: list[float]) -> None:
    prior = Prior(16.0, 4.0, ("",), (0.02,))
    zeros = np.zeros(len(clicks), dtype=int)
    found = shrinkage.posterior(np.array(clicks, float), np.array(shown), zeros, prior=prior)
    draws = posterior_draws(clicks, shown, prior)
    assert digamma(found.shape) - np.log(found.rate) == pytest.approx(np.log(draws).mean(axis=0), abs=0.006)
    assert np.sqrt(polygamma(1, found.shape) + found.pull**2) == pytest.approx(np.log(draws).std(axis=0), rel=0.015)
    for one, other in pairwise(range(len(clicks))):
        shared = (found.pull[one] - found.pull[other]) ** 2
        above = probability_above(
            *(
                np.array([value])
                for value in (found.shape[one], found.rate[one], found.shape[other], found.rate[other])
            ),
            np.array([shared]),
        )
        assert above[0] == pytest.approx(np.mean(draws[:, one] > draws[:, other]), abs=0.006)


def test_two_gammas_are_compared_exactly_by_hand() -> None:
    # exponentials with rates 1 and 3: the first is above with probability 3 / (1 + 3)
    one, three = np.array([1.0]), np.array([3.0])
    assert probability_above(one, one, one, three, np.zeros(1)) == pytest.approx([0.75])
    # and if they share an error, less surely so; far out in the tail, nothing is lost to rounding
    assert 0.5 < probability_above(one, one, one, three, np.ones(1))[0] < 0.75
    many = np.array([4_000.0])
    sure = probability_above(many, np.array([1e5]), many, np.array([2e5]), np.array([0.5]))
    assert sure[0] == pytest.approx(0.836, abs=0.002)  # Φ(ln 2 / √(0.5 + 2 / 4,000))


@given(st.floats(0.3, 500), st.floats(0.3, 500), st.floats(1, 1e5), st.floats(1, 1e5), st.floats(0, 2))
@settings(max_examples=200)
def test_the_probabilities_of_both_orders_add_up_to_one(a: float, b: float, p: float, q: float, shared: float) -> None:
    x, y, u, v, s = (np.array([value]) for value in (a, b, p, q, shared))
    assert probability_above(x, u, y, v, s) + probability_above(y, v, x, u, s) == pytest.approx(1, abs=1e-9)


def estimated(seed: int, shrink: str) -> tuple[list[dict], np.ndarray, np.ndarray, np.ndarray]:
    """Estimates of a simulated log, true CTRs, and P(first > second) beside whether it is so."""
    clicks, shown, product, truth = world(seed, products=500, per_product=5)
    names = [f"c{number:05d}" for number in range(len(truth))]
    counts = pa.table(
        {
            "creative_id": names,
            "product_id": [f"p{number}" for number in product],
            "position": pa.nulls(len(truth), pa.int32()),
            "impressions": shown.astype(int),
            "clicks": clicks.astype(int),
        }
    )
    config = ClicksConfig.model_validate({"shrinkage": shrink})
    connection = logs.connect(threads=1)
    table, _ = ctr.estimate_ctr(connection.create_table("counts", counts), config=config)
    found = to_pairs(kept_pairs(connection.create_table("estimates", table), config=config))
    right = np.array([truth[int(pair.first[1:])] > truth[int(pair.second[1:])] for pair in found])
    return table.to_pylist(), truth, np.array([pair.preference for pair in found]), right


def test_intervals_and_probabilities_are_calibrated_and_better_than_with_the_beta_prior() -> None:
    rows, truth, preference, right = estimated(8, "gamma_poisson")
    covered = np.mean([row["ctr_low"] <= true <= row["ctr_high"] for row, true in zip(rows, truth, strict=True)])
    assert 0.935 <= covered <= 0.965
    errors = np.array(
        [(row["log_ctr"] - np.log(true)) / row["log_ctr_se"] for row, true in zip(rows, truth, strict=True)]
    )
    assert errors.std() == pytest.approx(1, abs=0.05)
    edges = np.array([0, 0.1, 0.25, 0.4, 0.6, 0.75, 0.9, 1])
    for low, high in pairwise(edges):
        inside = (preference >= low) & (preference < high)
        assert inside.sum() > 300
        assert right[inside].mean() == pytest.approx(preference[inside].mean(), abs=0.045)

    def log_loss(stated: np.ndarray, true: np.ndarray) -> float:
        return float(-np.mean(np.log(np.where(true, stated, 1 - stated))))

    beta_preference, beta_right = estimated(8, "beta")[2:]
    assert log_loss(preference, right) < log_loss(beta_preference, beta_right) - 0.01


def test_20_000_creatives_take_under_three_seconds() -> None:
    clicks, shown, product, _ = world(4, products=1_000, per_product=20)
    begin = time.process_time()
    shrinkage.shrink(clicks, shown, product)
    assert time.process_time() - begin < 3


@pytest.mark.parametrize("clicks", [[0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 2.0], [50.0, 50.0, 50.0]])
def test_a_nearly_empty_log_keeps_the_initial_prior_and_stays_finite(clicks: list[float]) -> None:
    shown = np.full(len(clicks), 100.0)
    found = shrinkage.shrink(np.array(clicks), shown, np.zeros(len(clicks), dtype=int))
    assert 8 < found.prior.creative_shape < 32
    assert np.isfinite([*found.shape, *found.rate, *found.pull]).all()


def test_the_order_of_creatives_changes_nothing() -> None:
    clicks, shown, product, _ = world(6, products=30, per_product=4)
    straight = shrinkage.shrink(clicks, shown, product)
    order = np.random.default_rng(0).permutation(len(clicks))
    turned = shrinkage.shrink(clicks[order], shown[order], product[order])
    assert turned.shape == pytest.approx(straight.shape[order], rel=1e-4)
    assert turned.rate == pytest.approx(straight.rate[order], rel=1e-4)
