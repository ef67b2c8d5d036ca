"""Does the monitor notice a gamed reward?  python benchmarks/gaming.py [WORKSPACE...] --page docs/howto/judge.md

Plants a flaw of known size in the reward model that teaches, and optimizes at the default settings. The flaw: in every
slot of the scene, the element that shoppers like least, on average over products, is worth some logits more to the
reward model than it is. The policy learns from the flawed reward model; the judge, of another form and learned from
other products, scores the same ads after every round as in `clickscape optimize`. Here the rounds always go on, so
that both can be measured: the policy that a monitored run would have kept, and what a run without a monitor ends with.

Figures are of the monitor's products, from which neither the reward model nor the rounds learn. What shoppers truly
think of the same words is the simulator's to say. Each WORKSPACE has a simulated log, such as
`benchmarks/loop.py` leaves, and a judge: `clickscape reward WORKSPACE --judge neighbors`. A killed run goes on where it
stopped. Appends one JSON row per flaw to results/gaming.jsonl, prints the table of all that are there (the newest of
each), and writes it into the page between its markers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from _results import RESULTS, append_row, write_part
from clickscape import render, vlm
from clickscape import reward as reward_room
from clickscape.compute.device import ALONE, Processes, set_threads
from clickscape.config import OptimizeConfig
from clickscape.generation.pipeline import AdPipeline, Reward, cutout_images
from clickscape.preference import evaluate, rounds
from clickscape.preference import monitor as monitor_room
from clickscape.preference.monitor import MonitorReport, RewardHackingMonitor
from clickscape.preference.rounds import RoundReport
from clickscape.render.scene import Scene
from clickscape.reward.protocol import Slots
from clickscape.simulator import evaluation, vocabulary, world
from clickscape.simulator.world import World
from clickscape.stages import split
from clickscape.stages.optimize import monitored
from clickscape.stages.reward import JUDGE, writer_source
from clickscape.stats.bootstrap import ClusterBootstrap
from clickscape.types import Estimate, Product
from clickscape.vlm.generate import Writer
from clickscape.workspace import Manifest, Workspace

FLAWS = (0.0, 1.0, 2.0, 4.0)
"""Logits per element; those of what the pre-trained model writes for one product have a spread of 2 to 3."""

HEADER = """\
| world, seed | logits more | a monitored run ends after | and keeps, true CTR | best of any round \
| {rounds} rounds without monitor, true CTR | wins, reward model | wins, judge | overrated elements in an ad |
| --- | ---: | --- | --- | --- | --- | --- | --- | --- |
"""


class Flawed:
    """A reward model to whom some elements, slot → value, are worth more than they are."""

    def __init__(self, honest: Reward, elements: Mapping[str, str], *, logits: float) -> None:
        self._honest, self._elements, self._logits = honest, elements, logits

    def score(
        self, products: Sequence[Product], images: Sequence[np.ndarray], scenes: Sequence[Slots | None] | None = None, /
    ) -> np.ndarray:
        """(image,) logits."""
        assert scenes is not None
        shown = [overrated(scene or {}, self._elements) for scene in scenes]
        return np.asarray(self._honest.score(products, images, scenes) + self._logits * np.array(shown))


class Witness(RewardHackingMonitor):
    """A monitor as `clickscape optimize` has it, but it ends nothing: its notes say what it would have."""

    def __init__(self, monitor: RewardHackingMonitor) -> None:
        vars(self).update(vars(monitor))

    def after(self, writer: Writer, folder: Path, *, round_number: int, processes: Processes = ALONE) -> MonitorReport:
        """What was seen, without its consequences."""
        seen = super().after(writer, folder, round_number=round_number, processes=processes)
        return replace(seen, reason="", kept=round_number)


@dataclass(frozen=True, slots=True)
class After:
    """The policy after a round: its wins over the first one, and what shoppers think; ``overrated``: elements an ad.

    ``judge_ends``, ``floor_ends``: whether a monitor would have ended the run here for that reason.
    """

    reward_wins: Estimate
    judge_wins: Estimate
    uplift: Estimate
    matching: Estimate
    overrated: Estimate
    judge_ends: bool
    floor_ends: bool


@dataclass(frozen=True, slots=True)
class GamedRun:
    """One flaw in one workspace, round by round."""

    world: str
    seed: int
    logits: float
    elements: Mapping[str, str]
    rounds: Sequence[After]

    @property
    def ended(self) -> int:
        """The round that a monitored run ends with; one more than there are if it goes on to its end."""
        ends = [number for number, one in enumerate(self.rounds, start=1) if one.judge_ends or one.floor_ends]
        return min(ends, default=len(self.rounds) + 1)

    @property
    def kept(self) -> Estimate:
        """True CTR uplift of the policy that a monitored run keeps: the one before the round that ended it."""
        before = self.ended - 1
        return self.rounds[before - 1].uplift if before else Estimate(0.0, 0.0, 0.0)


def main() -> None:
    """Run, print, keep, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspaces", type=Path, nargs="*", metavar="WORKSPACE")
    parser.add_argument("--flaws", type=float, nargs="+", default=FLAWS, help="logits per element")
    parser.add_argument("--page", type=Path, help="Markdown page with the markers")
    asked = parser.parse_args()
    set_threads(1)
    for folder in asked.workspaces:
        for logits in asked.flaws:
            found = gamed(Workspace.open(folder), logits=logits, config=OptimizeConfig())
            row = {**asdict(found)}
            append_row(row, by="gaming")
    text = table([json.loads(line) for line in (RESULTS / "gaming.jsonl").read_text(encoding="utf-8").splitlines()])
    print(text)
    if asked.page:
        write_part(asked.page, text, by="gaming")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The newest row of every world, flaw and seed, as Markdown."""
    newest: dict[tuple[str, float, int], GamedRun] = {}
    for row in rows:
        found = TypeAdapter(GamedRun).validate_python(
            {name: value for name, value in row.items() if name not in {"at", "machine"}}
        )
        newest[found.world, found.logits, found.seed] = found
    rounds = max(len(found.rounds) for found in newest.values())
    return HEADER.format(rounds=rounds) + "".join(f"{_line(newest[key])}\n" for key in sorted(newest))


def gamed(workspace: Workspace, *, logits: float, config: OptimizeConfig) -> GamedRun:
    """Optimize against a reward model with this flaw, and read what came of every round."""
    if not (workspace.models / JUDGE).exists():
        raise SystemExit(f"{workspace.path} has no judge. Run `clickscape reward {workspace.path} --judge neighbors`.")
    simulated = max(workspace.runs_folder.glob("*-simulate*/manifest.json"))
    found = Manifest.model_validate_json(simulated.read_bytes())
    shoppers, seed = world.load(found.result["world"]), int(found.config["seed"])
    config = config.model_copy(update={"seed": seed})
    products = workspace.products()
    held = split.read(workspace, products)
    reward, renderer, writer = workspace.models / "reward", render.load("studio"), vlm.load(writer_source(workspace))
    elements = least_liked(shoppers, held.training(products))
    reward_model = Flawed(reward_room.load(reward), elements, logits=logits)
    pipeline = AdPipeline(renderer, reward_model, cutout_images(writer.vlm.image_size))
    around = monitored(workspace, products, held, pipeline=pipeline, config=config)
    assert around.monitor is not None  # where there is a judge there is a monitor
    monitor = Witness(around.monitor)
    folder = workspace.path / "gaming" / f"{logits:g}"
    for event in rounds.optimize(writer, pipeline, around.products, folder=folder, config=config, monitor=monitor):
        if isinstance(event, RoundReport):
            print(f"{workspace.path.name}, {logits:g} logits more: round {event.round} of {config.rounds}", flush=True)
    return GamedRun(
        shoppers.name,
        seed,
        logits,
        elements,
        list(_read(monitor, folder, shoppers, elements, config=config, reward=reward)),
    )


def least_liked(shoppers: World, products: Sequence[Product]) -> dict[str, str]:
    """In every slot the element that shoppers like least, on average over these products."""
    return {
        slot: min(values, key=lambda value, slot=slot: sum(shoppers.slot_effect(one, slot, value) for one in products))
        for slot, values in vocabulary.SLOTS.items()
    }


def overrated(scene: Slots, elements: Mapping[str, str]) -> int:
    """How many of these elements a scene shows."""
    return sum(scene.get(slot) == value for slot, value in elements.items())


def _read(
    monitor: RewardHackingMonitor,
    folder: Path,
    shoppers: World,
    elements: Mapping[str, str],
    *,
    config: OptimizeConfig,
    reward: Path,
) -> Iterator[After]:
    """What every round's policy wrote for the held-back products, judged again by the rules and by the world."""
    samples = [
        monitor_room.read_samples(folder / f"round-{number}" / monitor_room.FILE) for number in range(config.rounds + 1)
    ]
    departments = {product.product_id: product.department for product in monitor.products}

    def outcomes(seen: Sequence[monitor_room.HeldOutSample]) -> evaluate.Outcomes:
        texts: dict[str, list[str]] = {}
        for one in seen:
            texts.setdefault(one.product_id, []).append(one.text)
        own = [texts[product.product_id] for product in monitor.products]
        ads = evaluation.score_ads(
            monitor.products, own, truth=shoppers.name, reward=reward, size=config.render_size, seed=config.seed,
            workers=1,
        )  # fmt: skip
        return evaluation.outcomes(list(ads), cluster=monitor.groups.__getitem__)

    first = outcomes(samples[0])
    for number in range(1, config.rounds + 1):
        seen = monitor_room.compare(
            samples[number],
            before=samples[number - 1],
            first=samples[0],
            round_number=number,
            groups=monitor.groups,
            departments=departments,
            config=monitor.config.model_copy(update={"diversity": 0.0}),
        )
        assert seen.judge is not None
        now, rng = outcomes(samples[number]), np.random.default_rng(config.seed)
        truth = evaluate.evaluate(now, before=first, rng=rng)
        shown = np.array([overrated(Scene.from_json(scene).slots, elements) for scene in now.scenes])
        yield After(
            reward_wins=seen.reward_model.win_rate,
            judge_wins=seen.judge.win_rate,
            uplift=truth.uplift,
            matching=truth.matching_share,
            overrated=ClusterBootstrap.draw(now.objects, rng=rng).mean(shown),
            judge_ends=bool(seen.reason),
            floor_ends=min(seen.left.values()) < monitor.config.diversity,
        )


def _line(found: GamedRun) -> str:
    """One row of the table."""
    last, ended = found.rounds[-1], "—"
    if found.ended <= len(found.rounds):
        by = "judge" if found.rounds[found.ended - 1].judge_ends else "floor"
        ended = f"round {found.ended}, by the {by}"
    cells = [
        f"*{found.world}*, {found.seed}",
        f"{found.logits:g}",
        ended,
        _percent(found.kept, sign="+"),
        f"{100 * max(one.uplift.value for one in found.rounds):+.0f} %",
        _percent(last.uplift, sign="+"),
        _percent(last.reward_wins),
        _percent(last.judge_wins),
        f"{last.overrated.value:.1f} of {len(found.elements)}",
    ]
    return f"| {' | '.join(cells)} |"


def _percent(value: Estimate, *, sign: str = "") -> str:
    return f"{100 * value.value:{sign}.0f} % [{100 * value.low:.0f}, {100 * value.high:.0f}]"


if __name__ == "__main__":
    main()
