"""The shares of traffic that `experiment shares` recommends to a shop that serves its ads itself; nothing is written.

It is the bandit of `experiment`, fed with the counts of the workspace's log and the scores of its reward model. The
weight of scores is learned from held-out products, whose clicks the reward model did not learn from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from clickscape.errors import ExperimentError
from clickscape.experiment.bandit import (
    BanditRules,
    BanditState,
    Batch,
    Cell,
    TrafficShares,
    traffic_shares,
    with_learned_trust,
)
from clickscape.experiment.prior import PastCreatives, ScorePrior, learn_prior
from clickscape.stages.clicks import held_out_products, read_log
from clickscape.stages.evaluate_policy import reward_scores
from clickscape.stages.progress import Progress, Stage
from clickscape.types import Creative
from clickscape.workspace import Workspace

STAGE = "shares"
EVERYWHERE = "everywhere"
"""The placement of a log that has none."""

_SERVED = ("live", "approved")
_UNSCORED_SD = 1.0


@dataclass(frozen=True)
class RecommendedShares:
    """Shares of every product with several live or approved creatives; `past`: creatives that the prior is learned
    from. is_association: nobody knows how a part of the log's traffic was allocated.
    """

    shares: tuple[TrafficShares, ...]
    prior: ScorePrior
    past: int
    is_association: bool

    def lines(self) -> Iterator[str]:
        """Yield the shares in lines for people, and what they come from."""
        for one in self.shares:
            for placement, row in one.propensities.items():
                ranked = sorted(zip(row, one.creatives, strict=True), reverse=True)
                yield f"{one.product_id}, {placement}: " + ", ".join(f"{name} {share:.1%}" for share, name in ranked)
        told = "they have no weight" if not self.prior.weight else f"weight {self.prior.weight:.2f}"
        yield f"scores: {told}, by {self.past:,} creatives of held-out products with clicks and scores"
        if self.is_association:
            yield ("nobody knows how a part of this traffic was allocated, so ads that better customers saw may look "
                   "better. Allocate by these shares, and log them as propensities")  # fmt: skip

    def as_record(self) -> dict[str, object]:
        """Return what `--json` prints."""
        products = [
            {"product_id": one.product_id, "placement": placement, "creatives": one.creatives, "propensities": row}
            for one in self.shares
            for placement, row in one.propensities.items()
        ]
        return {"products": products, "score_weight": self.prior.weight, "is_association": self.is_association}


def recommend_shares(
    workspace: Workspace, *, rules: BanditRules | None = None, now: datetime | None = None
) -> Stage[RecommendedShares]:
    """Return how each product's traffic should be shared now; `now` (UTC) defaults to the present.

    ExperimentError where no product has two creatives that may be shown; LogError for a log that cannot be read.
    """
    yield Progress(STAGE, 0, 2, "counting")
    log = read_log(workspace, by=("placement",), now=now)
    creatives = workspace.some_creatives()
    yield Progress(STAGE, 1, 2, "scoring")
    held_out = set(held_out_products(workspace))
    known = [one for one in creatives if one.status in _SERVED or one.product_id in held_out]
    has_model = (workspace.models / "reward" / "reward.json").exists()
    scores = reward_scores(workspace, known) if has_model else {}
    found = shares_of(log.counts.to_pyarrow(), creatives, scores=scores, held_out=held_out, rules=rules)
    yield Progress(STAGE, 2, 2)
    shares, prior, past = found
    return RecommendedShares(shares, prior, past, is_association=log.allocated.allocation == "unknown")


def shares_of(
    counts: pa.Table,
    creatives: Sequence[Creative],
    *,
    scores: Mapping[str, float],
    held_out: set[str],
    rules: BanditRules | None = None,
) -> tuple[tuple[TrafficShares, ...], ScorePrior, int]:
    """Return shares by product, the prior of their scores, and how many creatives it was learned from.

    counts: creative_id, impressions, clicks and any placement. scores: creative → log CTR within its product, any unit.
    held_out: products that the scores were not learned from.
    """
    rules = rules or BanditRules(holdback=0.0)
    table: dict[tuple[str, str], tuple[float, float]] = {}
    for row in counts.to_pylist():
        cell = row["creative_id"], row.get("placement") or EVERYWHERE
        shown, clicked = table.get(cell, (0.0, 0.0))
        table[cell] = shown + row["impressions"], clicked + row["clicks"]
    placements = sorted({placement for _, placement in table}) or [EVERYWHERE]
    past = [one for one in creatives if one.product_id in held_out and one.creative_id in scores
            and any((one.creative_id, placement) in table for placement in placements)]  # fmt: skip
    prior = _prior(past, table, placements, scores=scores)
    of_product: dict[str, list[Creative]] = {}
    for one in creatives:
        if one.status in _SERVED:
            of_product.setdefault(one.product_id, []).append(one)
    states = [_state(product, some, table, placements, scores=scores, prior=prior, rules=rules)
              for product, some in sorted(of_product.items()) if len(some) > 1]  # fmt: skip
    if not states:
        raise ExperimentError("no product has two live or approved creatives to share its traffic. Approve some with "
                              "`clickscape review`.")  # fmt: skip
    learned = with_learned_trust(state for state in states if state.product_id not in held_out)
    trusted = learned[0].prior if learned else prior  # what gave the weight is no second proof of it
    return tuple(traffic_shares(replace(state, prior=trusted)) for state in states), prior, len(past)


def _prior(
    past: Sequence[Creative],
    table: Mapping[tuple[str, str], tuple[float, float]],
    placements: Sequence[str],
    *,
    scores: Mapping[str, float],
) -> ScorePrior:
    if not past:
        return ScorePrior()
    cells = np.array([[table.get((one.creative_id, name), (0.0, 0.0)) for name in placements] for one in past])
    product = np.unique([one.product_id for one in past], return_inverse=True)[1]
    score = np.array([scores[one.creative_id] for one in past])
    return learn_prior(PastCreatives(product, score, np.zeros(len(past)), cells[..., 1], cells[..., 0]))


def _state(
    product: str,
    creatives: Sequence[Creative],
    table: Mapping[tuple[str, str], tuple[float, float]],
    placements: Sequence[str],
    *,
    scores: Mapping[str, float],
    prior: ScorePrior,
    rules: BanditRules,
) -> BanditState:
    """All counts as one batch; a creative without a score has the mean of the others, and says nothing by it."""
    names = tuple(one.creative_id for one in creatives)
    known = [scores[name] for name in names if name in scores]
    middle = float(np.mean(known)) if known else 0.0
    cells = tuple(Cell(name, place, *table[name, place]) for name in names for place in placements
                  if table.get((name, place), (0.0, 0.0))[0])  # fmt: skip
    return BanditState(
        policy_id="shares",
        product_id=product,
        creatives=names,
        placements=tuple(placements),
        scores=tuple(scores.get(name, middle) for name in names),
        score_sds=tuple(0.0 if name in scores else _UNSCORED_SD for name in names),
        prior=prior,
        rules=rules,
        open=(Batch("log", datetime(1970, 1, 1, tzinfo=UTC), cells),),
    )
