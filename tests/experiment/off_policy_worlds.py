"""Small logs for the tests of off-policy evaluation: by hand, and drawn with known rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clickscape.experiment.decisions import Decisions, Floats
from clickscape.experiment.target_policy import TargetPolicy


def table(
    rows: list[tuple[int, int, int]],
    *,
    propensities: list[list[float]],
    products: list[int] | None = None,
    users: list[int] | None = None,
) -> Decisions:
    """Decisions (set, candidate, click); each set has candidates of its own, called s0-0, s0-1, s1-0 …"""
    start = np.concatenate([[0], np.cumsum([len(chances) for chances in propensities])])
    owner = products or list(range(len(propensities)))
    names = [f"s{number}-{place}" for number, chances in enumerate(propensities) for place in range(len(chances))]
    return Decisions(
        creatives=tuple(names),
        products=tuple(f"p{number}" for number in range(max(owner) + 1)),
        product=np.array(owner),
        places=(),
        start=start,
        creative=np.arange(start[-1]),
        propensity=np.concatenate([np.array(chances) for chances in propensities]),
        shown=np.array([start[number] + place for number, place, _ in rows]),
        clicked=np.array([float(clicked) for _, _, clicked in rows]),
        user=None if users is None else np.array(users),
    )


def target(log: Decisions, probabilities: list[float], *, name: str = "target") -> TargetPolicy:
    """A policy by its probability of every candidate, in order."""
    return TargetPolicy(name, log.creatives, log.set_of_entry, log.creative, np.array(probabilities))


@dataclass(frozen=True)
class World:
    """Rates of every candidate of every set (set, candidate), the traffic of the sets, and the propensities."""

    rate: Floats
    share: Floats
    propensity: Floats
    positions: int

    @classmethod
    def draw(
        cls, rng: np.random.Generator, *, products: int = 6, candidates: int = 4, positions: int = 2, ctr: float = 0.1
    ) -> World:
        sets = products * positions
        look = np.tile(1 / np.arange(1, positions + 1), products)[:, None]
        rate = np.repeat(ctr * np.exp(0.4 * rng.normal(size=(products, candidates))), positions, axis=0) * look
        propensity = 0.8 * rng.dirichlet(np.ones(candidates), size=sets) + 0.2 / candidates
        return cls(np.minimum(rate, 1), rng.dirichlet(np.full(sets, 3.0)), propensity, positions)

    def log(self, rng: np.random.Generator, *, decisions: int, users: int | None = None) -> Decisions:
        sets, candidates = self.rate.shape
        of = rng.choice(sets, size=decisions, p=self.share)
        chosen = (rng.random(decisions)[:, None] > np.cumsum(self.propensity, axis=1)[of, :-1]).sum(1)
        product, position = np.divmod(np.arange(sets), self.positions)
        return Decisions(
            creatives=tuple(f"c{number:03}" for number in range(sets // self.positions * candidates)),
            products=tuple(f"p{number:03}" for number in range(sets // self.positions)),
            product=product,
            places=(position,),
            start=np.arange(sets + 1) * candidates,
            creative=(product[:, None] * candidates + np.arange(candidates)).ravel(),
            propensity=self.propensity.ravel(),
            shown=of * candidates + chosen,
            clicked=(rng.random(decisions) < self.rate[of, chosen]).astype(float),
            user=None if users is None else rng.integers(users, size=decisions),
            ordered=True,
        )

    def value(self, policy: TargetPolicy, log: Decisions) -> float:
        """The true CTR of a policy."""
        wanted = policy.on_entries(log).reshape(self.rate.shape)
        return float((self.share * (wanted * self.rate).sum(1)).sum())
