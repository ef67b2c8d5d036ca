"""How should a user sample? True uplift against temperature, greedy, and the best of N, with the CPU-seconds of each.

In the workspace of a finished `clickscape demo` (or of one run of `benchmarks/loop.py`) the pre-trained and the
optimized model write for held-out products; every description is drawn, scored by the workspace's reward model and
judged by the world. The best of N is what the reward model likes most among N of the M that were sampled, averaged over
all subsets (hypergeometric weights), so no draw is wasted. Uplift is against single samples of the pre-trained model at
temperature 1, with a 95 % interval bootstrapped over objects. Prints Markdown, appends a row to
results/best_of_n.jsonl, writes the page.

    clickscape demo --out demo && python benchmarks/best_of_n.py demo --page docs/experiments/best-of-n.md
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.special import gammaln

from _results import append_row, write_part
from clickscape import vlm
from clickscape.catalog import sample
from clickscape.simulator import evaluation
from clickscape.simulator.evaluation import TrueAd
from clickscape.stages.reward import writer_source
from clickscape.stages.split import read as read_split
from clickscape.stats.bootstrap import ClusterBootstrap, Estimate, percentile_interval
from clickscape.types import Product
from clickscape.workspace import Workspace

TEMPERATURES = (0.0, 0.5, 0.7, 1.0, 1.3)
NUMBERS = (1, 2, 4, 8, 16, 32, 64)
MOST_ASIDE = 16
"""Descriptions per product at temperatures other than 1; at 0 there is one."""

POLICIES = ("pre-trained", "product-centric")
SIZE, SEED = 128, 0


@dataclass(frozen=True)
class Sampled:
    """What one model wrote at one temperature: ads of every product, and CPU-seconds an ad to write, and to draw."""

    ads: list[list[TrueAd]]
    writing: float
    drawing: float


def main() -> None:
    """Write, draw, judge, print, keep the row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--world", default="harmony")
    parser.add_argument("--products", type=int, default=60, help="held-out products, one of each object first")
    parser.add_argument("--most", type=int, default=NUMBERS[-1], help="descriptions per product at temperature 1")
    parser.add_argument("--page", type=Path, help="Markdown page with the markers")
    asked = parser.parse_args()
    workspace = Workspace.open(asked.workspace)
    products = workspace.products()
    tested = one_of_each_first(read_split(workspace, products).testing(products))[: asked.products]
    sources = {POLICIES[0]: writer_source(workspace), POLICIES[1]: workspace.models / POLICIES[1]}
    found = {
        (name, temperature): sampled(
            workspace, source, tested, world=asked.world, temperature=temperature, most=asked.most
        )
        for name, source in sources.items()
        for temperature in TEMPERATURES
    }
    text = table(found, tested, world=asked.world)
    print(text)
    append_row(
        {
            "world": asked.world,
            "products": len(tested),
            "rows": [
                {"model": name, "temperature": temperature, "of": number, **asdict(row)}
                for (name, temperature), one in found.items()
                for number, row in rows(one, found[POLICIES[0], 1.0], tested).items()
            ],
        },
        by="best_of_n",
    )
    if asked.page:
        write_part(asked.page, text, by="best_of_n")


def one_of_each_first(products: Sequence[Product]) -> list[Product]:
    """Return the products in rounds: one color of every object, then a second of each."""
    shelves: dict[str, list[Product]] = {}
    for product in products:
        shelves.setdefault(sample.object_of(product.product_id).object_id, []).append(product)
    return [
        shelf[turn]
        for turn in range(max(map(len, shelves.values())))
        for shelf in shelves.values()
        if turn < len(shelf)
    ]


def sampled(
    workspace: Workspace, source: Path | str, products: Sequence[Product], *, world: str, temperature: float, most: int
) -> Sampled:
    """Write for every product, draw, score and judge."""
    number = 1 if temperature == 0 else most if temperature == 1 else min(most, MOST_ASIDE)
    started = time.process_time()
    texts = vlm.load(source).describe_all(products, n=number, seed=SEED, temperature=temperature)
    written = time.process_time()
    ads = list(
        evaluation.score_ads(
            products, texts, truth=world, reward=workspace.models / "reward", size=SIZE, seed=SEED, workers=1
        )
    )
    count = number * len(products)
    return Sampled(ads, (written - started) / count, (time.process_time() - written) / count)


def best_of(ads: Sequence[TrueAd], number: int) -> float:
    """Return the expected true CTR of what the reward model likes most among `number` of the ads, all different."""
    ranked = sorted(ads, key=lambda ad: (ad.parsed, ad.reward))
    place = np.arange(len(ranked))
    count = np.where(place >= number - 1, _log_choose(place, number - 1) - _log_choose(len(ranked), number), -np.inf)
    return float(np.exp(count) @ [ad.relative_ctr for ad in ranked])


def _log_choose(total: np.ndarray | int, part: int) -> np.ndarray:
    total = np.maximum(total, part)
    return gammaln(total + 1.0) - gammaln(part + 1.0) - gammaln(total - part + 1.0)


@dataclass(frozen=True)
class Row:
    """Uplift of true CTR of the best of N, and CPU-seconds for one ad of it."""

    uplift: Estimate
    cpu_seconds: float


def rows(one: Sampled, before: Sampled, products: Sequence[Product]) -> dict[int, Row]:
    """Return of every N the uplift with its interval, and the CPU-seconds for one ad."""
    base = np.array([best_of(ads, 1) for ads in before.ads])
    bootstrap = ClusterBootstrap.draw(
        [sample.object_of(product.product_id).object_id for product in products], rng=np.random.default_rng(SEED)
    )
    result: dict[int, Row] = {}
    for number in NUMBERS:
        if number <= len(one.ads[0]):
            after = np.array([best_of(ads, number) for ads in one.ads])
            gain = percentile_interval(after.sum() / base.sum() - 1, bootstrap.sums(after) / bootstrap.sums(base) - 1)
            result[number] = Row(gain, number * (one.writing + one.drawing))
    return result


def table(found: dict[tuple[str, float], Sampled], products: Sequence[Product], *, world: str) -> str:
    """Return Markdown: per model, a row of every temperature and a column of every N."""
    objects = len({sample.object_of(product.product_id).object_id for product in products})
    head = [str(number) for number in NUMBERS]
    lines = [
        f"World *{world}*, {len(products)} products of {objects} held-out objects.",
        "",
        "| model | temperature | "
        + " | ".join(f"best of {number}" if number != "1" else "single" for number in head)
        + " |",
        "| --- | --- |" + " --- |" * len(head),
    ]
    for (name, temperature), one in found.items():
        by_number = rows(one, found[POLICIES[0], 1.0], products)
        cells = [_cell(by_number[number]) if number in by_number else "" for number in NUMBERS]
        lines.append(
            f"| {name} | {temperature:g}{' (greedy)' if not temperature else ''} | " + " | ".join(cells) + " |"
        )
    one = found[POLICIES[0], 1.0]
    lines += [
        "",
        f"A description costs {one.writing:.3f} CPU-seconds to write and {one.drawing:.3f} to draw, score and judge.",
    ]
    return "\n".join(lines)


def _cell(row: Row) -> str:
    return f"{row.uplift.value:+.0%} [{100 * row.uplift.low:.0f}, {100 * row.uplift.high:.0f}]"


if __name__ == "__main__":
    main()
