"""Are explanations right? Credits of elements and effects of phrases, against worlds whose truth is known.

Elements: logs of the sample catalog with five of the copywriter's scenes each, both worlds, several seeds; every credit
against the world's own effects. Phrases (with --workspace, the folder of `clickscape demo`): creatives of held-out
products, drawn with and without each phrase; the stated change of CTR against the world's, at the same seeds. Prints
Markdown, appends one JSON row to results/explanations.jsonl, and writes the tables into a page between its markers.

    python benchmarks/explanations.py --seeds 5 --workspace demo-workspace --page docs/howto/explain.md
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from _results import append_row, write_part
from clickscape import render
from clickscape import reward as reward_room
from clickscape.catalog import sample
from clickscape.clicks import ctr, logs
from clickscape.config import ClicksConfig
from clickscape.render.language.phrases import phrases
from clickscape.reward.explain.creative import phrase_effects
from clickscape.reward.explain.elements import credit
from clickscape.simulator import traffic, world, writer
from clickscape.simulator.pixels import PixelStats, measure
from clickscape.stages import split
from clickscape.stages.explain import reward_scale
from clickscape.types import Creative
from clickscape.workspace import Workspace

PER_PRODUCT = 5
CREATIVES = 60  # whose phrases are judged
SEEDS = 4


def main() -> None:
    """Measure, print, keep the row, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workspace", type=Path, help="finished demo, whose phrases are judged")
    parser.add_argument("--page", type=Path, help="Markdown page with the markers")
    asked = parser.parse_args()
    began = time.process_time()
    elements = list(_elements(seeds=asked.seeds))
    spoken = _phrases(Workspace.open(asked.workspace)) if asked.workspace else None
    text = _tables(elements, spoken, seeds=asked.seeds)
    print(text)
    row = {"seeds": asked.seeds, "elements": elements, "phrases": spoken}
    append_row({**row, "cpu_seconds": round(time.process_time() - began, 1)}, by="explanations")
    if asked.page:
        write_part(asked.page, text, by="explanations")


def _elements(*, seeds: int) -> Iterator[dict[str, object]]:
    """A row per world and size of the log."""
    rng = np.random.default_rng(0)
    written = [(product, writer.write(product, rng)[1]) for product in sample.products() for _ in range(PER_PRODUCT)]
    for name in ("harmony", "siren"):
        for products in (150, 1_320):
            begun = time.process_time()
            found = [
                row for seed in range(seeds) for row in _judged(name, _some(written, products, seed=seed), seed=seed)
            ]
            yield {
                "world": name,
                "products": products,
                **_figures(np.array(found)),
                "seconds": (time.process_time() - begun) / seeds,
            }


