"""Who ranks ads best?  A benchmark on exported datasets with true CTRs, that others can enter.

    python benchmarks/ad_ranking.py score FOLDER predictions.jsonl
    python benchmarks/ad_ranking.py measure --out ad-ranking-runs --page docs/experiments/benchmark.md

`score` takes a folder that `clickscape dataset export` wrote of a simulated world, and JSON lines of creative_id and
score for every creative of its split `test`. It prints how well the scores rank the creatives of each product by their
true CTR. docs/experiments/benchmark.md defines the tasks.

`measure` makes the datasets of its table, lets our reward model and baselines learn from each `train`, and scores them
all by the same function; intervals are a bootstrap over held-out objects, each drawn with all of its seeds. A killed
run goes on where it stopped. Appends one JSON row to results/ad_ranking.jsonl.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq

from _results import append_row, write_part
from clickscape import reward as reward_room
from clickscape.catalog import sample
from clickscape.demo import Scale, prepare
from clickscape.json_files import read_json_lines
from clickscape.stages.dataset import export
from clickscape.stages.progress import run
from clickscape.stages.reward import reward, reward_data
from clickscape.stages.split import read as read_split
from clickscape.stats.bootstrap import ClusterBootstrap
from clickscape.types import Estimate
from clickscape.workspace import Workspace

World = Literal["harmony", "siren"]
WORLDS: tuple[World, ...] = ("harmony", "siren")
SCALE = Scale(variants=sample.VARIANTS[:1], learning_creatives=5, testing_creatives=4)
PRIOR = 200
"""Impressions at the mean CTR that a baseline's means of values are shrunk with."""
Row = dict[str, Any]
Scores = Mapping[str, float]


@dataclass(frozen=True)
class Prediction:
    """A line of predictions.jsonl."""

    creative_id: str
    score: float


@dataclass(frozen=True)
class Ranked:
    """One product, ranked: group, share of its pairs in the true order (ties ½), and 1 − CTR of the first / best."""

    group: str
    accuracy: float
    regret: float


def read(folder: Path, part: str) -> list[Row]:
    """The creatives of a split with the words of their products, without pictures."""
    words = {row["product_id"]: row for row in _rows(folder, "products", part)}
    return [{**words[row["product_id"]], **row} for row in _rows(folder, "creatives", part)]


def _rows(folder: Path, table: str, part: str) -> list[Row]:
    file = folder / table / f"{part}.parquet"
    columns = [name for name in pq.read_schema(file).names if name != "image"]
    return pq.read_table(file, columns=columns).to_pylist()


def score(folder: Path, scores: Scores) -> list[Ranked]:
    """Rank every product of `test` by the scores; SystemExit for a creative without a score or a true CTR."""
    products: dict[str, list[Row]] = {}
    for row in _rows(folder, "creatives", "test"):
        if row["creative_id"] not in scores:
            raise SystemExit(
                f"no score of creative {row['creative_id']!r}, which is in the split `test`. Add its line."
            )
        if row["true_ctr"] is None:
            raise SystemExit(f"{folder}: no true CTRs: its clicks are real. Take a dataset of a simulated world.")
        products.setdefault(row["product_id"], []).append(row)
    return [_ranked(own, scores) for own in products.values() if len(own) > 1]


def _ranked(own: Sequence[Row], scores: Scores) -> Ranked:
    given = np.array([scores[row["creative_id"]] for row in own])
    true = np.array([row["true_ctr"] for row in own])
    signs = [np.sign(given[a] - given[b]) * np.sign(true[a] - true[b]) for a, b in combinations(range(len(own)), 2)]
    first = given >= given.max() - 1e-12
    return Ranked(own[0]["group"], float(np.mean(signs) / 2 + 0.5), float(1 - true[first].mean() / true.max()))


def summary(ranked: Sequence[Ranked]) -> tuple[Estimate, Estimate]:
    """Mean accuracy and regret over products, bootstrapped over groups."""
    draws = ClusterBootstrap.draw([one.group for one in ranked], rng=np.random.default_rng(0))
    return draws.mean(np.array([one.accuracy for one in ranked])), draws.mean(np.array([one.regret for one in ranked]))


def clicks_of_test(_: Sequence[Row], test: Sequence[Row]) -> Scores:
    """The observed CTR of what is ranked: needs the clicks that a new ad does not have yet."""
    return {row["creative_id"]: (row["clicks"] + 0.5) / (row["impressions"] + 1) for row in test}


def values_of_scene(train: Sequence[Row], test: Sequence[Row], *, department: bool = False) -> Scores:
    """Sum over slots of the log of a value's CTR in `train`, shrunk to the mean; by department where asked."""

    def keys(row: Row) -> list[tuple[str, ...]]:
        shelf = row["category"][0] if department and row["category"] else ""
        return [(slot, str(value), shelf) for slot, value in json.loads(row["scene"]).items()]

    mean = sum(row["clicks"] for row in train) / max(sum(row["impressions"] for row in train), 1)
    clicks: dict[tuple[str, ...], float] = {}
    shown: dict[tuple[str, ...], float] = {}
    for row in train:
        for key in keys(row):
            clicks[key] = clicks.get(key, PRIOR * mean) + row["clicks"]
            shown[key] = shown.get(key, PRIOR) + row["impressions"]
    effect = {key: float(np.log(clicks[key] / shown[key] / mean)) for key in clicks}
    return {row["creative_id"]: sum(effect.get(key, 0.0) for key in keys(row)) for row in test}


