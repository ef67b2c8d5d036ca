"""Reward-hacking monitor: ends an optimization whose policy games its reward model, or loses its diversity.

After every round the policy writes for held-out products, from which no round learns. The reward model and a judge,
which has another architecture and learned from other products, score the same ads. The run ends when they disagree:
against the round before, or against the first one, the reward model's win rate is above one half and the judge's below,
each by a one-sided test on the same bootstrap draws of whole groups. Both tests must reject, so a stop is wrong at most
as often as one of them is. (The win rate over the first round alone would not do: a reward model that prefers every new
ad cannot prefer more of them.) The run also ends when too little is left of the first round's diversity. The policy
that is kept is the one before.

    round-<n>/monitor.jsonl   what the policy after round n wrote for the held-out products, with both scores
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clickscape.compute.device import ALONE, Processes
from clickscape.config import MonitorConfig
from clickscape.errors import PreferenceError
from clickscape.generation.pipeline import AdPipeline
from clickscape.generation.score import image_seeds, render_and_score
from clickscape.json_files import read_json_lines, write_json_lines
from clickscape.preference.diversity import Diversity, diversity
from clickscape.reward.judge import Judge
from clickscape.stats.bootstrap import ClusterBootstrap
from clickscape.types import Estimate, Product
from clickscape.vlm.generate import Writer

FILE = "monitor.jsonl"

PRODUCTS_PER_PASS = 32
"""Held-out products that one process samples for together."""


@dataclass(frozen=True, slots=True)
class HeldOutSample:
    """A description for a held-out product, and its ad's scores by reward model and judge, logits (None: no judge).

    scene, slots: what the renderer drew of it, as JSON and by slot; "" and None where it has no scenes.
    """

    product_id: str
    text: str
    scene: str
    slots: Mapping[str, str | None] | None
    reward_model: float
    judge: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A round as one model scores it: reward beyond the first samples' (logits), and win rate over them.

    `since_before`, `since_start`: win rate over the round before and over the first, less one half; one-sided bounds
    at the setting's confidence as an interval.
    """

    reward: Estimate
    win_rate: Estimate
    since_before: Estimate
    since_start: Estimate


@dataclass(frozen=True, slots=True)
class MonitorReport:
    """The result of a round. `kept`: the round whose policy is kept; `reason`: why the run ends, or empty.

    `left`: each kind of diversity as a share of the first round's.
    """

    reward_model: Comparison
    judge: Comparison | None
    diversity: Diversity
    left: Mapping[str, float]
    kept: int
    reason: str = ""


class RewardHackingMonitor:
    """Samples and scores ads for the same held-out products, with the same random numbers, after every round.

    The reward model is the pipeline's. `groups`: product id → cluster, which is what the bootstrap draws.
    PreferenceError for held-out products of one group, from which nothing can be concluded.
    """

    def __init__(
        self,
        products: Sequence[Product],
        *,
        pipeline: AdPipeline,
        judge: Judge | None,
        groups: Mapping[str, str],
        config: MonitorConfig,
        render_size: int,
        max_new_tokens: int,
    ) -> None:
        if len({groups[product.product_id] for product in products}) < 2:
            raise PreferenceError(
                f"{len(products)} held-out products of one group: the monitor compares groups, so it needs two. "
                "Raise judge_share under [reward] (without a judge: share under [monitor]), or add products."
            )
        chosen = np.random.default_rng([config.seed, 0]).permutation(len(products))[: config.products]
        self.products = [products[int(row)] for row in sorted(chosen)]
        self.groups = groups
        self.config = config
        self._pipeline, self._judge = pipeline, judge
        self._size, self._tokens = render_size, max_new_tokens

    @property
    def settings(self) -> dict[str, Any]:
        """Return what must be the same when a killed run goes on, as JSON."""
        return {
            "config": self.config.model_dump(mode="json"),
            "products": [product.product_id for product in self.products],
            "judge": self._judge is not None,
        }

    def sample(self, writer: Writer, folder: Path, *, processes: Processes = ALONE) -> None:
        """Sample and score ads for the held-out products and write monitor.jsonl, unless it is there already.

        All `processes` share the products; the main one writes the file.
        """
        file = folder / FILE
        if processes.broadcast(processes.is_main and file.exists()):
            return
        passes = [
            self.products[start : start + PRODUCTS_PER_PASS]
            for start in range(0, len(self.products), PRODUCTS_PER_PASS)
        ]
        shared = [self._pass(writer, some, number) for number, some in processes.share(list(enumerate(passes)))]
        samples = [one for some in processes.gather(shared) for one in some]
        if processes.is_main:
            write_json_lines(file, samples)

    def _pass(self, writer: Writer, products: Sequence[Product], number: int) -> list[HeldOutSample]:
        """Sample and score one pass; its random numbers do not depend on which process does it."""
        rng = np.random.default_rng([self.config.seed, 1, number])
        texts = writer.describe_all(
            products,
            n=self.config.descriptions,
            seed=int(rng.integers(2**31)),
            max_new_tokens=self._tokens,
            pictures=self._pipeline.product_images,
        )
        flat = [(product, text) for product, each in zip(products, texts, strict=True) for text in each]
        ads = render_and_score(
            [product for product, _ in flat],
            [text for _, text in flat],
            pipeline=self._pipeline,
            size=self._size,
            seeds=image_seeds(len(flat), rng=rng),
        )
        judge_scores: Sequence[float | None] = [None] * len(ads)
        if self._judge is not None:
            judge_scores = self._judge.score(
                [ad.product for ad in ads], [ad.rendering.image for ad in ads], [ad.slots or {} for ad in ads]
            ).tolist()
        return [
            HeldOutSample(ad.product.product_id, ad.description, ad.rendering.content, ad.slots, ad.score, score)
            for ad, score in zip(ads, judge_scores, strict=True)
        ]

    def after(self, writer: Writer, folder: Path, *, round_number: int, processes: Processes = ALONE) -> MonitorReport:
        """Sample from the policy after a round and compare it with the one before and with the first."""
        self.sample(writer, folder / f"round-{round_number}", processes=processes)
        processes.broadcast(None)  # the main one has written what all read
        first, before, now = (
            read_samples(folder / f"round-{number}" / FILE) for number in (0, round_number - 1, round_number)
        )
        departments = {product.product_id: product.department for product in self.products}
        return compare(
            now,
            before=before,
            first=first,
            round_number=round_number,
            groups=self.groups,
            departments=departments,
            config=self.config,
        )


