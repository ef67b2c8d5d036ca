"""What does product-centric optimization win, over seeds and both worlds?

Runs the whole loop of `clickscape demo` once per world and seed, each in a workspace of its own below --out (a killed
run goes on where it stopped, a finished one is not repeated), and prints the comparison pooled over seeds: means, with
95 % intervals from a bootstrap over seeds × objects. Writes one JSON row per world to results/loop.jsonl and the table
to --table.

    python benchmarks/loop.py --out loop-runs --seeds 5 --table docs/loop.md
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from clickscape.catalog import sample
from clickscape.demo import SCALES, demo
from clickscape.reward.evaluate import KNOWN_SCENES, NEW_ELEMENT, NEW_TOGETHER
from clickscape.stages import compare
from clickscape.stages.appraise import Ad
from clickscape.stages.progress import Progress, run
from clickscape.types import Estimate
from clickscape.workspace import Manifest, Workspace

RESULTS = Path(__file__).parent / "results" / "loop.jsonl"
RESAMPLES = 2_000
PARTS = (KNOWN_SCENES, NEW_TOGETHER, NEW_ELEMENT)
METRICS = ("true CTR uplift", "win rate", "matching share", "understood", "distinct scenes")


def main() -> None:
    """Run, pool, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("loop-runs"), help="folder of the workspaces")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--worlds", nargs="+", default=["harmony", "siren"], choices=["harmony", "siren"])
    parser.add_argument("--scale", default="full", choices=sorted(SCALES))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", type=Path, help="also write the tables to this Markdown file")
    asked = parser.parse_args()
    parts = []
    for world in asked.worlds:
        folders = [asked.out / f"{world}-{seed}" for seed in range(asked.seeds)]
        for seed, folder in enumerate(folders):
            stage = demo(folder, world=world, seed=seed, scale=SCALES[asked.scale], workers=asked.workers)
            run(stage, on_progress=_Lines(f"{world} seed {seed}"))
        row = pool(folders, rng=np.random.default_rng(0))
        row |= {"world": world, "seeds": asked.seeds, "scale": asked.scale, "at": datetime.now(UTC).isoformat()}
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        parts.append(_table(world, row, seeds=asked.seeds))
        print(parts[-1])
    if asked.table:
        asked.table.write_text(HEADER + "\n".join(parts), encoding="utf-8")


HEADER = """# The loop over seeds and worlds

Simulated clicks of two frozen worlds; held-out products, held out by object. Uplift is of the true CTR over the
pre-trained model. 95 % intervals: bootstrap over seeds × objects. Written by
`python benchmarks/loop.py --table docs/loop.md`.

"""


def pool(folders: Sequence[Path], *, rng: np.random.Generator) -> dict[str, object]:
    """All figures over the runs in `folders`, one run per seed."""
    runs = [Workspace.open(folder) for folder in folders]
    compared = [compare.read_ads(_newest(one, compare.STAGE)[0]) for one in runs]
    rewards = [_newest(one, "reward")[1].result for one in runs]
    rows: dict[str, object] = {}
    for name in compared[0]:
        cells = np.stack([_cells(ads[name], ads[compare.PRETRAINED]) for ads in compared])
        rows[name] = {metric: _interval(metric, cells, rng) for metric in METRICS[:4]}
        scenes = [len({ad.scene for ad in ads[name]}) for ads in compared]
        rows[name]["distinct scenes"] = [float(np.mean(scenes)), float(min(scenes)), float(max(scenes))]  # type: ignore[index]
    accuracy = {
        key: [float(np.mean([r[key]["value"] for r in rewards])), *_spread([r[key]["value"] for r in rewards])]
        for key in ("accuracy", "ceiling", "share", "true_accuracy")
    }
    parts = {name: _pooled_part([r["parts"][name] for r in rewards if name in r["parts"]]) for name in PARTS}
    return {"rows": rows, "reward": accuracy, "parts": parts}


