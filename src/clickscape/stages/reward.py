"""Stage `reward`: train the reward model on click counts, or on pairs without them; evaluate on held-out pairs.

By setting, a judge of another form learns from products that are kept from the reward model (`reward.judge`);
models/judge/groups.json names them, so that `optimize` leaves them out of its rounds and monitors the policy on them.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from clickscape.catalog.images import open_image
from clickscape.catalog.split import Split
from clickscape.clicks.audiences import AUDIENCES
from clickscape.clicks.label_noise import order_probability
from clickscape.compute.device import ALONE, Processes, best_device
from clickscape.config import OptimizeConfig, RewardConfig
from clickscape.errors import ModelError, WorkspaceError
from clickscape.json_files import read_json
from clickscape.render.scene import SLOTS, slots_of
from clickscape.reward import evaluate as evaluation
from clickscape.reward import judge as reward_judge
from clickscape.reward import training
from clickscape.reward.data import AudienceCounts, JudgePartition, RewardData, divide_for_judge
from clickscape.reward.judge import Judge
from clickscape.stages import cards, truth
from clickscape.stages import labels as label_stage
from clickscape.stages.clicks import (
    audiences_path,
    pairs_path,
    read_estimates,
    read_pairs,
    served_fingerprint,
    served_pictures,
)
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.split import read as read_split
from clickscape.workspace import Manifest, Workspace, write_text

STAGE = "reward"
JUDGE = "judge"
_GROUPS = "groups.json"


def reward(
    workspace: Workspace, config: RewardConfig, *, true_ctrs: Path | None = None, processes: Processes = ALONE
) -> Stage[Manifest]:
    """Train, save models/reward (and models/judge), and evaluate; returns the run's manifest. A finished run is reused.

    Of several processes the main one writes and yields progress; the others share what training can be shared.
    true_ctrs: table for `truth.read_table`, of creatives whose true CTRs somebody knows. ConfigError for a judge of the
    reward model's own form, WorkspaceError for a held-out creative whose true CTR is not in the table.
    """
    reward_judge.check_form(config)
    if not processes.is_main:
        return (yield from _follow(workspace, config, processes=processes))
    given = None if true_ctrs is None else truth.read_table(true_ctrs)
    source = backbone_source(workspace, config)
    products = workspace.products()
    split = read_split(workspace, products)
    inputs = {
        "products": workspace.products_path,
        "split": split.to_json(),
        "creatives": served_fingerprint(workspace),
        "pictures": served_pictures(workspace),
        "pairs": pairs_path(workspace),
        **({"audiences": told} if (told := audiences_path(workspace)).exists() else {}),
        "backbone": source,
        **({} if true_ctrs is None else {"truth": true_ctrs}),
        **({"labels": said} if (said := label_stage.labels_path(workspace)).exists() else {}),
    }
    if done := workspace.finished(STAGE, config, inputs):
        yield Progress(STAGE, 1, 1, "reused")
        processes.broadcast(False)
        return processes.broadcast(done)
    with workspace.start_run(STAGE, config, inputs) as run:
        yield Progress(STAGE, 0, 1, "reading creatives")
        processes.broadcast(True)
        parts, kept = _parts(workspace, config)
        learning, testing = parts.learning, parts.testing
        if given is not None:
            _check_known(testing, given, where=true_ctrs)
        steps = training.train(
            learning, config=config, source=source, slots=SLOTS, device=_device(processes), processes=processes
        )
        while True:
            try:
                step = next(steps)
            except StopIteration as stop:
                model = stop.value
                break
            run.log(asdict(step))
            yield Progress(STAGE, step.number, step.total, step.text)
        _remove_judge(workspace)  # the old one may have learned from what this model was taught
        model.save(workspace.models / "reward")
        second = None
        if config.judge != "none":
            second = yield from _train_judge(
                workspace, parts.judging, groups=kept, config=config, source=source, processes=processes
            )
        yield Progress(STAGE, 1, 1, "evaluating on held-out products")
        known = truth.read(workspace) if given is None else given
        true_log_ctr = None if known is None else np.array([_number(known.get(name)) for name in testing.creative_ids])
        report = evaluation.evaluate(
            model,
            testing,
            rng=np.random.default_rng(config.seed + 1),
            true_log_ctr=true_log_ctr,
            order_probability=None if known else order_probability(read_estimates(workspace), testing.informative),
            training=learning,
        )
        absent = [truth.OTHER_LOG] if given is None and truth.is_of_another_log(workspace) else []
        cards.reward(workspace, workspace.models / "reward", report, base=source)
        result = {**json.loads(json.dumps(asdict(report))), "summary": [*report.lines(), *absent]}
        if (people := label_stage.check(workspace, model, rng=np.random.default_rng(config.seed + 1))) is not None:
            result["people"] = json.loads(json.dumps(asdict(people)))
            result["summary"].append(people.line())
        if (gain := evaluation.audience_gain(model, testing, rng=np.random.default_rng(config.seed + 1))) is not None:
            result["audience_gain"] = asdict(gain)
            result["summary"].append(
                f"who knows the audience finds its clicks on held-out products likelier by {1_000 * gain.value:.1f} "
                f"[{1_000 * gain.low:.1f}, {1_000 * gain.high:.1f}] nats per 1,000 clicks"
            )
        outputs = [workspace.models / "reward"]
        if second is not None:
            opinion = evaluation.evaluate(
                reward_judge.scores(second, testing),
                testing,
                rng=np.random.default_rng(config.seed + 1),
                true_log_ctr=true_log_ctr,
            )
            cards.judge(workspace, workspace.models / JUDGE, opinion)
            result["judge"] = json.loads(json.dumps(asdict(opinion)))
            result["summary"] += opinion.judge_lines(form=config.judge, groups=len(kept))
            outputs.append(workspace.models / JUDGE)
        return processes.broadcast(run.finish(outputs=outputs, result=result))


def _follow(workspace: Workspace, config: RewardConfig, *, processes: Processes) -> Stage[Manifest]:
    """Do this process's share of the trainings that the main process does."""
    yield from ()
    if processes.broadcast(False):
        source, (parts, _) = backbone_source(workspace, config), _parts(workspace, config)
        shared: dict[str, Any] = {
            "config": config, "source": source, "slots": SLOTS, "device": _device(processes), "processes": processes,
        }  # fmt: skip
        if config.form in training.SHARED:
            training.run(training.train(parts.learning, **shared))
        if config.judge in training.SHARED:
            training.run(reward_judge.train(parts.judging, **shared))
    manifest: Manifest | None = processes.broadcast(None)
    assert manifest is not None
    return manifest


