"""Which creative of a product to show next: Thompson sampling that starts from the reward model and learns from clicks.

    shares = traffic_shares(state)                                  # once per state
    choice = choose(shares, placement="feed", user_key=…, decision_id=…, key=…)
    state = update(state, batch)                                    # counts of an hour or a day

A state is a record of counts; nothing else is remembered. Between two updates the shares of traffic are fixed numbers,
so the propensity of every choice is exact, and the choice itself is one keyed hash of user and decision: the same on
every machine, and the same when it is asked for again. What the clicks say is in `click_posterior`, what the scores say
in `prior`, and how shares follow from posteriors in `propensity`.
"""

from __future__ import annotations

import hashlib
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickscape.errors import ExperimentError
from clickscape.experiment.assign import KEY_BYTES, is_held_back, key_id
from clickscape.experiment.prior import ScorePrior, learn_trust
from clickscape.experiment.propensity import with_floor
from clickscape.experiment.thompson import Thompson, thompson_shares
from clickscape.json_files import read_json, write_json
from clickscape.types import Allocation

Floats = NDArray[np.float64]

_REMEMBERED = 100  # names of closed batches, by which one that is sent again is known


@dataclass(frozen=True, slots=True)
class BanditRules:
    """What a shop decides about its bandit.

    floor: least share of every creative among users who are not held back. holdback: share of users who see `control`,
    or every creative equally often where there is none. half_life_days: after so many days a click counts half, for
    CTRs that drift; None: for ever. attribution_hours: so long after its impression a click still comes. exploration:
    as of `thompson_shares`.
    """

    floor: float = 0.005
    holdback: float = 0.05
    control: str | None = None
    half_life_days: float | None = None
    attribution_hours: float = 24.0
    exploration: float = 0.5

    def __post_init__(self) -> None:
        if not (0 <= self.holdback < 1 and 0 <= self.floor <= 1):
            raise ExperimentError(f"a bandit's holdback and floor are shares of traffic, got {self.holdback} and "
                                  f"{self.floor}. Choose numbers from 0 to below 1.")  # fmt: skip
        if (self.half_life_days is not None and not self.half_life_days > 0) or not self.attribution_hours >= 0:
            raise ExperimentError(f"a bandit's half-life and attribution window are times, got {self.half_life_days} "
                                  f"days and {self.attribution_hours} hours. Choose numbers above 0.")  # fmt: skip
        if not 0 < self.exploration < float("inf"):
            raise ExperimentError(f"a bandit's exploration is a number above 0, got {self.exploration}. Choose 0.5.")


@dataclass(frozen=True, slots=True)
class Cell:
    """Counts of one creative at one placement.

    exposures: impressions, or the number of times that they were looked at, where positions differ.
    """

    creative_id: str
    placement: str
    exposures: float
    clicks: float

    def __post_init__(self) -> None:
        if not (np.isfinite([self.exposures, self.clicks]).all() and self.exposures >= 0 and self.clicks >= 0):
            raise ExperimentError(f"creative {self.creative_id!r} at {self.placement!r} has {self.exposures} exposures "
                                  f"and {self.clicks} clicks, expected numbers of 0 or more. Count again.")  # fmt: skip
        if self.clicks and not self.exposures:
            raise ExperimentError(f"creative {self.creative_id!r} at {self.placement!r} has {self.clicks:g} clicks "
                                  f"without an impression. Count clicks with their decision's impression.")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Batch:
    """What was shown in one period and clicked since; sent again under its name, it replaces what it said before.

    at: the end of the period. arrived: share of the clicks on its impressions that are expected to have come by now;
    impressions count by it, so that a young batch does not look disliked.
    """

    batch_id: str
    at: datetime
    cells: tuple[Cell, ...]
    arrived: float = 1.0

    def __post_init__(self) -> None:
        if not self.batch_id or self.at.tzinfo is None:
            raise ExperimentError(f"batch {self.batch_id!r} at {self.at} needs a name and a time with its zone. "
                                  "Add them.")  # fmt: skip
        if not 0 < self.arrived <= 1:
            raise ExperimentError(f"batch {self.batch_id!r}: the share of clicks that arrived is {self.arrived}, "
                                  f"expected above 0 to 1. Send it when some can have come.")  # fmt: skip
        object.__setattr__(self, "at", self.at.astimezone(UTC))