def _pooled_part(found: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Mean, least and most over seeds of a part's accuracy and ceiling, weighted alike."""
    return {
        key: [float(np.mean(values)), *_spread(values)]
        for key in ("accuracy", "ceiling")
        if (values := [one[key]["value"] for one in found])
    }


def _newest(workspace: Workspace, stage: str) -> tuple[Path, Manifest]:
    found = []
    for path in workspace.runs_folder.glob(f"*-{stage}*/manifest.json"):
        manifest = Manifest.model_validate_json(path.read_bytes())
        if manifest.stage == stage and manifest.status == "done":
            found.append((manifest.started, path.parent, manifest))
    return max(found)[1:]


def _cells(after: Sequence[Ad], before: Sequence[Ad]) -> np.ndarray:
    """Sums per object: products, CTR after, CTR before, wins, matches, understood; (object, 6), objects in order."""
    earlier: dict[str, list[Ad]] = {}
    later: dict[str, list[Ad]] = {}
    for found, ads in ((earlier, before), (later, after)):
        for ad in ads:
            found.setdefault(ad.product_id, []).append(ad)
    sums: dict[str, np.ndarray] = {}
    for product_id, own in later.items():
        others = np.array([ad.reward for ad in earlier[product_id]])
        wins = np.mean([np.mean((ad.reward > others) + 0.5 * (ad.reward == others)) for ad in own])
        row = np.array(
            [
                1.0,
                np.mean([ad.relative_ctr for ad in own]),
                np.mean([ad.relative_ctr for ad in earlier[product_id]]),
                wins,
                np.mean([ad.matching for ad in own]),
                np.mean([ad.understood for ad in own]),
            ]
        )
        key = sample.object_of(product_id).object_id
        sums[key] = sums.get(key, np.zeros(6)) + row
    return np.stack([sums[key] for key in sorted(sums)])


def _metric(metric: str, sums: np.ndarray) -> np.ndarray:
    """From sums (…, 6) to the metric (…,)."""
    column = {"win rate": 3, "matching share": 4, "understood": 5}
    if metric == "true CTR uplift":
        return np.asarray(sums[..., 1] / sums[..., 2] - 1)
    return np.asarray(sums[..., column[metric]] / sums[..., 0])


def _interval(metric: str, cells: np.ndarray, rng: np.random.Generator) -> list[float]:
    """Value, low and high; cells: (seed, object, 6). Seeds and objects are drawn anew, objects alike in all."""
    seeds, objects, _ = cells.shape
    draws = []
    for _ in range(RESAMPLES):
        by_seed = rng.integers(seeds, size=seeds)
        by_object = rng.integers(objects, size=objects)
        draws.append(cells[by_seed][:, by_object].sum((0, 1)))
    low, high = np.quantile(_metric(metric, np.stack(draws)), [0.025, 0.975])
    return [float(_metric(metric, cells.sum((0, 1)))), float(low), float(high)]


def _spread(values: Sequence[float]) -> list[float]:
    return [float(min(values)), float(max(values))]


def _table(world: str, row: dict[str, object], *, seeds: int) -> str:
    """A Markdown table of one world."""
    reward: dict[str, list[float]] = row["reward"]  # type: ignore[assignment]
    said = ", ".join(f"{key.replace('_', ' ')} {v[0]:.3f} ({v[1]:.3f}–{v[2]:.3f})" for key, v in reward.items())
    lines = [f"## {world} (simulated clicks, {seeds} seeds)", "", f"Reward model on held-out products: {said}.", ""]
    parts: dict[str, dict[str, list[float]]] = row["parts"]  # type: ignore[assignment]
    told = [f"{name} {one['accuracy'][0]:.3f} of {one['ceiling'][0]:.3f}" for name, one in parts.items() if one]
    lines += [f"By what training showed (accuracy of ceiling): {'; '.join(told)}.", ""]
    lines += ["| | " + " | ".join(METRICS) + " |", "| --- " * (len(METRICS) + 1) + "|"]
    rows: dict[str, dict[str, list[float]]] = row["rows"]  # type: ignore[assignment]
    for name, figures in rows.items():
        cells = [_show(metric, Estimate(*figures[metric])) for metric in METRICS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _show(metric: str, value: Estimate) -> str:
    if metric == "distinct scenes":
        return f"{value.value:.0f} ({value.low:.0f}–{value.high:.0f})"
    sign = "+" if metric == "true CTR uplift" else ""
    return f"{value.value:{sign}.1%} [{value.low:{sign}.1%}, {value.high:{sign}.1%}]"


class _Lines:
    """Prints a line when a stage begins."""

    def __init__(self, title: str) -> None:
        self.title, self.stage = title, ""

    def __call__(self, progress: Progress) -> None:
        if progress.stage != self.stage:
            self.stage = progress.stage
            print(f"{self.title}: {progress.stage} {progress.note}", flush=True)


if __name__ == "__main__":
    main()