def compare(
    now: Sequence[HeldOutSample],
    *,
    before: Sequence[HeldOutSample],
    first: Sequence[HeldOutSample],
    round_number: int,
    groups: Mapping[str, str],
    departments: Mapping[str, str],
    config: MonitorConfig,
) -> MonitorReport:
    """Compare a round with the one before and the first, all of the same products, and decide whether the run ends."""
    reward_model = _comparison(
        [[one.reward_model for one in some] for some in (now, before, first)], now, groups, config
    )
    judge = None
    if any(one.judge is not None for one in now):
        judge = _comparison([[one.judge or 0.0 for one in some] for some in (now, before, first)], now, groups, config)
    varied, at_first = (
        diversity(some, departments=[departments[one.product_id] for one in some]) for some in (now, first)
    )
    left = varied.shares_of(at_first)
    reason = (_disagreement(reward_model, judge) if judge is not None else "") or _lost_diversity(
        left, floor=config.diversity
    )
    return MonitorReport(
        reward_model, judge, varied, left, kept=round_number - 1 if reason else round_number, reason=reason
    )


def read_samples(file: Path) -> list[HeldOutSample]:
    """Read what `RewardHackingMonitor.sample` wrote; PreferenceError where it cannot be read."""
    remedy = "Delete the folder and optimize again."
    try:
        return read_json_lines(file, HeldOutSample, error=PreferenceError, remedy=remedy)
    except FileNotFoundError:
        raise PreferenceError(f"{file}: missing. {remedy}") from None


def _comparison(
    scores: Sequence[Sequence[float]],
    samples: Sequence[HeldOutSample],
    groups: Mapping[str, str],
    config: MonitorConfig,
) -> Comparison:
    """Compare scores (now, before, first), each in the order of `samples`; every product has as many descriptions."""
    ids = list(dict.fromkeys(one.product_id for one in samples))
    now, before, first = (np.asarray(some, dtype=np.float64).reshape(len(ids), -1) for some in scores)
    wins = _wins(now, first)
    objects = [groups[product_id] for product_id in ids]

    estimate = ClusterBootstrap.draw(objects, rng=np.random.default_rng([config.seed, 2])).mean
    one_sided = 2 * config.confidence - 1
    return Comparison(
        reward=estimate(now.mean(1) - first.mean(1)),
        win_rate=estimate(wins),
        since_before=estimate(_wins(now, before) - 0.5, level=one_sided),
        since_start=estimate(wins - 0.5, level=one_sided),
    )


def _wins(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Share of (after, before) pairs that are better after, ties half: (product, text) twice → (product,)."""
    gaps = after[:, :, None] - before[:, None, :]
    return np.asarray((0.5 + 0.5 * np.sign(gaps)).mean((1, 2)))


def _disagreement(reward_model: Comparison, judge: Comparison) -> str:
    """Return why the run ends: the new ads win by the reward model and lose by the judge; empty where they do not."""
    for name, by_reward, by_judge in (
        ("the round before", reward_model.since_before, judge.since_before),
        ("the start", reward_model.since_start, judge.since_start),
    ):
        if by_reward.low > 0 and by_judge.high < 0:
            return (
                f"reward model and judge disagree: against ads of {name}, the new ones win {_percent(by_reward)} "
                f"by the reward model and {_percent(by_judge)} by the judge"
            )
    return ""


def _lost_diversity(left: Mapping[str, float], *, floor: float) -> str:
    """Return why the run ends: too little is left of the first diversity; empty where enough is."""
    short = [f"{kind} {share:.0%}" for kind, share in left.items() if share < floor]
    return f"too little diversity is left, at least {floor:.0%} is asked for: {', '.join(short)}" if short else ""


def _percent(over: Estimate) -> str:
    """Return a win rate in percent, given what it is over one half."""
    return f"{0.5 + over.value:.0%} [{0.5 + over.low:.0%}, {0.5 + over.high:.0%}]"