def by_department(train: Sequence[Row], test: Sequence[Row]) -> Scores:
    """Values of the scene, all and within the department together."""
    whole, own = values_of_scene(train, test), values_of_scene(train, test, department=True)
    return {name: whole[name] + own[name] for name in whole}


def at_random(_: Sequence[Row], test: Sequence[Row]) -> Scores:
    """One score for all."""
    return {row["creative_id"]: 0.0 for row in test}


BASELINES: dict[str, Callable[[Sequence[Row], Sequence[Row]], Scores]] = {
    "no ranking": at_random,
    "CTR of scene values": values_of_scene,
    "CTR of scene values, and by department": by_department,
    "observed clicks of the test ads": clicks_of_test,
}
OURS = {"reward model, scenes read from pictures": False, "reward model, scenes given": True}


def made(out: Path, world: World, seed: int) -> tuple[Workspace, Path]:
    """A workspace with a trained reward model and its exported dataset."""
    workspace = run(prepare(out / f"{world}-{seed}", world=world, seed=seed, scale=SCALE, workers=1))
    run(reward(workspace, SCALE.reward.model_copy(update={"seed": seed})))
    folder = out / f"{world}-{seed}-dataset"
    if not folder.exists():
        run(export(workspace, folder))
    return workspace, folder


def our_scores(workspace: Workspace, *, given: bool) -> Scores:
    """Scores of held-out creatives by the workspace's reward model."""
    data = reward_data(workspace, read_split(workspace, workspace.products()))
    model = reward_room.load(workspace.models / "reward")
    model = model.with_given_scenes() if given else model
    rows = [n for n, name in enumerate(data.product_of) if sample.is_held_out(name)]
    scenes = [data.slots[n] if data.slots is not None else None for n in rows]
    found = model.score([data.product(n) for n in rows], [data.image(n) for n in rows], scenes)
    return {data.creative_ids[n]: float(value) for n, value in zip(rows, found, strict=True)}


def measure(out: Path, seeds: int) -> Row:
    """All figures: world → name → accuracy and regret, with the sizes of the datasets."""
    ranked: dict[str, dict[str, list[Ranked]]] = {world: {} for world in WORLDS}
    sizes: dict[str, int] = {}
    for seed in range(seeds):
        for world in WORLDS:
            workspace, folder = made(out, world, seed)
            train, test = read(folder, "train"), read(folder, "test")
            found = {name: baseline(train, test) for name, baseline in BASELINES.items()}
            found |= {name: our_scores(workspace, given=given) for name, given in OURS.items()}
            for name, scores in found.items():
                ranked[world].setdefault(name, []).extend(score(folder, scores))
            sizes = {"train": len(train), "test": len(test)}
            print(f"{world} {seed}: {len(train)} ads to learn from, {len(test)} to rank", flush=True)
    worlds = {world: {name: [asdict(one) for one in summary(own)] for name, own in rows.items()}
              for world, rows in ranked.items()}  # fmt: skip
    return {"seeds": seeds, **sizes, "worlds": worlds}


def table(row: Row) -> str:
    """The page's tables."""
    lines = []
    for world, rows in row["worlds"].items():
        lines += [f"### {world}", "", "| | pair accuracy, % | CTR lost by its first choice, % |", "| --- | --- | --- |"]
        for name, values in rows.items():
            cells = [f"{one['value']:.1%} [{one['low']:.1%}, {one['high']:.1%}]".replace("%", "") for one in values]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    lines.append(f"{row['seeds']} seeds a world; {row['train']} ads to learn from and {row['test']} to rank in each.")
    return "\n".join(lines)


def main() -> None:
    """Score somebody's predictions, or measure the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    scoring = commands.add_parser("score", help="rank by somebody's predictions")
    scoring.add_argument("dataset", type=Path, help="folder of `clickscape dataset export`")
    scoring.add_argument("predictions", type=Path, help="JSON lines of creative_id and score")
    measuring = commands.add_parser("measure", help="make the datasets, train, and print the table")
    measuring.add_argument("--out", type=Path, required=True, help="folder for workspaces and datasets")
    measuring.add_argument("--seeds", type=int, default=3)
    measuring.add_argument("--page", type=Path, help="page to write the tables into")
    asked = parser.parse_args()
    if asked.command == "score":
        lines = read_json_lines(asked.predictions, Prediction)
        ranked = score(asked.dataset, {line.creative_id: line.score for line in lines})
        for name, one in zip(("pair accuracy", "CTR lost by the first choice"), summary(ranked), strict=True):
            print(f"{name:30s} {one.value:.3f} [{one.low:.3f}, {one.high:.3f}]")
        return
    row = measure(asked.out, asked.seeds)
    append_row(row, by="ad_ranking")
    print(table(row))
    if asked.page:
        write_part(asked.page, table(row), by="ad_ranking")


if __name__ == "__main__":
    main()
