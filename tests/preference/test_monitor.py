"""A reward model that one kind of scene pleases whatever the product is caught by a judge, and an honest one is not."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.factory import Brightness

from clickscape.config import MonitorConfig, OptimizeConfig
from clickscape.errors import PreferenceError
from clickscape.generation.pipeline import AdPipeline
from clickscape.preference.monitor import FILE, HeldOutSample, RewardHackingMonitor, compare, read_samples
from clickscape.preference.rounds import RoundReport, open_policy, optimize
from clickscape.render import load
from clickscape.render.language.parse import parse
from clickscape.reward.judge import Judge
from clickscape.reward.protocol import Slots
from clickscape.types import Product
from clickscape.vlm.generate import Writer
from clickscape.vlm.model import VisionLanguageModel

Run = Callable[..., Iterator[RoundReport]]
QUICK = OptimizeConfig(
    rounds=2, products_per_round=6, candidates=12, max_new_tokens=40, min_margin=0.05,
    epochs=4, batch_size=3, learning_rate=3e-3, render_size=64, pairs_per_product=3, unparsed_share=1.0,
)  # fmt: skip
SETTINGS = MonitorConfig(products=6, descriptions=6, diversity=0.0)


@pytest.fixture(scope="module")
def liking(texts: list[str]) -> dict[str, float]:
    """Surface → how much the reward model likes its scene of `texts`; every text has a surface of its own."""
    return {str(parse(text).scene.surface): 1.0 * number for number, text in enumerate(texts)}


@pytest.fixture(scope="module")
def run(taught: Callable[[], VisionLanguageModel], shelf: list[Product], liking: dict[str, float]) -> Run:
    pipeline = AdPipeline(load("studio"), SurfaceJudge(liking))

    def go(folder: Path, judge: Judge | None, settings: MonitorConfig = SETTINGS) -> Iterator[RoundReport]:
        monitor = RewardHackingMonitor(
            shelf[1::2],
            pipeline=pipeline,
            judge=judge,
            groups={product.product_id: product.product_id for product in shelf},
            config=settings,
            render_size=64,
            max_new_tokens=40,
        )
        for event in optimize(Writer(taught()), pipeline, shelf[::2], folder=folder, config=QUICK, monitor=monitor):
            if isinstance(event, RoundReport):
                yield event

    return go


class SurfaceJudge:
    """Scores an ad by its surface."""

    def __init__(self, effects: Mapping[str, float]) -> None:
        self.effects = effects

    def score(self, _products: Sequence[Product], _images: Sequence[np.ndarray], scenes: Sequence[Slots]) -> np.ndarray:
        return np.array([self.effects.get(str(scene["surface"]), 0.0) for scene in scenes])

    def save(self, folder: Path) -> None:
        raise NotImplementedError


@pytest.fixture(scope="module")
def gamed(run: Run, liking: dict[str, float], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list]:
    """A run whose judge knows that shoppers dislike what pleases the reward model."""
    folder = tmp_path_factory.mktemp("gamed") / "run"
    return folder, list(run(folder, SurfaceJudge({surface: -value for surface, value in liking.items()})))


@pytest.mark.slow
def test_reward_hacking_ends_the_run_and_keeps_the_policy_before(gamed: tuple[Path, list]) -> None:
    folder, reports = gamed
    last = reports[-1].monitor
    assert last.reason.startswith("reward model and judge disagree")
    assert not any(report.monitor.reason for report in reports[:-1])
    assert last.kept == reports[-1].kept == reports[-1].round - 1
    assert reports[-1].stopped == last.reason
    assert last.reward_model.win_rate.value > 0.5 > last.judge.win_rate.value
    assert not (folder / f"round-{reports[-1].round + 1}").exists() or reports[-1].round == QUICK.rounds
    kept, before = open_policy(folder).vlm, open_policy(folder, round_number=last.kept).vlm
    gone = open_policy(folder, round_number=reports[-1].round).vlm
    weights = [dict(vlm.model.state_dict()) for vlm in (kept, before, gone)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(not torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


@pytest.mark.slow
def test_an_ended_run_stays_ended(gamed: tuple[Path, list], run: Run, liking: dict[str, float]) -> None:
    folder, reports = gamed
    judge = SurfaceJudge({surface: -value for surface, value in liking.items()})
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert list(run(folder, judge)) == reports
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
    with pytest.raises(PreferenceError, match=r"another kind .*monitor"):
        next(run(folder, judge, SETTINGS.model_copy(update={"confidence": 0.9})))


@pytest.mark.slow
def test_the_run_goes_on_while_reward_model_and_judge_agree(run: Run, liking: dict[str, float], tmp_path: Path) -> None:
    """And interrupted after its first round it sees the same as in one go."""
    judge = SurfaceJudge(liking)
    whole = list(run(tmp_path / "whole", judge))
    assert [report.round for report in whole] == [1, 2]
    assert [report.stopped for report in whole] == [None, None]
    last = whole[-1].monitor
    assert last is not None
    assert last.judge is not None
    assert (last.kept, last.reason) == (2, "")
    assert min(last.reward_model.win_rate.low, last.judge.win_rate.low) > 0.5
    assert last.reward_model.reward.low > 0
    list(itertools.islice(run(tmp_path / "cut", judge), 1))
    assert list(run(tmp_path / "cut", judge)) == whole


@pytest.mark.slow
def test_too_little_diversity_ends_the_run(run: Run, tmp_path: Path) -> None:
    reports = list(run(tmp_path / "run", None, SETTINGS.model_copy(update={"diversity": 1.0})))
    last = reports[-1].monitor
    assert last is not None
    assert last.judge is None
    assert last.reason.startswith("too little diversity is left, at least 100% is asked for: ")
    assert min(last.left.values()) < 1
    assert read_samples(tmp_path / "run" / "round-0" / FILE)[0].judge is None


def samples(*rows: tuple[Sequence[float], Sequence[float]]) -> list[HeldOutSample]:
    """One row per product: the scores of its two descriptions by reward model and judge."""
    return [
        HeldOutSample(f"p{number}", f"oak table number {place}", "", None, taught, judged)
        for number, (reward_model, judge) in enumerate(rows)
        for place, (taught, judged) in enumerate(zip(reward_model, judge, strict=True))
    ]


def report(
    now: list[HeldOutSample],
    before: list[HeldOutSample],
    first: list[HeldOutSample],
    groups: Mapping[str, str] | None = None,
    **settings: float,
):  # type: ignore[no-untyped-def]
    names = {one.product_id: one.product_id for one in now}
    config = SETTINGS.model_copy(update=settings)
    return compare(
        now, before=before, first=first, round_number=2, groups=groups or names, departments=dict.fromkeys(names, "A"),
        config=config,
    )  # fmt: skip


START = samples(*[((0.0, 1.0), (0.0, 1.0))] * 12)


def test_win_rates_worked_out_by_hand() -> None:
    """0.5 beats one of the first (0, 1), 1 beats one and ties one; of the ones before (0, ¾), one and both."""
    now = samples(*[((0.5, 1.0), (2.0, 2.0))] * 12)
    before = samples(*[((0.0, 0.75), (0.0, 1.0))] * 12)
    found = report(now, before, START)
    assert found.reward_model.win_rate.value == pytest.approx(0.625)
    assert found.reward_model.since_start.value == pytest.approx(0.125)
    assert found.reward_model.since_before.value == pytest.approx((0.5 + 1) / 2 - 0.5)
    assert found.reward_model.reward.value == pytest.approx(0.25)
    assert found.judge.win_rate.value == 1.0
    assert (found.kept, found.reason) == (2, "")


def test_disagreement_since_the_round_before_or_since_the_start_ends_the_run() -> None:
    up, down = (2.0, 2.0), (-1.0, -1.0)
    parted = report(samples(*[(up, down)] * 12), START, START)
    assert parted.kept == 1
    assert "against ads of the round before, the new ones win 100% [100%, 100%] by the reward model" in parted.reason
    slowly = samples(*[((1.5, 1.5), (-0.5, -0.5))] * 12)
    assert "against ads of the start" in report(slowly, slowly, START).reason
    assert not report(samples(*[(up, up)] * 12), START, START).reason
    assert not report(samples(*[(down, down)] * 12), START, START).reason


def test_a_reward_model_with_a_win_rate_of_one_can_still_disagree_with_the_judge() -> None:
    """Both prefer every ad to the first ones; the reward model prefers the newest even more, the judge no more."""
    before = samples(*[((8.0, 8.0), (9.0, 9.0))] * 12)
    now = samples(*[((9.0, 9.0), (8.0, 8.0))] * 12)
    found = report(now, before, START)
    assert found.reward_model.win_rate.value == found.judge.win_rate.value == 1.0
    assert "against ads of the round before" in found.reason
    assert not report(before, before, START).reason


def test_a_drop_within_chance_does_not_end_the_run() -> None:
    """Half of the products up, half down by the judge: its interval spans nothing, whatever the reward model says."""
    now = samples(*[((2.0, 2.0), (2.0, 2.0)), ((2.0, 2.0), (-1.0, -1.0))] * 6)
    assert not report(now, START, START).reason


def test_colors_of_one_object_are_one_observation() -> None:
    """Nine of twelve ads up: the interval over four objects in three colors is wider than over twelve objects."""
    up, down = ((2.0, 2.0), (-1.0, -1.0)), ((-1.0, -1.0), (-1.0, -1.0))
    now = samples(*[*[up] * 9, *[down] * 3])
    objects = {one.product_id: str(int(one.product_id[1:]) // 3) for one in now}
    apart, together = report(now, START, START), report(now, START, START, groups=objects)
    assert together.reward_model.since_start.value == apart.reward_model.since_start.value
    widths = [found.reward_model.since_start.high - found.reward_model.since_start.low for found in (apart, together)]
    assert widths[1] > 1.4 * widths[0]


def test_held_out_products_of_one_group_are_an_error(shelf: list[Product]) -> None:
    with pytest.raises(PreferenceError, match=r"one group.*judge_share"):
        RewardHackingMonitor(
            shelf, pipeline=AdPipeline(load("studio"), Brightness()), judge=None,
            groups={product.product_id: "one" for product in shelf}, config=SETTINGS, render_size=64, max_new_tokens=8,
        )  # fmt: skip


def test_a_damaged_monitor_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"product_id": 1}\n')
    with pytest.raises(PreferenceError, match=r"monitor.jsonl, line 1: product_id.* Delete the folder"):
        read_samples(tmp_path / FILE)


@pytest.mark.slow
def test_a_run_without_reward_hacking_is_rarely_ended_by_chance() -> None:
    """Under no change at all, both tests speak together far less often than one at its level (0.05)."""
    rng = np.random.default_rng(0)
    stops = 0
    for _ in range(60):
        rows = [((*rng.normal(size=2),), (*rng.normal(size=2),)) for _ in range(24)]
        first = samples(*[((*rng.normal(size=2),), (*rng.normal(size=2),)) for _ in range(24)])
        stops += bool(report(samples(*rows), first, first).reason)
    assert stops <= 3