def _device(processes: Processes) -> str:
    """Where a process computes; who calls without a launch takes the GPU, if there is one."""
    return best_device() if processes is ALONE else processes.device


def _parts(workspace: Workspace, config: RewardConfig) -> tuple[JudgePartition, frozenset[str]]:
    """The data by who may learn from it, and the groups that only the judge does."""
    products = workspace.products()
    split = read_split(workspace, products)
    kept = frozenset[str]() if config.judge == "none" else split.reserved_groups(products, share=config.judge_share)
    return divide_for_judge(reward_data(workspace, split), held_out=split.held_out, judge=kept), kept


def _check_known(data: RewardData, true_log_ctrs: Mapping[str, float], *, where: Path | None) -> None:
    """Raise WorkspaceError where a pair has a creative of unknown truth."""
    asked = (name for pair in data.informative for name in (pair.first, pair.second))
    if missing := next((name for name in asked if name not in true_log_ctrs), None):
        raise WorkspaceError(f"{where}: no true CTR of creative {missing!r}, which is held out. Add it.")


def load_judge(workspace: Workspace, *, device: str = "cpu") -> tuple[Judge, frozenset[str]] | None:
    """Return the workspace's judge and the groups of its products; None where it has none.

    ModelError where it is damaged.
    """
    folder = workspace.models / JUDGE
    if not folder.exists():
        return None
    try:
        remedy = "Run `clickscape reward --judge` again."
        names = read_json(folder / _GROUPS, frozenset[str], error=ModelError, remedy=remedy)
    except OSError as error:
        raise ModelError(f"{folder / _GROUPS}: damaged ({error}). Run `clickscape reward --judge` again.") from None
    return reward_judge.load(folder, device=device), names


