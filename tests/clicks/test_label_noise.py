"""The noise ceiling that the clicks alone tell is, over many small logs, what the true CTRs reach on the same pairs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from clickscape import clicks
from clickscape.clicks import logs
from clickscape.clicks.label_noise import order_probability
from clickscape.config import ClicksConfig
from clickscape.stats.accuracy import pair_agreement

LOGS = 24


def _log(seed: int) -> tuple[pa.Table, np.ndarray]:
    """60 products with 6 creatives, impressions that differ tenfold, and the true log CTRs."""
    rng = np.random.default_rng(seed)
    product = np.repeat(np.arange(60), 6)
    truth = np.log(0.03) + rng.normal(0, 0.4, 60)[product] + rng.normal(0, 0.25, 360)
    shown = rng.poisson(1_500 * np.exp(rng.normal(0, 0.8, 360) + rng.normal(0, 0.8, 60)[product] - 0.64)) + 1
    table = {
        "creative_id": [f"c{row:03d}" for row in range(360)],
        "product_id": [f"p{number}" for number in product],
        "position": pa.nulls(360, pa.int32()),
        "impressions": shown,
        "clicks": rng.binomial(shown, np.minimum(np.exp(truth), 1)),
    }
    return pa.table(table), truth


def _ceilings(seed: int, config: ClicksConfig) -> tuple[float, float]:
    """The ceiling that the truth shows, and the one that the clicks tell."""
    table, truth = _log(seed)
    found = clicks.estimate(logs.connect(threads=1).create_table("counts", table), config=config)
    log_ctr = dict(zip(table["creative_id"].to_pylist(), truth, strict=True))
    observed = np.array([pair.preference - 0.5 for pair in found.pairs])
    gaps = np.array([log_ctr[pair.first] - log_ctr[pair.second] for pair in found.pairs])
    probability = order_probability(found.estimates, found.pairs)
    told = np.where(observed > 0, probability, 1 - probability)
    return float(pair_agreement(gaps, observed).mean()), float(told.mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{}, {"shrinkage": "beta"}, {"labels": "paper", "paper_min_impressions": 300, "paper_max_ratio": 1.5}],
    ids=["soft", "beta prior", "paper"],
)
def test_the_ceiling_of_the_clicks_is_the_one_of_the_truth(settings: dict[str, object]) -> None:
    """Halves of the clicks were 0.02 too high on such logs, more than four standard errors of these means."""
    found = np.array([_ceilings(seed, ClicksConfig.model_validate(settings)) for seed in range(LOGS)])
    away = found[:, 1] - found[:, 0]
    assert 0.55 < found[:, 0].mean() < 0.85
    assert abs(away.mean()) < 0.01
    assert np.sqrt(np.mean(away**2)) < 0.04