@dataclass(frozen=True, slots=True)
class BanditState:
    """All that a bandit knows of one product.

    creatives: candidates, with their scores and the scores' sds, (creative,). closed: counts whose attribution window
    is over, decayed to `closed_at`. open: batches that may still be sent again.
    """

    policy_id: str
    product_id: str
    creatives: tuple[str, ...]
    placements: tuple[str, ...]
    scores: tuple[float, ...]
    score_sds: tuple[float, ...]
    prior: ScorePrior
    rules: BanditRules
    closed: tuple[Cell, ...] = ()
    closed_at: datetime | None = None
    closed_ids: tuple[str, ...] = ()
    open: tuple[Batch, ...] = ()

    def __post_init__(self) -> None:
        names = (self.policy_id, self.product_id, *self.creatives, *self.placements)
        if not (all(names) and self.creatives and self.placements):
            raise self._refused("needs a policy_id, a product_id, creatives and placements. Name them.")
        for what, several in (("creative", self.creatives), ("placement", self.placements)):
            if len(set(several)) < len(several):
                raise self._refused(f"names a {what} twice: {', '.join(several)}. Leave one out.")
        if not len(self.scores) == len(self.score_sds) == len(self.creatives):
            raise self._refused(f"has {len(self.scores)} scores and {len(self.score_sds)} sds for "
                                f"{len(self.creatives)} creatives. Give one of each.")  # fmt: skip
        if not np.isfinite([*self.scores, *self.score_sds]).all() or min(self.score_sds) < 0:
            raise self._refused("has a score or sd that is no number. Score its creatives again.")
        if self.rules.control is not None and self.rules.control not in self.creatives:
            raise self._refused(f"has no creative {self.rules.control!r}, which its holdback shall see. Name one of "
                                f"{', '.join(self.creatives)}.")  # fmt: skip
        if self.rules.floor * len(self.creatives) > 1:
            raise self._refused(f"cannot give each of {len(self.creatives)} creatives {self.rules.floor} of the "
                                f"traffic. Lower the floor, or retire creatives.")  # fmt: skip

    def _refused(self, problem: str) -> ExperimentError:
        return ExperimentError(f"the bandit of product {self.product_id!r} {problem}")

    @property
    def at(self) -> datetime | None:
        """Return the end of the newest batch; None before the first."""
        return max((batch.at for batch in self.open), default=self.closed_at)

    def counts(self) -> tuple[Floats, Floats]:
        """Return clicks and exposures, both (creative, placement), decayed to the newest batch."""
        table = np.zeros((2, len(self.creatives), len(self.placements)))
        row = {name: place for place, name in enumerate(self.creatives)}
        column = {name: place for place, name in enumerate(self.placements)}
        groups = [(self.closed, self.closed_at, 1.0), *((one.cells, one.at, one.arrived) for one in self.open)]
        for cells, at, arrived in groups:
            if at is None or self.at is None:
                continue
            kept = _decay(self.at - at, self.rules)
            for cell in cells:
                if cell.creative_id in row and cell.placement in column:
                    place = (row[cell.creative_id], column[cell.placement])
                    table[(0, *place)] += kept * cell.clicks
                    table[(1, *place)] += kept * arrived * cell.exposures
        return table[0], table[1]


@dataclass(frozen=True, slots=True)
class TrafficShares:
    """How traffic is shared until the next update: one row of numbers per placement, each summing to 1.

    sampled: P(the creative wins a Thompson draw). bandit: the same with the floor. held_back: what users in the
    holdback see. propensities: of a user who may be in the holdback or not, which is what a log keeps.
    """

    policy_id: str
    product_id: str
    creatives: tuple[str, ...]
    holdback: float
    held_back: tuple[float, ...]
    sampled: dict[str, tuple[float, ...]]
    bandit: dict[str, tuple[float, ...]]
    propensities: dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision, in the words of a log's events; is_held_back: whether the user is in the holdback."""

    creative_id: str
    propensity: float
    candidates: tuple[str, ...]
    propensities: tuple[float, ...]
    policy_id: str
    decision_id: str
    product_id: str
    placement: str
    is_held_back: bool
    allocation: Allocation = "randomized with propensities"

    def columns(self) -> dict[str, Any]:
        """Return the columns of a log's event that a decision gives."""
        return {
            "decision_id": self.decision_id,
            "policy_id": self.policy_id,
            "allocation": self.allocation,
            "creative_id": self.creative_id,
            "product_id": self.product_id,
            "placement": self.placement,
            "candidates": list(self.candidates),
            "propensities": list(self.propensities),
        }


def draws(state: BanditState) -> Thompson:
    """Return what Thompson sampling makes of a state: shares (placement, creative), and the posteriors behind them."""
    clicks, exposures = state.counts()
    beliefs = state.prior.beliefs(np.array(state.scores), np.array(state.score_sds))
    return thompson_shares(
        clicks, exposures, beliefs=beliefs, credence=state.prior.credence, exploration=state.rules.exploration
    )


def traffic_shares(state: BanditState) -> TrafficShares:
    """Return how the next traffic is shared among a product's creatives, for every placement."""
    sampled = draws(state).probability
    bandit = with_floor(sampled, floor=state.rules.floor)
    count, control = len(state.creatives), state.rules.control
    held_back = np.full(count, 1 / count) if control is None else np.array([one == control for one in state.creatives])
    mixed = (1 - state.rules.holdback) * bandit + state.rules.holdback * held_back

    def by_placement(values: Floats) -> dict[str, tuple[float, ...]]:
        return {name: tuple(row) for name, row in zip(state.placements, values.tolist(), strict=True)}

    return TrafficShares(
        state.policy_id, state.product_id, state.creatives, state.rules.holdback, tuple(map(float, held_back)),
        by_placement(sampled), by_placement(bandit), by_placement(mixed),
    )  # fmt: skip


