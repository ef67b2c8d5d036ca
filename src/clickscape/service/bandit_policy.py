"""How a product's traffic is shared: the bandit of `experiment`, fed with the store's counts and scores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from clickscape.experiment.bandit import BanditRules, BanditState, Batch, Cell, traffic_shares
from clickscape.service.selector import ProductTraffic

_START = datetime(1970, 1, 1, tzinfo=UTC)
_UNSCORED_SD = 1.0
"""Of a creative without a score: the prior then says nothing of it beyond what creatives have in common."""


def propensities(traffic: ProductTraffic, placement: str, day: int) -> tuple[float, ...]:
    """Return the probability of each candidate at a placement, from all days until `day`, as the bandit shares traffic.

    Held-back users are drawn by their own, even policy, so the bandit here holds back nobody.
    """
    ids = tuple(one.creative_id for one in traffic.candidates)
    known = set(ids)
    placements = sorted({placement, *(where for name, where, _ in traffic.counts if name in known)})
    days: dict[int, list[Cell]] = {}
    for (name, where, when), (impressions, clicks) in sorted(traffic.counts.items()):
        if name in known and impressions:
            days.setdefault(min(when, day), []).append(Cell(name, where, impressions, clicks))
    state = BanditState(
        policy_id="service",
        product_id=traffic.product_id,
        creatives=ids,
        placements=tuple(placements),
        scores=tuple(one.score or 0.0 for one in traffic.candidates),
        score_sds=tuple(_UNSCORED_SD if one.score_sd is None else one.score_sd for one in traffic.candidates),
        prior=traffic.prior,
        rules=BanditRules(holdback=0.0),
        open=tuple(
            Batch(str(when), _START + timedelta(days=when + 1), tuple(cells)) for when, cells in sorted(days.items())
        ),
    )
    return traffic_shares(state).bandit[placement]