def _some(written: list[tuple], products: int, *, seed: int) -> list[tuple]:
    """All creatives of some products, drawn by chance."""
    chosen = np.random.default_rng(seed).choice(len(written) // PER_PRODUCT, products, replace=False)
    return [written[PER_PRODUCT * number + place] for number in sorted(chosen) for place in range(PER_PRODUCT)]


def _judged(name: str, shown: list[tuple], *, seed: int) -> list[tuple[float, float, float, float]]:
    """True effect, estimate and interval of every credit within a department, on log CTR."""
    shoppers, rng = world.load(name), np.random.default_rng(seed)
    keys = [f"{product.product_id}-c{number}-{seed}" for number, (product, _) in enumerate(shown)]
    log_ctr = np.array(
        [
            shoppers.segment_log_ctrs(product, scene, PixelStats(*rng.normal(size=4)), key)
            for (product, scene), key in zip(shown, keys, strict=True)
        ]
    )
    creatives = [
        Creative(key, product.product_id, "", "", {}, "studio", "writer", 0)
        for (product, _), key in zip(shown, keys, strict=True)
    ]
    drawn = traffic.simulate(creatives, log_ctr, rng=rng, shares=world.SEGMENTS)
    departments = {product.product_id: product.department for product, _ in shown}
    counts = logs.connect().create_table("counts", drawn.counts())
    estimates, _ = ctr.estimate_ctr(counts, config=ClicksConfig(), categories=departments)
    scenes = {key: scene.slots for (_, scene), key in zip(shown, keys, strict=True)}
    report = credit(estimates, scenes=scenes, departments=departments)
    examined = dict(zip(estimates["creative_id"].to_pylist(), estimates["examinations"].to_pylist(), strict=True))
    weight: dict[tuple[str, str, str], float] = defaultdict(float)
    for (product, scene), key in zip(shown, keys, strict=True):
        for slot, value in scene.slots.items():
            if value is not None:
                weight[product.department, slot, value] += examined[key]
    someone = {product.department: product for product, _ in shown}
    effect = {key: shoppers.slot_effect(someone[key[0]], *key[1:]) for key in weight}
    return [
        (effect[where, one.slot, one.element] - _average(effect, weight, where, one.slot), *_logs(one.percent))
        for one in report.credits
        if (where := one.department) is not None
    ]


def _average(effect: Mapping[tuple, float], weight: Mapping[tuple, float], where: str, slot: str) -> float:
    own = [key for key in weight if key[:2] == (where, slot)]
    return float(np.average([effect[key] for key in own], weights=[weight[key] for key in own]))


def _phrases(shop: Workspace) -> dict[str, float]:
    """Stated against true change of log CTR for phrases of creatives of held-out products, drawn by chance."""
    products = shop.products()
    tested = {product.product_id: product for product in split.read(shop, products).testing(products)}
    model, renderer = reward_room.load(shop.models / "reward").with_given_scenes(), render.load("studio")
    simulated = [
        row for path in shop.runs_folder.glob("*-simulate*/manifest.json") for row in [json.loads(path.read_text())]
    ]
    shoppers = world.load(simulated[-1]["result"]["world"])
    scale = reward_scale(shop, model)
    creatives = [one for one in shop.creatives() if one.product_id in tested and one.description]
    rows, bare = [], []  # bare: intervals that hold heads, seeds and scale alone
    for number in np.random.default_rng(0).choice(len(creatives), CREATIVES, replace=False):
        creative = creatives[number]
        product, seeds = tested[creative.product_id], (creative.seed, *range(1, SEEDS))

        def true(description: str, product=product, seeds=seeds) -> float:
            drawn = [renderer.render(product, description, size=(128, 128), seed=seed) for seed in seeds]
            return float(
                np.mean([shoppers.log_ctr(product, one.scene, measure(one.image, one.product_mask)) for one in drawn])
            )

        known = true(creative.description)
        found = phrase_effects(
            model, product, creative.description, renderer=renderer, size=(128, 128), seeds=seeds, scale=scale
        )
        without = {phrase.text: phrase.without for phrase in phrases(creative.description)}
        for one in found:
            if one.instead and one.ctr and scale:
                rows.append((true(without[one.phrase]) - known, *_logs(one.ctr)))
                bare.append((rows[-1][0], *_logs(replace(scale, misfit=0.0).percent(one.reward, slots=1))))
    figures = _figures(np.array(rows))
    stated, changed = np.array(rows)[:, 1], np.array(rows)[:, 0]
    return {
        **figures,
        "slope": float(np.polyfit(stated, changed, 1)[0]),
        "bare_coverage": _figures(np.array(bare))["coverage"],
    }


def _logs(percent) -> tuple[float, float, float]:
    return tuple(float(np.log1p(value / 100)) for value in (percent.value, percent.low, percent.high))


def _figures(rows: np.ndarray) -> dict[str, float]:
    """rows: (…, 4) truth, estimate, low, high on log CTR."""
    true, value, low, high = rows.T
    sure = (low > 0) | (high < 0)
    return {
        "count": len(rows),
        "coverage": float(np.mean((low <= true) & (true <= high))),
        "sure": float(sure.mean()),
        "right": float(np.mean(np.sign(value[sure]) == np.sign(true[sure]))),
        "error": float(np.sqrt(np.mean((value - true) ** 2))),
        "effect": float(np.sqrt(np.mean(true**2))),
        "correlation": float(np.corrcoef(true, value)[0, 1]),
    }


def _tables(elements: list[dict], phrases: dict[str, float] | None, *, seeds: int) -> str:
    intro = (
        f"Simulated clicks, {seeds} seeds; errors and effects are root mean squares of log CTR. *Decided*: share with "
        "an interval that does not span zero; *right*: share of those with the right sign."
    )
    lines = [
        intro,
        "",
        "| | world | figures | intervals (95 %) cover | decided | right | error | effect | correlation |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(f"| elements, {row['products']:,} products | {row['world']} | {_cells(row)} |" for row in elements),
    ]
    if phrases is not None:
        lines.append(f"| phrases, {CREATIVES} held-out creatives | harmony | {_cells(phrases)} |")
        phrases_line = (
            f"Phrases: true change = {phrases['slope']:.2f} × the stated one; without what the reward gets wrong, "
            f"their intervals would cover {100 * phrases['bare_coverage']:.0f} %."
        )
        lines += ["", phrases_line]
    return "\n".join(lines)


def _cells(row: Mapping[str, float]) -> str:
    shares = " | ".join(f"{100 * row[name]:.0f} %" for name in ("coverage", "sure", "right"))
    return f"{row['count']:,} | {shares} | {row['error']:.3f} | {row['effect']:.3f} | {row['correlation']:.2f}"


if __name__ == "__main__":
    main()