def _train_judge(
    workspace: Workspace,
    data: RewardData,
    *,
    groups: frozenset[str],
    config: RewardConfig,
    source: Path | str,
    processes: Processes,
) -> Stage[Judge]:
    """Train the judge and write models/judge with the names of its groups."""
    folder = workspace.models / JUDGE
    yield Progress(JUDGE, 0, 1, "learning from products of its own")
    steps = reward_judge.train(
        data, config=config, source=source, slots=SLOTS, device=_device(processes), processes=processes
    )
    while True:
        try:
            step = next(steps)
        except StopIteration as stop:
            judge: Judge = stop.value
            break
        yield Progress(JUDGE, step.number, step.total, step.text)
    judge.save(folder)
    write_text(folder / _GROUPS, json.dumps(sorted(groups)) + "\n")
    yield Progress(JUDGE, 1, 1)
    return judge


def _remove_judge(workspace: Workspace) -> None:
    """Take models/judge away at once, if it is there."""
    folder = workspace.models / JUDGE
    if folder.exists():
        waiting = Path(tempfile.mkdtemp(prefix=f".{JUDGE}-", dir=workspace.models))
        os.replace(folder, waiting / "old")
        shutil.rmtree(waiting)


def writer_source(workspace: Workspace) -> Path | str:
    """Folder of the workspace's own pre-trained prompt model, or the name of the shipped one."""
    pretrained = workspace.models / "pretrained"
    return pretrained if pretrained.exists() else "tiny"


def start_source(workspace: Workspace, config: OptimizeConfig) -> Path | str:
    """Folder or name of what an optimization starts from: what the settings say, or else the workspace's writer."""
    return _named(config.model) if config.model else writer_source(workspace)


def backbone_source(workspace: Workspace, config: RewardConfig) -> Path | str:
    """Folder or name of what the reward model stands on: what the settings say, or else the workspace's writer."""
    return _named(config.backbone) if config.backbone else writer_source(workspace)


def _named(name: str) -> Path | str:
    """A folder where there is one of that name: its content is what counts, then."""
    folder = Path(name)
    return folder if folder.is_dir() else name


def reward_data(workspace: Workspace, split: Split) -> RewardData:
    """The workspace's creatives, their estimates and pairs, as a reward model wants them; pictures are read lazily."""
    products = {product.product_id: product for product in workspace.products()}
    creatives = workspace.some_creatives()
    estimates = read_estimates(workspace)
    names = estimates["creative_id"].to_pylist()

    def column(name: str) -> np.ndarray:
        known = dict(zip(names, estimates[name].to_pylist(), strict=True))
        return np.array([_number(known.get(creative.creative_id)) for creative in creatives])

    return RewardData(
        products=products,
        creative_ids=[creative.creative_id for creative in creatives],
        product_of=[creative.product_id for creative in creatives],
        images=lambda index: open_image(creatives[index].image)[..., :3],
        pairs=read_pairs(workspace),
        log_ctr=column("log_ctr"),
        clicks=column("clicks"),
        examinations=column("examinations"),
        slots=[slots_of(creative) for creative in creatives],
        groups=split.groups,
        audiences=_audiences(workspace, {creative.creative_id: row for row, creative in enumerate(creatives)}),
    )


def _audiences(workspace: Workspace, rows: Mapping[str, int]) -> AudienceCounts | None:
    """The counts by audience of creatives in these rows; None where the log, or an older count of it, names none."""
    if not audiences_path(workspace).exists():
        return None
    table = workspace.read_table(audiences_path(workspace), AUDIENCES)
    if not len(table):
        return None
    names = sorted(set(table["audience"].to_pylist()))
    counts = AudienceCounts(tuple(names), *np.zeros((2, len(rows), len(names))))
    column = {name: place for place, name in enumerate(names)}
    for one in table.to_pylist():
        if (row := rows.get(one["creative_id"])) is not None:
            counts.clicks[row, column[one["audience"]]] += one["clicks"]
            counts.examinations[row, column[one["audience"]]] += one["examinations"]
    return counts


def _number(value: float | None) -> float:
    return math.nan if value is None else value
