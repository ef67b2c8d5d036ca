"""Stage `evaluate-policy`: what other policies would have earned on the workspace's logged traffic.

Reads the log, the creatives and the reward model, and asks `experiment.off_policy`, or, where a policy shows creatives
that the log never showed, `experiment.new_creatives`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickscape import reward as reward_room
from clickscape.catalog.images import open_image
from clickscape.clicks import decisions as click_decisions
from clickscape.clicks import locations, logs
from clickscape.compute.device import best_device
from clickscape.errors import ExperimentError, SceneError
from clickscape.experiment import target_policy
from clickscape.experiment.decisions import Decisions, totals
from clickscape.experiment.new_creatives import NewCreativesValue, evaluate_new
from clickscape.experiment.off_policy import DEFAULT, LEVEL, PolicyValue, evaluate
from clickscape.experiment.off_policy_rewards import fit_rewards
from clickscape.experiment.target_policy import TargetPolicy
from clickscape.json_files import read_json
from clickscape.render.scene import slots_of
from clickscape.reward.protocol import CHUNK
from clickscape.reward.scene_elements import scene_effects
from clickscape.stages.experiment_tables import rows
from clickscape.stages.progress import Progress, Stage
from clickscape.types import Creative, Estimate
from clickscape.workspace import Workspace

STAGE = "evaluate-policy"
STATUSES = ("draft", "approved", "live")


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """The values of several policies, beside what was logged; `share`: of the log's decisions that each speaks of.

    new: for policies with creatives that the log never showed, what their values rest on. without_propensities: share
    of the log's impressions that were left out.
    """

    values: tuple[PolicyValue, ...]
    shares: tuple[float, ...]
    new: Mapping[str, NewCreativesValue]
    without_propensities: float

    def as_record(self) -> dict[str, object]:
        """Return everything as JSON can say it."""
        policies = [
            {**asdict(value), "share_of_decisions": share, **self._scenes(value.policy)}
            for value, share in zip(self.values, self.shares, strict=True)
        ]
        return {"policies": policies, "without_propensities": self.without_propensities}

    def lines(self) -> list[str]:
        """Return a table for people, and a sentence for everything that it cannot say."""
        head = f"{'policy':<14} {'estimator':<13} {'CTR, %':>7} {'interval':>16} {'lift, %':>8} {'interval':>16}"
        table, notes = [f"{head} {'effective clicks':>16} {'no overlap':>10}"], []
        logged = self.values[0].logged
        table.append(f"{'(logged)':<14} {'':<13} {_cell(logged, 2)}")
        for value, share in zip(self.values, self.shares, strict=True):
            ctr = f"{'-':>7} {'':>16}" if value.ctr is None else _cell(value.ctr, 2)
            lift = f"{'-':>8} {'':>16}" if value.lift is None else _cell(value.lift, 1, width=8)
            table.append(f"{value.policy[:14]:<14} {value.estimator:<13} {ctr} {lift} {value.effective_clicks:>16,.0f} "
                         f"{value.without_overlap:>10.1%}")  # fmt: skip
            if value.reason:
                notes.append(f"{value.policy}: {value.reason}")
            if share < 1:
                there = f"the log earned {100 * value.logged.value:.2f} % there"
                notes.append(f"{value.policy}: about {share:.1%} of the decisions, of products that it has; {there}")
            if value.policy in self.new:
                notes += _new_lines(value.policy, self.new[value.policy])
        if self.without_propensities:
            notes.append(f"{self.without_propensities:.1%} of the impressions have no known propensities: left out")
        return [*table, *notes]

    def _scenes(self, policy: str) -> dict[str, object]:
        if policy not in self.new:
            return {}
        found = self.new[policy]
        return {"support": dict(found.support), "slots": found.slots, "corrected": found.corrected,
                "creative_sd": found.creative_sd}  # fmt: skip


def evaluate_policies(
    workspace: Workspace,
    policies: Sequence[str] = (),
    *,
    estimator: str = DEFAULT,
    adaptive: bool = False,
    level: float = LEVEL,
    now: datetime | None = None,
) -> Stage[PolicyReport]:
    """Return the values of policies on the log; policies: uniform, best, a status of creatives, or a file of shares.

    Without any: all that the workspace has something for. ExperimentError for a policy that is none of these, and where
    none can be measured.
    """
    creatives = {creative.creative_id: creative for creative in workspace.creatives()}
    named_shares = {
        name: _shares_named(workspace, name, creatives) for name in policies if name not in ("uniform", "best")
    }
    yield Progress(STAGE, 0, 1, "reading decisions")
    config = workspace.settings.clicks
    location = locations.locate(workspace.clicks, config)
    with logs.connected(config, folder=workspace.clicks) as connection:
        log = click_decisions.read(location, config=config, connection=connection, now=now or datetime.now(UTC))
    decisions = Decisions.from_tables(log.decisions, log.choices)
    named = tuple(policies) or _possible(workspace, decisions, creatives)
    named_shares |= {name: _shares_named(workspace, name, creatives) for name in named if name in STATUSES}
    values: list[PolicyValue] = []
    shares: list[float] = []
    new: dict[str, NewCreativesValue] = {}
    for number, name in enumerate(named):
        yield Progress(STAGE, number, len(named), name)
        policy, about = _target(workspace, name, decisions, creatives, shares=named_shares.get(name, {}))
        if _shows_unseen(policy, about):
            found = _evaluate_new(workspace, policy, about, creatives, level=level)
            new[policy.name], value = found, found.value
        else:
            value = evaluate(about, policy, estimator=estimator, adaptive=adaptive, level=level)
        values.append(value)
        shares.append(len(about.shown) / len(decisions.shown))
    yield Progress(STAGE, len(named), len(named))
    if all(value.ctr is None for value in values):
        first = values[0]
        raise ExperimentError(f"no policy can be measured on this log; {first.policy!r} is {first.reason}. Show "
                              f"more of its creatives by chance first, or name another policy.")  # fmt: skip
    return PolicyReport(tuple(values), tuple(shares), new, log.without_propensities)


def _cell(estimate: Estimate, digits: int, *, width: int = 7) -> str:
    """A value and its interval, in percent."""
    low, high = (f"{100 * value:.{digits}f}" for value in (estimate.low, estimate.high))
    return f"{100 * estimate.value:>{width}.{digits}f} {f'[{low}, {high}]':>16}"


def _new_lines(policy: str, found: NewCreativesValue) -> list[str]:
    """What the value of creatives that nobody has seen rests on."""
    support = ", ".join(f"{slot} {share:.0%}" for slot, share in found.support.items() if slot != "all")
    if not support:
        return [f"{policy}: nobody noted the scenes of its creatives or of the log's"]
    lines = [f"{policy}: judged by scenes; share of its traffic whose element the log shows: {support}"]
    if found.value.ctr is not None:
        by = "clicks agree with the effects of its elements"
        if found.slots:
            by = f"clicks correct it by {', '.join(found.slots)}, for {found.corrected:.0%} of its traffic"
        lines.append(f"{policy}: {by}; beyond its scene a creative's CTR varies by {found.creative_sd:.0%} (sd)")
    return lines


def _possible(workspace: Workspace, decisions: Decisions, creatives: Mapping[str, Creative]) -> tuple[str, ...]:
    """The policies that there is something for: uniform; best with a reward model; drafts and approved creatives."""
    known = set(decisions.products)
    statuses = {one.status for one in creatives.values() if one.product_id in known and not one.is_simulated}
    best = ("best",) if (workspace.models / "reward" / "reward.json").exists() else ()
    return ("uniform", *best, *(status for status in ("approved", "draft") if status in statuses))


def _shares_named(workspace: Workspace, name: str, creatives: Mapping[str, Creative]) -> dict[str, float]:
    """Creative → share of its product's traffic, of a status or a file; ExperimentError where there is neither."""
    if name in STATUSES:
        chosen = [one for one in creatives.values() if one.status == name]
        if not chosen:
            raise ExperimentError(f"{workspace.path} has no {name} creative. `clickscape review` lists them.")
        count = Counter(one.product_id for one in chosen)
        return {one.creative_id: 1 / count[one.product_id] for one in chosen}
    path = Path(name)
    if not path.is_file():
        raise ExperimentError(f"no policy {name!r}: expected uniform, best, {', '.join(STATUSES)}, or a file of shares "
                              f"(CSV with creative_id and probability, or JSON). Correct it.")  # fmt: skip
    return _read_shares(path)


