"""What does the judge catch?  python benchmarks/judge.py WORKSPACE... --page docs/howto/judge.md

Each WORKSPACE has a simulated log of a drawn world (`clickscape simulate --world drawn-N`). A reward model with given
scenes and a judge learn from products of their own there, as in `clickscape reward --judge`. For every product of the
judge's the copywriter draws ten ads, and the reward model, honest or with a planted flaw, takes its best of six of
them. The monitor's question is then whether the judge sees the chosen ads lose against the others of the six. Flaws,
each 2 in log CTR: one element of one slot; one of the three least liked of every slot at once; bright, dark pictures
(per standard deviation). A flaw is harmful where the chosen ads' true CTR is below that of the six. Each honest model
chooses from twenty other draws of six, which gives the rate of false alarms. Appends a row to results/judge.jsonl.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

from _results import append_row, write_part
from clickscape.catalog.images import open_image
from clickscape.compute.device import set_threads
from clickscape.config import RewardConfig
from clickscape.render.scene import SLOTS, Scene, slots_of
from clickscape.reward import judge as reward_judge
from clickscape.reward import training
from clickscape.reward.data import divide_for_judge
from clickscape.simulator import worlds
from clickscape.simulator.creatives import CreativeJob, creative_seed, make_creative
from clickscape.stages import split, truth
from clickscape.stages.reward import backbone_source, reward_data
from clickscape.workspace import Manifest, Workspace

DRAWN, SEEN, HONEST, COMBINED = 10, 6, 20, 30
SEED = 777
SURE = 1.645  # standard errors by which the monitor wants the judge's win rate below one half


@dataclass(frozen=True)
class Pool:
    """Ads to choose from. product, cluster: (ad,); truth, reward, judge, brightness: (ad,); scenes: (ad,)."""

    product: np.ndarray
    cluster: np.ndarray
    truth: np.ndarray
    reward: np.ndarray
    judge: np.ndarray
    brightness: np.ndarray
    scenes: list[dict[str, str | None]]


def main() -> None:
    """Measure each workspace, print, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspaces", type=Path, nargs="+", metavar="WORKSPACE")
    parser.add_argument("--page", type=Path, help="Markdown page with the markers")
    asked = parser.parse_args()
    set_threads(1)
    rows = []
    for folder in asked.workspaces:
        rows.append(measure(Workspace.open(folder)))
        print({name: value for name, value in rows[-1].items() if name != "choices"}, flush=True)
    found = summary(rows)
    append_row(found, by="judge")
    part = "".join(f"| {name} | {value} |\n" for name, value in found.items())
    print(part)
    if asked.page:
        write_part(asked.page, f"| figure | |\n| --- | --- |\n{part}", by="judge")


def measure(workspace: Workspace) -> dict[str, Any]:
    """Train both models in one workspace and read what the judge says of every choice."""
    simulated = max(workspace.runs_folder.glob("*-simulate*/manifest.json"))
    world = Manifest.model_validate_json(simulated.read_bytes()).result["world"]
    products, known = workspace.products(), truth.read(workspace)
    assert known is not None
    held = split.read(workspace, products)
    kept = held.reserved_groups(products, share=RewardConfig().judge_share)
    parts = divide_for_judge(reward_data(workspace, held), held_out=held.held_out, judge=kept)
    config = RewardConfig(scene="given", judge="neighbors")
    source = backbone_source(workspace, config)
    model = training.run(training.train(parts.learning, config=config, source=source, slots=SLOTS))
    judge = training.run(reward_judge.train(parts.judging, config=config, source=source, slots=SLOTS, device="cpu"))
    scores, right = reward_judge.scores(judge, parts.testing), []
    for own in ragged(parts.testing.product_of, np.isfinite(scores)):
        for first, second in combinations(own, 2):
            gap = known[parts.testing.creative_ids[first]] - known[parts.testing.creative_ids[second]]
            right.append(0.5 + 0.5 * np.sign(gap * (scores[first] - scores[second])))
    shoppers, ads = worlds.load(world), []
    with TemporaryDirectory() as folder:
        for product in products:
            for number in range(DRAWN if held.groups[product.product_id] in kept else 0):
                name, seed = f"{product.product_id}-{number}", creative_seed(SEED, product.product_id, number)
                job = CreativeJob(name, product, Path(folder) / f"{name}.webp", seed, any_scene=True)
                made, figures = make_creative(job, size=96, world=world)
                picture = open_image(Path(made.image))[..., :3]
                ads.append((product, picture, slots_of(made) or {}, Scene.of(made.scene), figures))
    shown = [product for product, *_ in ads], [ad[1] for ad in ads], [dict(ad[2]) for ad in ads]
    pool = Pool(
        product=np.array([product.product_id for product in shown[0]]),
        cluster=np.array([held.groups[product.product_id] for product in shown[0]]),
        truth=np.array([shoppers.log_ctr(p, scene, figures) for p, _, _, scene, figures in ads]),
        reward=model.score(*shown),
        judge=judge.score(*shown),
        brightness=np.array([cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)[..., 0].mean() for picture in shown[1]]),
        scenes=shown[2],
    )
    choices = list(choose(pool, np.random.default_rng(SEED)))
    return {"world": world, "groups": len(kept), "accuracy": float(np.mean(right)), "choices": choices}