def choose(shares: TrafficShares, *, placement: str, user_key: str, decision_id: str, key: bytes) -> Choice:
    """Choose the creative of one decision by a keyed hash; the same arguments always choose the same.

    key: secret of the shop, 32 bytes, as for `assign`; the users held back are those that no experiment touches.
    ExperimentError for a placement that the state does not have, or a user or decision without a name.
    """
    if placement not in shares.propensities:
        raise ExperimentError(f"the bandit of product {shares.product_id!r} knows no placement {placement!r}, only "
                              f"{', '.join(shares.propensities)}. Add it to the state.")  # fmt: skip
    if not user_key or not decision_id:
        raise ExperimentError("a choice needs a user_key and a decision_id, or it cannot be repeated. Give both.")
    held = is_held_back(user_key, share=shares.holdback, key=key)
    seen = shares.held_back if held else shares.bandit[placement]
    draw = _uniform("\0".join((shares.policy_id, shares.product_id, placement, user_key, decision_id)), key=key)
    limits = list(accumulate(seen))
    place = min(bisect_right(limits, draw * limits[-1]), len(limits) - 1)
    propensities = shares.propensities[placement]
    return Choice(
        shares.creatives[place], propensities[place], shares.creatives, propensities, shares.policy_id, decision_id,
        shares.product_id, placement, held,
    )  # fmt: skip


def update(state: BanditState, *batches: Batch) -> BanditState:
    """Return the state with these batches counted, in any order; one that is there is replaced, one closed ignored.

    A batch closes when the newest one ended more than the attribution window after it. ExperimentError for a new batch
    that is older than that: its clicks can no longer be told from those of others.
    """
    held = {batch.batch_id: batch for batch in state.open}
    for batch in batches:
        if batch.batch_id in state.closed_ids:
            continue
        if state.closed_at is not None and batch.at <= state.closed_at:
            raise ExperimentError(f"batch {batch.batch_id!r} ended at {batch.at.isoformat()}, before "
                                  f"{state.closed_at.isoformat()}, up to which product {state.product_id!r} is "
                                  "closed. Send batches within the attribution window.")  # fmt: skip
        held[batch.batch_id] = batch
    ordered = sorted(held.values(), key=lambda batch: (batch.at, batch.batch_id))
    if not ordered:
        return state
    border = ordered[-1].at - timedelta(hours=state.rules.attribution_hours)
    done = [batch for batch in ordered if batch.at < border]
    kept = tuple(batch for batch in ordered if batch.at >= border)
    if not done:
        return replace(state, open=kept)
    at = done[-1].at
    groups = [(state.closed, state.closed_at or at), *((batch.cells, batch.at) for batch in done)]
    sums: dict[tuple[str, str], list[float]] = {}
    for cells, when in groups:
        decay = _decay(at - when, state.rules)
        for cell in cells:
            total = sums.setdefault((cell.creative_id, cell.placement), [0.0, 0.0])
            total[0] += decay * cell.exposures
            total[1] += decay * cell.clicks
    closed = tuple(Cell(*name, *values) for name, values in sorted(sums.items()))
    ids = (*state.closed_ids, *(batch.batch_id for batch in done))[-_REMEMBERED:]
    return replace(state, closed=closed, closed_at=at, closed_ids=ids, open=kept)


def with_learned_trust(states: Iterable[BanditState], *, before: float = 0.5) -> list[BanditState]:
    """Return states of many products with the trust in scores that all of their clicks together support.

    before: trust before any click.
    """
    given = [replace(state, prior=replace(state.prior, trust=before)) for state in states]
    evidence = np.array([draws(state).posteriors.log_evidence for state in given]).reshape(-1, 2).T
    trust = learn_trust(np.array([before, 1 - before]), evidence)
    return [replace(state, prior=replace(state.prior, trust=trust)) for state in given]


def read(path: Path) -> BanditState:
    """Return the state of a JSON file; ExperimentError for damage, FileNotFoundError for no file."""
    return read_json(path, BanditState, error=ExperimentError, remedy="Restore it, or count the log again.")


def write(path: Path, state: BanditState) -> None:
    """Write a state as JSON, whole or not at all."""
    from pydantic import TypeAdapter

    write_json(path, TypeAdapter(BanditState).dump_python(state, mode="json"))


def _decay(age: timedelta, rules: BanditRules) -> float:
    """Share of a count of this age that still counts."""
    days = age.total_seconds() / 86_400
    return 1.0 if rules.half_life_days is None else float(0.5 ** (days / rules.half_life_days))


def _uniform(text: str, *, key: bytes) -> float:
    """The keyed place of a decision in [0, 1); the hash is that of `assign`, with a key of its own."""
    data = unicodedata.normalize("NFC", text).encode()
    digest = hashlib.blake2b(data, key=_own_key(key), digest_size=16).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) * 2.0**-53


@lru_cache(maxsize=16)
def _own_key(key: bytes) -> bytes:
    key_id(key)  # refuses a key that is too short
    return hashlib.blake2b(b"clickscape/bandit", key=key, digest_size=KEY_BYTES).digest()