def _target(
    workspace: Workspace,
    name: str,
    decisions: Decisions,
    creatives: Mapping[str, Creative],
    *,
    shares: Mapping[str, float],
) -> tuple[TargetPolicy, Decisions]:
    """The policy of a name, and the decisions that it speaks of."""
    if name == "uniform":
        return target_policy.uniform(decisions), decisions
    if name == "best":
        scores = reward_scores(workspace, [creatives[one] for one in decisions.creatives if one in creatives])
        return target_policy.best_by_score(decisions, scores, name="best"), decisions
    owner = dict(zip((decisions.creatives[one] for one in decisions.creative),
                     (decisions.products[one] for one in decisions.product[decisions.set_of_entry]),
                     strict=True))  # fmt: skip
    owner |= {one.creative_id: one.product_id for one in creatives.values()}
    of_product: dict[str, dict[str, float]] = {}
    for creative, share in shares.items():
        if creative not in owner:
            raise ExperimentError(f"{name}: creative {creative!r} is neither in the log nor in the workspace. "
                                  f"Correct it.")  # fmt: skip
        of_product.setdefault(owner[creative], {})[creative] = share
    return target_policy.by_shares(decisions, of_product, name=Path(name).stem)


def _read_shares(path: Path) -> dict[str, float]:
    """Creative → share of its product's traffic, of a JSON object or a table."""
    if path.suffix.lower() == ".json":
        return read_json(path, dict[str, float], error=ExperimentError, remedy='Write {"creative": probability, …}.')
    found: dict[str, float] = {}
    for row in rows(path, needed=["creative_id", "probability"]):
        try:
            share = float(row["probability"])
        except ValueError:
            share = math.nan
        if not 0 <= share <= 1 or row["creative_id"] in found:
            problem = "is there twice" if row["creative_id"] in found else f"has the probability {row['probability']!r}"
            raise ExperimentError(f"{path}: creative {row['creative_id']!r} {problem}, expected each once, with a "
                                  f"number from 0 to 1. Correct it.")  # fmt: skip
        found[row["creative_id"]] = share
    return found


