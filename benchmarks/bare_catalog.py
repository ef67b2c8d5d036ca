"""Do ads suit a product of which no click is known? What `generate --catalog` chooses, against the first that parse.

Held-out objects of the sample catalog, and the titles and categories of titles.tsv as shops write them (its even rows;
the odd ones were looked at while the categories' words were chosen), with their category and without. Matching is
judged by the fit table of the simulated worlds (`world.matching`), which nothing here learned from; how many are
sampled, how warm, and what counts was decided on the other objects. Each ad is rendered as `generate` does. 95 %
intervals by bootstrap over objects. Prints Markdown, appends a JSON row to results/bare_catalog.jsonl, writes the
tables into a page.

    python benchmarks/bare_catalog.py --page docs/experiments/bare-catalog.md
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from _results import append_row, write_part
from clickscape import render
from clickscape import vlm as vlm_room
from clickscape.catalog import sample
from clickscape.catalog.departments import department_of
from clickscape.config import FidelityConfig, GenerateConfig
from clickscape.config.brand import Rules
from clickscape.gates.style import Style
from clickscape.generation.creative_record import render_selection
from clickscape.generation.pipeline import AdPipeline
from clickscape.generation.select import CandidateSelector, scene_key, select
from clickscape.render.scene import NO_PROP, Scene
from clickscape.simulator import world
from clickscape.stats.bootstrap import ClusterBootstrap, percentile_interval
from clickscape.types import Product
from clickscape.vlm.generate import BLANK, Writer

TITLES = Path(__file__).parent / "titles.tsv"
VARIANTS = sample.VARIANTS[:2]
SUMMER, CHRISTMAS = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
RESAMPLES = 1_000
TIMED = 16  # products of which every ad is rendered at full size, to measure the time
NEVER = frozenset({"coffee beans", "gift", "gold spheres", "neon"})
"""What no graded ad could be published with."""


class FirstThatParse(CandidateSelector):
    """Chooses as before: four descriptions at temperature 1, in the order in which they were written."""

    @property
    def chooses_by_suitability(self) -> bool:
        return False


@dataclass(frozen=True)
class Chosen:
    """Scenes that were chosen, one entry each, with the product whose department judges them, and CPU-seconds."""

    products: list[Product]
    scenes: list[Scene]
    clusters: list[str]
    seconds_per_ad: float


def main() -> None:
    """Measure, print, keep the row, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="Markdown page with the markers")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        catalogs = _catalogs(Path(folder))
        rows = {}
        for name, (products, truth) in catalogs.items():
            for side in SIDES:
                rows[name, side] = _figures(_chosen(products, truth, side=side), rng=rng)
    named = {
        name: [department_of(one) for one in products]
        for name, (products, _) in catalogs.items()
        if name != "held-out objects"
    }
    right = {
        name: float(np.mean([found == true.department for found, true in zip(own, catalogs[name][1], strict=True)]))
        for name, own in named.items()
    }
    text = _table(rows, right)
    print(text)
    row = {
        "rows": {f"{name}: {side}": figures for (name, side), figures in rows.items()},
        "departments right": right,
    }
    append_row(row, by="bare_catalog")
    if asked.page:
        write_part(asked.page, text, by="bare_catalog")


def _catalogs(folder: Path) -> dict[str, tuple[list[Product], list[Product]]]:
    """Products as a shop lists them, and beside each the same one with its true department, by which it is judged."""
    wanted = [one.product_id for one in sample.products() if one.product_id.endswith(VARIANTS)]
    held = [one for one in wanted if sample.is_held_out(one)]
    objects = sample.write(folder, 160, product_ids=held)
    blank = folder / "blank.png"
    rows, columns = np.mgrid[-1:1:120j, -1:1:120j]
    pale = np.full((120, 120, 4), BLANK - 5, np.uint8)  # a disc that shows the model next to nothing
    pale[..., 3] = np.where(rows**2 + columns**2 < 0.9, 255, 0)
    Image.fromarray(pale).save(blank)
    with TITLES.open(encoding="utf-8", newline="") as stream:
        listed = list(csv.DictReader(stream, delimiter="\t"))[1::2]
    titles = [
        Product(f"title-{number}", row["title"], tuple(filter(None, row["category"].split(" > "))), image=str(blank))
        for number, row in enumerate(listed)
    ]
    truth = [replace(one, category=(row["department"],)) for one, row in zip(titles, listed, strict=True)]
    return {
        "held-out objects": (objects, objects),
        "shops' titles": (titles, truth),
        "the same, title alone": ([replace(one, category=()) for one in titles], truth),
    }


