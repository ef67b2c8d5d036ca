"""How well does the reward model order the public CreativeRanking pairs?  python benchmarks/creative_ranking.py FOLDER

Reads the data set's layout (see docs/howto/paper.md), trains heads on `tiny` with our soft labels, and prints pair
accuracy on the test list under the paper's filter (> 1,000 impressions each, observed CTRs 5 to 20 % apart) beside
published numbers and the noise ceiling. Without a folder it draws a small simulated one and says so. Appends one
JSON row to benchmarks/results/creative_ranking.jsonl.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa

from _creative_ranking import Shown, counts, read, write_simulated
from _results import append_row
from clickscape import clicks
from clickscape.catalog.images import open_image
from clickscape.clicks.label_noise import order_probability
from clickscape.config import ClicksConfig, RewardConfig
from clickscape.reward import training
from clickscape.reward.data import RewardData
from clickscape.reward.evaluate import RewardReport, evaluate
from clickscape.types import Product

PUBLISHED = {"VAM": 52.2, "CG4CTR": 53.1, "CAIG": 56.2, "KwaiMind": 57.1}
"""Pair accuracy in percent on CreativeRanking, as their papers report it; none gives an interval."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, train, judge, print, append."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="the data set; default: a small simulated one")
    parser.add_argument("--form", choices=["effects", "two_branch"], default="effects")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--products", type=int, help="at most so many products of each list")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as drawn:
        folder = asked.folder or Path(drawn)
        if asked.folder is None:
            write_simulated(folder, products=min(asked.products or 60, 100), seed=asked.seed)
        report = measure(folder, form=asked.form, epochs=asked.epochs, products=asked.products, seed=asked.seed)
    source = "simulated clicks in the layout of CreativeRanking" if asked.folder is None else "CreativeRanking"
    print(table(report, source=source, simulated=asked.folder is None))
    row = {
        "source": source, "form": asked.form, "epochs": asked.epochs,
        "seed": asked.seed, "pairs": report.pairs, "products": report.products, "left_share": report.left_share,
    }  # fmt: skip
    for name, value in (("accuracy", report.accuracy), ("ceiling", report.ceiling)):
        row[name] = None if value is None else [value.value, value.low, value.high]
    append_row(row, by="creative_ranking")


def measure(folder: Path, *, form: str, epochs: int, products: int | None, seed: int) -> RewardReport:
    """Train on the folder's training list and judge on its test list (else its validation list)."""
    splits = {name: _first(shown, products) for name, shown in read(folder).items()}
    tested = splits.get("test") or splits.get("val")
    if tested is None:
        raise SystemExit(f"{folder}: neither a test list nor a val list. Add one.")
    learning, _ = _data(splits["train"], ClicksConfig())
    testing, estimates = _data(tested, ClicksConfig(labels="paper"))
    if not testing.informative:
        raise SystemExit(f"{folder}: no pair of the test list passes the paper's filter. Add products or impressions.")
    config = RewardConfig(form=form, epochs=epochs, seed=seed)
    model = training.run(training.train(learning, config=config, source="tiny", slots={}))
    rng = np.random.default_rng(seed + 1)
    return evaluate(model, testing, rng=rng, order_probability=order_probability(estimates, testing.informative))


def table(report: RewardReport, *, source: str, simulated: bool) -> str:
    """The accuracy, its ceiling, and what others published on the real data."""
    rows = [f"{source}: {report.pairs} pairs of {report.products} products pass the paper's filter", ""]
    named = [("this run", report.accuracy), ("noise ceiling", report.ceiling), *report.baselines.items()]
    rows += [
        f"{name:24s} {100 * one.value:5.1f} % [{100 * one.low:.1f}, {100 * one.high:.1f}]"
        for name, one in named
        if one is not None
    ]
    note = "published, on the real data" if simulated else "published"
    return "\n".join([*rows, *(f"{f'{name} ({note})':44s} {value:.1f} %" for name, value in PUBLISHED.items())])


def _first(shown: Sequence[Shown], products: int | None) -> list[Shown]:
    kept = set(list(dict.fromkeys(one.product_id for one in shown))[:products])
    return [one for one in shown if one.product_id in kept]


def _data(shown: Sequence[Shown], config: ClicksConfig) -> tuple[RewardData, pa.Table]:
    """Pictures and pairs, and the estimates of the CTRs; the data set names no products, so all are called the same."""
    said = clicks.estimate(ibis.memtable(counts(shown)), config=config)
    log_ctr = dict(zip(said.estimates["creative_id"].to_pylist(), said.estimates["log_ctr"].to_pylist(), strict=True))
    data = RewardData(
        products={one.product_id: Product(one.product_id, "product") for one in shown},
        creative_ids=[one.creative_id for one in shown],
        product_of=[one.product_id for one in shown],
        images=lambda index: open_image(shown[index].image)[..., :3],
        pairs=said.pairs,
        log_ctr=np.array([log_ctr[one.creative_id] for one in shown]),
    )
    return data, said.estimates


if __name__ == "__main__":
    main()