def reward_scores(workspace: Workspace, creatives: Sequence[Creative]) -> dict[str, float]:
    """Return the reward model's score of each creative with a picture, logits that compare within a product."""
    products = {product.product_id: product for product in workspace.products()}
    known = [one for one in creatives if one.product_id in products and Path(one.image).is_file()]
    model = reward_room.load(workspace.models / "reward", device=best_device()).with_given_scenes()
    scores: dict[str, float] = {}
    for start in range(0, len(known), CHUNK):
        some = known[start : start + CHUNK]
        found = model.score(
            [products[one.product_id] for one in some],
            [open_image(one.image)[..., :3] for one in some],
            [slots_of(one) for one in some],
        )
        scores |= {one.creative_id: float(score) for one, score in zip(some, found, strict=True)}
    return scores


def _shows_unseen(policy: TargetPolicy, decisions: Decisions) -> bool:
    """Whether a policy shows creatives that the log has among no candidates."""
    return bool((policy.probability[policy.creative >= len(decisions.creatives)] > 0).any())


def _evaluate_new(
    workspace: Workspace,
    policy: TargetPolicy,
    decisions: Decisions,
    creatives: Mapping[str, Creative],
    *,
    level: float,
) -> NewCreativesValue:
    """The value of a policy with new creatives, by the scenes of all of them."""
    scenes = {}
    for name in policy.creatives:
        if name in creatives and (slots := _slots(creatives[name])) is not None:
            scenes[name] = slots
    departments = {product.product_id: product.department for product in workspace.products()}
    owner: dict[int, int] = {}
    for creative, product in ((decisions.creative, decisions.product[decisions.set_of_entry]),
                              (policy.creative, decisions.product[policy.sets])):  # fmt: skip
        owner |= dict(zip(creative.tolist(), product.tolist(), strict=True))
    products = [decisions.products[owner[number]] if number in owner else "" for number in range(len(policy.creatives))]
    known = np.array([name in scenes for name in policy.creatives])
    old, count = np.arange(len(known)) < len(decisions.creatives), len(known)
    shown = totals(decisions.creative, decisions.impressions * _exposure(decisions), count)
    clicked = totals(decisions.creative, decisions.clicks, count)

    def fit(fold: NDArray[np.int64]) -> NDArray[np.float64]:
        return scene_effects(
            [scenes.get(name, {}) for name in policy.creatives],
            [departments.get(product, "") for product in products],
            products,
            clicks=np.where(old & known, clicked, np.nan),
            examinations=shown,
            fold=fold,
        )

    return evaluate_new(decisions, policy, scenes=scenes, departments=departments, fit=fit, level=level)


def _exposure(decisions: Decisions) -> NDArray[np.float64]:
    """How much the position and placement of each candidate are clicked, against its product's average; (entry,)."""
    base = fit_rewards(decisions, impressions=decisions.impressions, clicks=decisions.clicks).base
    size, count = decisions.size.astype(np.float64), len(decisions.products)
    average = totals(decisions.product, size * base, count) / np.maximum(totals(decisions.product, size, count), 1)
    return np.asarray((base / np.maximum(average[decisions.product], 1e-12))[decisions.set_of_entry])


def _slots(creative: Creative) -> Mapping[str, str | None] | None:
    try:
        return slots_of(creative)
    except SceneError:
        return None
