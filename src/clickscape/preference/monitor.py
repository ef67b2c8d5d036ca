"""Ends an optimization before it games its reward: after every round, two opinions and the variety of what is written.

The policy writes for products that no round learns from. A judge of another architecture, which learned from products
that the teacher never saw, looks at the same ads. The run ends when teacher and judge part ways: beside those of the
round before, or of the start, the teacher sees the new ads win and the judge sees them lose, each shown by a one-sided
test on the same bootstrap draws of whole groups. Both tests must speak, so a stop is wrong at most as often as one of
them is. (A rise of the win rate over the start would not do: a teacher who sees every ad win can see no more of them.)
The run ends the same way when too little is left of the first diversity. The policy kept is the one before.

    round-<n>/monitor.jsonl   what the policy after round n wrote for the held-back products, and both opinions
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clickscape.compute.device import ALONE, Processes
from clickscape.config import MonitorConfig
from clickscape.errors import PreferenceError
from clickscape.preference.diversity import Diversity, diversity
from clickscape.preference.sample import Pictures, Reward, image_seeds
from clickscape.render.renderer import Renderer, render_all
from clickscape.render.studio.parse import parse
from clickscape.reward.judge import Judge
from clickscape.stats.bootstrap import ClusterBootstrap
from clickscape.types import Estimate, Product
from clickscape.vlm.generate import Writer
from clickscape.workspace.files import atomic_file

FILE = "monitor.jsonl"

PRODUCTS_PER_PASS = 32
"""Held-back products that one process looks at together."""


@dataclass(frozen=True, slots=True)
class HeldOutSample:
    """One description for a held-back product, and what teacher and judge say of its ad (logits; None: no judge)."""

    product_id: str
    text: str
    teacher: float
    judge: float | None


@dataclass(frozen=True, slots=True)
class Opinion:
    """One model's opinion of a round: reward beyond the first samples' (logits), and win rate over them.

    `since_before`, `since_start`: win rate over the round before and over the first, less one half; one-sided bounds
    at the setting's confidence as an interval.
    """

    reward: Estimate
    win_rate: Estimate
    since_before: Estimate
    since_start: Estimate


@dataclass(frozen=True, slots=True)
class MonitorReport:
    """What was seen after a round. `kept`: the round whose policy is kept; `reason`: why the run ends, or nothing.

    `left`: what is left of the first diversity, of each kind as a share.
    """

    teacher: Opinion
    judge: Opinion | None
    diversity: Diversity
    left: Mapping[str, float]
    kept: int
    reason: str = ""


class RewardHackingMonitor:
    """Looks after every round at the same held-back products with the same random numbers.

    `groups`: product id → what its look comes from, which is what the bootstrap draws.  PreferenceError for held-back
    products of one group, from which nothing can be concluded.
    """

    def __init__(
        self,
        products: Sequence[Product],
        *,
        teacher: Reward,
        judge: Judge | None,
        renderer: Renderer,
        pictures: Pictures,
        groups: Mapping[str, str],
        config: MonitorConfig,
        render_size: int,
        max_new_tokens: int,
    ) -> None:
        if len({groups[product.product_id] for product in products}) < 2:
            raise PreferenceError(
                f"{len(products)} held-back products of one group: the monitor compares groups, so it needs two. "
                "Raise judge_share under [reward] (without a judge: share under [monitor]), or add products."
            )
        chosen = np.random.default_rng([config.seed, 0]).permutation(len(products))[: config.products]
        self.products = [products[int(row)] for row in sorted(chosen)]
        self.groups = groups
        self.config = config
        self._teacher, self._judge = teacher, judge
        self._renderer, self._pictures = renderer, pictures
        self._size, self._tokens = render_size, max_new_tokens

    @property
    def settings(self) -> dict[str, Any]:
        """What must be the same when a killed run goes on."""
        return {
            "config": self.config.model_dump(mode="json"),
            "products": [product.product_id for product in self.products],
            "judge": self._judge is not None,
        }

    def sample(self, writer: Writer, place: Path, *, processes: Processes = ALONE) -> None:
        """Have the policy write for the held-back products and note both opinions; once noted, nothing is repeated.

        All `processes` share the products; the leading one writes the file.
        """
        file = place / FILE
        if processes.broadcast(processes.is_main and file.exists()):
            return
        passes = [
            self.products[start : start + PRODUCTS_PER_PASS]
            for start in range(0, len(self.products), PRODUCTS_PER_PASS)
        ]
        own = [self._seen(writer, some, number) for number, some in processes.share(list(enumerate(passes)))]
        seen = [one for some in processes.gather(own) for one in some]
        if processes.is_main:
            with atomic_file(file) as waiting:
                waiting.write_text("".join(json.dumps(asdict(one)) + "\n" for one in seen), encoding="utf-8")

    def _seen(self, writer: Writer, products: Sequence[Product], number: int) -> list[HeldOutSample]:
        """One pass; its random numbers are its own, whoever does it."""
        rng = np.random.default_rng([self.config.seed, 1, number])
        texts = writer.describe_all(
            products,
            n=self.config.descriptions,
            seed=int(rng.integers(2**31)),
            max_new_tokens=self._tokens,
            pictures=self._pictures,
        )
        flat = [(product, text) for product, own in zip(products, texts, strict=True) for text in own]
        asked, written = [product for product, _ in flat], [text for _, text in flat]
        seeds = image_seeds(len(flat), rng=rng)
        drawn = render_all(self._renderer, asked, written, size=(self._size, self._size), seeds=seeds)
        images = [one.image for one in drawn]
        scenes = [parse(text).scene.slots for text in written]
        taught = self._teacher.score(asked, images, scenes)
        judged: Sequence[float | None] = [None] * len(flat)
        if self._judge is not None:
            judged = self._judge.score(asked, images, scenes).tolist()
        return [
            HeldOutSample(product.product_id, text, float(one), other)
            for (product, text), one, other in zip(flat, taught, judged, strict=True)
        ]

    def after(self, writer: Writer, folder: Path, *, round_number: int, processes: Processes = ALONE) -> MonitorReport:
        """Look at the policy after a round and compare it with the one before and with the first."""
        self.sample(writer, folder / f"round-{round_number}", processes=processes)
        processes.broadcast(None)  # the leading one has written what all read
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
    """What a round changed on the held-back products, and whether the run must end; all three of the same products."""
    teacher = _opinion([[one.teacher for one in some] for some in (now, before, first)], now, groups, config)
    judge = None
    if any(one.judge is not None for one in now):
        judge = _opinion([[one.judge or 0.0 for one in some] for some in (now, before, first)], now, groups, config)
    varied, at_first = (
        diversity([one.text for one in some], departments=[departments[one.product_id] for one in some])
        for some in (now, first)
    )
    left = varied.shares_of(at_first)
    reason = (_parted(teacher, judge) if judge is not None else "") or _narrowed(left, floor=config.diversity)
    return MonitorReport(teacher, judge, varied, left, kept=round_number - 1 if reason else round_number, reason=reason)


def read(values: Mapping[str, Any]) -> MonitorReport:
    """A `MonitorReport` from its JSON."""

    def opinion(known: Mapping[str, Any]) -> Opinion:
        return Opinion(**{name: Estimate(**estimate) for name, estimate in known.items()})

    told = None if values["judge"] is None else opinion(values["judge"])
    return MonitorReport(
        **{
            **values,
            "teacher": opinion(values["teacher"]),
            "judge": told,
            "diversity": Diversity(**values["diversity"]),
        }
    )


def read_samples(file: Path) -> list[HeldOutSample]:
    """What `RewardHackingMonitor.sample` noted; PreferenceError where it cannot be read."""
    try:
        return [HeldOutSample(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise PreferenceError(f"{file}: damaged ({error}). Delete the folder and optimize again.") from None


def _opinion(
    scores: Sequence[Sequence[float]], seen: Sequence[HeldOutSample], groups: Mapping[str, str], config: MonitorConfig
) -> Opinion:
    """From scores (now, before, first), each in the order of `seen`; every product has as many descriptions."""
    ids = list(dict.fromkeys(one.product_id for one in seen))
    now, before, first = (np.asarray(some, dtype=np.float64).reshape(len(ids), -1) for some in scores)
    wins = _wins(now, first)
    objects = [groups[product_id] for product_id in ids]

    estimate = ClusterBootstrap.draw(objects, rng=np.random.default_rng([config.seed, 2])).mean
    one_sided = 2 * config.confidence - 1
    return Opinion(
        reward=estimate(now.mean(1) - first.mean(1)),
        win_rate=estimate(wins),
        since_before=estimate(_wins(now, before) - 0.5, level=one_sided),
        since_start=estimate(wins - 0.5, level=one_sided),
    )


def _wins(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Share of (after, before) pairs that are better after, ties half: (product, text) twice → (product,)."""
    gaps = after[:, :, None] - before[:, None, :]
    return np.asarray((0.5 + 0.5 * np.sign(gaps)).mean((1, 2)))


def _parted(teacher: Opinion, judge: Opinion) -> str:
    """Why the run ends: the teacher sees the new ads win, the judge sees them lose; empty where that is not shown."""
    for name, taught, judged in (
        ("the round before", teacher.since_before, judge.since_before),
        ("the start", teacher.since_start, judge.since_start),
    ):
        if taught.low > 0 and judged.high < 0:
            return (
                f"teacher and judge part ways: beside ads of {name}, the teacher sees {_percent(taught)} "
                f"of the new ones win, the judge {_percent(judged)}"
            )
    return ""


def _narrowed(left: Mapping[str, float], *, floor: float) -> str:
    """Why the run ends: too little is left of the first diversity; empty where enough is."""
    short = [f"{kind} {share:.0%}" for kind, share in left.items() if share < floor]
    return f"too little diversity is left, at least {floor:.0%} is asked for: {', '.join(short)}" if short else ""


def _percent(over: Estimate) -> str:
    """A win rate that is told as what it is over one half."""
    return f"{0.5 + over.value:.0%} [{0.5 + over.low:.0%}, {0.5 + over.high:.0%}]"
