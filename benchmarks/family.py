"""Does the reward model hold up in markets that nobody designed?  Its default over many drawn worlds.

Every world of the family (docs/concepts/worlds.md) brings its own catalog size, log, positions and shoppers; products
come from the sample catalog, at most --products of them, and a log has at most --impressions, so that a world costs
minutes. Trained once with predicted and once with given scenes, judged on held-out objects. Prints and writes the
median, the quartiles and the worst tenth over worlds, and a row per world to results/family.jsonl.

    python benchmarks/family.py --worlds 1000 24 --page docs/experiments/family.md
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _results import measure_each, write_part
from clickscape import reward as reward_room
from clickscape.catalog import sample
from clickscape.catalog.split import Split
from clickscape.config import ClicksConfig, RewardConfig, SimulateConfig
from clickscape.reward.effects_model import EffectsModel, read_pictures
from clickscape.reward.protocol import HALF_WIDTH, PROBIT, Odds
from clickscape.simulator.family import draw_structure
from clickscape.simulator.hashed import uniform
from clickscape.stages import split, truth
from clickscape.stages.clicks import clicks
from clickscape.stages.progress import run
from clickscape.stages.reward import reward, reward_data
from clickscape.stages.simulate import simulate
from clickscape.stats.accuracy import calibration_errors
from clickscape.workspace import Workspace

FORMS = ("given", "predicted")
FIGURES = {
    "normalized accuracy": "normalized_accuracy",
    "accuracy on the true order": "true_accuracy",
    "noise ceiling": "ceiling",
    "calibration error": "calibration",
    "the same of a model that is right about itself": "calibration_if_right",
    "coverage": "coverage",
}


def main() -> None:
    """Measure each world, print, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs=2, type=int, default=(1_000, 24), metavar=("FIRST", "COUNT"))
    parser.add_argument("--products", type=int, default=400, help="products of a world, at most")
    parser.add_argument("--impressions", type=int, default=3_000_000, help="impressions of a log, at most")
    parser.add_argument("--workers", type=int, default=2, help="worlds at once")
    parser.add_argument("--page", type=Path, help="Markdown page with the markers")
    asked = parser.parse_args()
    numbers = range(asked.worlds[0], asked.worlds[0] + asked.worlds[1])
    jobs = [(number, asked.products, asked.impressions) for number in numbers]
    rows = measure_each(measure, jobs, workers=asked.workers, by="family")
    part = table(rows)
    print(part)
    if asked.page:
        write_part(asked.page, part, by="family")