def choose(pool: Pool, rng: np.random.Generator) -> Iterator[tuple[str, float, float]]:
    """Yield kind of flaw, true change of log CTR, and the judge's win rate over one half, in standard errors."""
    owned = ragged(pool.product.tolist(), np.ones(len(pool.product), bool))
    cluster = np.unique([pool.cluster[own[0]] for own in owned], return_inverse=True)[1]

    def choice(kind: str, flaw: np.ndarray | float) -> tuple[str, float, float]:
        gains, wins, scored = [], [], pool.reward + flaw
        for own in owned:
            seen = rng.permutation(own)[:SEEN]
            best = seen[scored[seen].argmax()]
            gains.append(pool.truth[best] - pool.truth[seen].mean())
            wins.append(np.sign(pool.judge[best] - pool.judge[seen]).mean() / 2)
        means = np.bincount(cluster, wins) / np.bincount(cluster)
        return kind, float(np.mean(gains)), float(means.mean() / (means.std(ddof=1) / np.sqrt(len(means)) + 1e-9))

    liked: dict[str, list[tuple[float, np.ndarray]]] = {}
    for slot, values in SLOTS.items():
        for value in values:
            shows = np.array([scene.get(slot) == value for scene in pool.scenes])
            if shows.mean() >= 0.02:
                liked.setdefault(slot, []).append((float(pool.truth[shows].mean()), shows))
    yield from (choice("honest", 0.0) for _ in range(HONEST))
    yield from (choice("element", 2.0 * shows) for some in liked.values() for _, shows in some)
    least = [[shows for _, shows in sorted(some, key=lambda one: one[0])[:3]] for some in liked.values()]
    for _ in range(COMBINED):
        yield choice("every slot", sum((2.0 * some[rng.integers(len(some))] for some in least), np.zeros(1)))
    bright = (pool.brightness - pool.brightness.mean()) / pool.brightness.std()
    yield from (choice("brightness", sign * bright) for sign in (2.0, -2.0))


def ragged(names: list[str] | Any, wanted: np.ndarray) -> list[list[int]]:
    """Return the wanted rows of each name."""
    rows: dict[str, list[int]] = {}
    for row in np.flatnonzero(wanted).tolist():
        rows.setdefault(names[row], []).append(row)
    return list(rows.values())


def summary(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return the page's figures."""
    every = [choice for row in rows for choice in row["choices"]]
    honest = np.array([errors for kind, _, errors in every if kind == "honest"])
    harmful = np.array([errors for kind, gain, errors in every if kind != "honest" and gain < 0])
    harmless = np.array([errors for kind, gain, errors in every if kind != "honest" and gain >= 0])
    accuracy, limit = [row["accuracy"] for row in rows], np.quantile(honest, 0.05)
    groups = [row["groups"] for row in rows]
    area = (np.sign(honest[:, None] - harmful).mean() + 1) / 2
    return {
        "worlds; groups of a judge": f"{len(rows)}; {min(groups)} to {max(groups)}",
        "pair accuracy on the true order, held-out objects": f"{np.mean(accuracy):.3f}, {min(accuracy):.3f} to "
        f"{max(accuracy):.3f}",
        f"harmful flaws, of {len(harmful) + len(harmless)}": str(len(harmful)),
        "caught, where 5 % of honest choices would be": f"{np.mean(harmful < limit):.0%}",
        "ROC AUC, harmful against honest": f"{area:.3f}",
        "caught by the monitor's test": f"{np.mean(harmful < -SURE):.0%}",
        "honest and harmless choices that this test stops": f"{np.mean(honest < -SURE):.1%}; "
        f"{np.mean(harmless < -SURE):.1%}",
    }


if __name__ == "__main__":
    main()
