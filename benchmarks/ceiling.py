"""Which estimate of the noise ceiling is right where nobody knows the truth: halves of the clicks, or their posterior?

Many small simulated logs of several kinds; errors are estimate − accuracy of the true CTRs on the same pairs.
Prints a table and, with `--page`, writes it there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa

from _results import append_row, write_part
from clickscape import clicks
from clickscape.clicks import logs
from clickscape.clicks.label_noise import order_probability
from clickscape.stats.accuracy import pair_agreement

KINDS = {"normal": lambda rng, n: rng.normal(size=n), "Laplace": lambda rng, n: rng.laplace(size=n) / np.sqrt(2),
         "t, 3 degrees": lambda rng, n: rng.standard_t(3, size=n) / np.sqrt(3)}  # fmt: skip
SIZES = ((30, 4, 300, 0.8), (60, 6, 1_000, 0.8), (20, 5, 3_000, 0.3))
"""Products, creatives of each, impressions, and the sd of their logarithm between products and between creatives."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=80, help="simulated logs of each kind")
    parser.add_argument("--page", type=Path, help="page to write the table into")
    given = parser.parse_args()
    rows = []
    for kind in KINDS:
        for products, each, impressions, spread in SIZES:
            found = np.array([measure(seed, kind, products, each, impressions, spread) for seed in range(given.logs)])
            away = found[:, 1:] - found[:, :1]
            rows.append({
                "effects": kind, "products": products, "creatives": each, "impressions": impressions, "spread": spread,
                "ceiling": float(found[:, 0].mean()), "bias": away.mean(0).tolist(),
                "half_width": (1.96 * away.std(0, ddof=1) / np.sqrt(given.logs)).tolist(),
                "rmse": np.sqrt((away**2).mean(0)).tolist(),
            })  # fmt: skip
    append_row({"logs": given.logs, "rows": rows}, by="ceiling")
    text = table(rows, logs=given.logs)
    print(text)
    if given.page:
        write_part(given.page, text, by="ceiling")


def measure(seed: int, kind: str, products: int, each: int, impressions: float, spread: float) -> list[float]:
    """Ceiling of the truth, of halves of the clicks, and of their posterior, on the pairs of one simulated log."""
    rng = np.random.default_rng([seed, products])
    count = products * each
    product = np.repeat(np.arange(products), each)
    truth = np.log(0.03) + rng.normal(0, 0.4, products)[product] + 0.25 * KINDS[kind](rng, count)
    size = np.exp(rng.normal(0, spread, count) + rng.normal(0, spread, products)[product] - spread**2)
    shown = rng.poisson(impressions * size) + 1
    counts = pa.table({
        "creative_id": [f"c{row:04d}" for row in range(count)], "product_id": [f"p{number}" for number in product],
        "position": pa.nulls(count, pa.int32()), "impressions": shown,
        "clicks": rng.binomial(shown, np.minimum(np.exp(truth), 1)),
    })  # fmt: skip
    said = clicks.estimate(logs.connect(threads=1).create_table("counts", counts))
    first, second = (np.array([int(getattr(pair, side)[1:]) for pair in said.pairs]) for side in ("first", "second"))
    observed = np.array([pair.preference for pair in said.pairs]) - 0.5
    probability = order_probability(said.estimates, said.pairs)
    return [
        float(pair_agreement(truth[first] - truth[second], observed).mean()),
        halves(said.estimates, first, second, rng=rng),
        float(np.where(observed > 0, probability, 1 - probability).mean()),
    ]


def halves(estimates: pa.Table, first: np.ndarray, second: np.ndarray, *, rng: np.random.Generator) -> float:
    """Ceiling by the agreement of two halves of the clicks, shrunk by the learned prior, mapped by Spearman–Brown.

    For Gaussian gaps halves agree with probability ½ + asin(ρ)/π; all clicks have reliability 2ρ/(1 + ρ), and the truth
    orders its pairs right with ½ + asin(√reliability)/π.
    """
    clicked, shown, shape, rate = (
        estimates[name].to_numpy().astype(float) for name in ("clicks", "examinations", "shape", "rate")
    )
    half = rng.binomial(clicked.astype(int), 0.5)
    one, other = (np.log((shape - clicked + part) / (rate - shown / 2)) for part in (half, clicked - half))
    agreed = pair_agreement(one[first] - one[second], other[first] - other[second]).mean()
    reliability = np.sin(np.pi * (max(agreed, 0.5) - 0.5))
    return float(0.5 + np.arcsin(np.sqrt(2 * reliability / (1 + reliability))) / np.pi)


def table(rows: list[dict], *, logs: int) -> str:
    """Bias with its 95 % interval and root mean squared error of both estimates, as Markdown."""
    lines = [
        f"{logs} logs of each kind; ± is the half-width of the bias's 95 % interval, rmse that of one log.",
        "",
        "| effects | products × creatives | impressions, spread | true | halves: bias, rmse | posterior: bias, rmse |",
        "| --- " * 6 + "|",
    ]
    for row in rows:
        cells = [
            f"{bias:+.3f} (± {half:.3f}), {rmse:.3f}"
            for bias, half, rmse in zip(row["bias"], row["half_width"], row["rmse"], strict=True)
        ]
        lines.append(
            f"| {row['effects']} | {row['products']} × {row['creatives']} | {row['impressions']:,}, {row['spread']} "
            f"| {row['ceiling']:.3f} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