def measure(number: int, most_products: int, most_impressions: int) -> dict[str, Any]:
    """Train and judge the default reward model in one world, with given and with predicted scenes."""
    torch.set_num_threads(1)
    structure = draw_structure(number)
    folder = Path(tempfile.mkdtemp(prefix=f"drawn-{number}-"))
    try:
        workspace = Workspace.create(folder / "shop")
        count = write_catalog(workspace, number, min(structure.products, most_products))
        median = min(structure.median_impressions, most_impressions // (count * structure.creatives))
        shown = SimulateConfig(
            world=f"drawn-{number}", creatives_per_product=structure.creatives, median_impressions=median, size=96,
            seed=number, hold_out_scenes=False,
        )  # fmt: skip
        run(simulate(workspace, shown), on_progress=lambda _: None)
        run(clicks(workspace, ClicksConfig()), on_progress=lambda _: None)
        row: dict[str, Any] = {"world": number, "products": count, "median_impressions": median}
        for form in FORMS:
            started = time.process_time()
            made = run(reward(workspace, RewardConfig(scene=form, seed=number)), on_progress=lambda _: None)
            seconds = round(time.process_time() - started, 1)
            own = {name: {"value": value} for name, value in self_knowledge(workspace).items()}
            result = made.result | own
            found = {name: result[key] and result[key]["value"] for name, key in FIGURES.items()}
            row[form] = {**found, "cpu_seconds": seconds}
        return row
    finally:
        shutil.rmtree(folder)


def self_knowledge(workspace: Workspace, *, draws: int = 200) -> dict[str, float]:
    """What the model knows of its own errors, on the held-out pairs of its workspace.

    coverage: share whose true gap of log CTR lies in the 95 % interval. calibration_if_right: the calibration error on
    the very same pairs if the model were right about itself, the mean over truths that are drawn from its posterior
    (posterior predictive check, Rubin 1984): few, dependent pairs have one, however good the probabilities.
    """
    model = reward_room.load(workspace.models / "reward")
    assert isinstance(model, EffectsModel)
    held, known = split.read(workspace, workspace.products()), truth.read(workspace)
    assert known is not None
    data = reward_data(workspace, held)
    data = data.only({name for name in data.products if held.is_held_out(name)})
    rows, pair = np.unique(data.pair_indices, return_inverse=True)
    first, second = pair.reshape(-1, 2).T
    scenes = [None if data.slots is None else data.slots[row] for row in rows]
    pictures = read_pictures(model.backbone, [data.image(int(row)) for row in rows], scenes)
    columns = model.design.matrix(
        model.design.elements(pictures), pictures, [data.product(int(row)) for row in rows]
    )  # fmt: skip
    gaps = columns[first] - columns[second]
    odds = Odds(
        gaps @ model.effects.mode / model.temperature, np.sqrt(model.effects.variance(gaps)) / model.temperature
    )
    scores = np.array([known[data.creative_ids[row]] for row in rows]) / model.temperature
    half = HALF_WIDTH * np.sqrt(odds.sd**2 + PROBIT**2)
    rng = np.random.default_rng(0)
    drawn = columns @ model.effects.draw(draws, rng=rng).T / model.temperature
    drawn = drawn + rng.normal(0, PROBIT / np.sqrt(2), drawn.shape)  # what a picture does beyond the design
    outcomes = (drawn[first] > drawn[second]).T.astype(float)
    return {
        "coverage": float(np.mean(np.abs(scores[first] - scores[second] - odds.mean) < half)),
        "calibration_if_right": float(np.mean([calibration_errors(odds.probability, one).mean() for one in outcomes])),
    }


def write_catalog(workspace: Workspace, number: int, most: int) -> int:
    """Write products of objects drawn by chance, a third of them of objects that no shipped model learned from."""
    objects = sorted(sample.objects(), key=lambda item: uniform("objects", str(number), item.object_id))
    variants = sample.VARIANTS[: -(-most // len(objects))]  # as many objects as there are: they are what varies
    testing = [item for item in objects if item.held_out][: most // (3 * len(variants))]
    others = [item for item in objects if not item.held_out]
    ids = [f"{item.object_id}-{variant}" for item in (*testing, *others) for variant in variants][:most]
    products = sample.write(workspace.catalog, 200, product_ids=ids)
    workspace.write_products(products)
    groups = {product.product_id: sample.object_of(product.product_id).object_id for product in products}
    held_out = frozenset(item.object_id for item in sample.objects() if item.held_out)
    split.write(workspace, Split(groups, held_out & set(groups.values())))
    return len(products)


def table(rows: list[dict[str, Any]]) -> str:
    """Median, quartiles and worst tenth over worlds of each figure, as Markdown."""
    counts = [row["products"] for row in rows]
    lines = [
        f"{len(rows)} worlds, {rows[0]['world']} to {rows[-1]['world']}; {min(counts)} to {max(counts)} products.",
        "",
        "| scenes | figure | median | quartiles | worst tenth | worlds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for form in FORMS:
        for name in FIGURES:
            values = np.array([row[form][name] for row in rows if row[form].get(name) is not None], float)
            if not values.size:
                continue
            worst = np.quantile(values, 0.9 if FIGURES[name].startswith("calibration") else 0.1)
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
            lines.append(f"| {form} | {name} | {middle:.3f} | {low:.3f} to {high:.3f} | {worst:.3f} | {len(values)} |")
        seconds = np.median([row[form]["cpu_seconds"] for row in rows])
        lines.append(f"| {form} | CPU-seconds | {seconds:.0f} | | | {len(rows)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