def _chosen(products: Sequence[Product], truth: Sequence[Product], *, side: str) -> Chosen:
    writer, now = vlm_room.load("tiny"), SUMMER
    if side == BEFORE:  # no department was looked up in a shop's category, and no season was known
        writer, now = Writer(replace(writer.vlm, model_id="tiny, before")), CHRISTMAS
    selector = SIDES[side](writer, AdPipeline(render.load("studio"), None), GenerateConfig(), Style.of(Rules()), now)
    wanted = frozenset(one.product_id for one in products)
    list(select(selector, products[:2], scenes=Counter(), wanted=wanted))  # the studio's sets are built once
    by_id = {one.product_id: one for one in truth}
    found: list[tuple[Product, Scene]] = []
    seconds, ads = 0.0, 0
    clock = time.process_time()
    scenes: Counter[str] = Counter()
    for number, selection in enumerate(select(selector, products, scenes=scenes, wanted=wanted)):
        scenes.update(scene_key(one.candidate.scene, one.candidate.text) for one in selection.chosen)
        found += [(by_id[one.candidate.product_id], Scene.from_json(one.candidate.scene)) for one in selection.chosen]
        if number < TIMED:
            render_selection(selection, selector=selector, fidelity=FidelityConfig())
            ads += len(selection.chosen)
        if number + 1 == TIMED:
            seconds = time.process_time() - clock
    return Chosen([one for one, _ in found], [scene for _, scene in found], [_cluster(one) for one, _ in found],
                  seconds / max(ads, 1))  # fmt: skip


def _cluster(product: Product) -> str:
    """What the bootstrap draws: an object in all its colors, or a title."""
    return (
        product.product_id
        if product.product_id.startswith("title-")
        else sample.object_of(product.product_id).object_id
    )


BEFORE, AFTER = "first that parse", "by suitability"
SIDES: dict[str, type[CandidateSelector]] = {BEFORE: FirstThatParse, AFTER: CandidateSelector}


def _figures(chosen: Chosen, *, rng: np.random.Generator) -> dict[str, list[float]]:
    """Every share with its interval, and what has none."""
    fit = [world.FIT[world.department(one)] for one in chosen.products]
    shares = {
        "matching": [world.matching(one, scene) for one, scene in zip(chosen.products, chosen.scenes, strict=True)],
        "setting fits": [scene.setting in own.settings for scene, own in zip(chosen.scenes, fit, strict=True)],
        "no prop": [not scene.props for scene in chosen.scenes],
        "never published": [bool(NEVER & {scene.light, *(scene.props or (NO_PROP,))}) for scene in chosen.scenes],
    }
    bootstrap = ClusterBootstrap.draw(chosen.clusters, rng=rng, resamples=RESAMPLES)

    def interval(values: Sequence[bool]) -> list[float]:
        array = np.array(values, float)
        mean: Callable[[np.ndarray], float] = lambda weight: float((weight * array).sum() / weight.sum())  # noqa: E731
        resampled = np.array([mean(drawn[bootstrap.cluster]) for drawn in bootstrap.drawn])
        found = percentile_interval(mean(np.ones(len(array))), resampled)
        return [found.value, found.low, found.high]

    return {name: interval(values) for name, values in shares.items()} | {
        "ads": [float(len(chosen.scenes))],
        "distinct scenes": [len(set(chosen.scenes)) / len(chosen.scenes)],
        "milliseconds": [1000 * chosen.seconds_per_ad],
    }


def _table(rows: dict[tuple[str, str], dict[str, list[float]]], right: dict[str, float]) -> str:
    """Markdown."""
    shares = ("matching", "setting fits", "no prop", "never published")
    head = ("products", "descriptions", "ads", *shares, "distinct scenes", "CPU-ms an ad")
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for (name, side), own in rows.items():
        cells = [f"{100 * own[key][0]:.0f} % [{100 * own[key][1]:.0f}, {100 * own[key][2]:.0f}]" for key in shares]
        cells += [f"{100 * own['distinct scenes'][0]:.0f} %", f"{own['milliseconds'][0]:.0f}"]
        lines.append(f"| {name} | {side} | {own['ads'][0]:.0f} | {' | '.join(cells)} |")
    lines += [
        "",
        "Departments named rightly: " + ", ".join(f"{name} {100 * share:.0f} %" for name, share in right.items()) + ".",
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
