"""Which creative a user sees: policies that the counts suggest, remembered, and a choice that keeps to its user.

A policy is a list of a product's creatives with the probability of each. The choice among them is weighted rendezvous
hashing: every creative draws an exponential of rate p from a keyed hash of user and creative, and the least wins. Over
users that gives each creative exactly its p; and when p moves, only those users move who must.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from clickscape.experiment.definition import ExperimentDefinition
from clickscape.experiment.prior import ScorePrior
from clickscape.service import schema
from clickscape.service.event_writer import insert_new
from clickscape.service.experiments import Known, running_experiments
from clickscape.service.publishing import SERVED
from clickscape.service.readings import newest_prior
from clickscape.service.store import is_unavailable

_MOST_PRODUCTS = 50_000  # that are remembered; the one longest not refreshed is forgotten first
_MOST_PLACEMENTS = 50  # of a product
_POLICIES_REMEMBERED = 200_000


class NothingToServeError(Exception):
    """The product is unknown, or none of its creatives is approved."""


class TooManyPlacementsError(Exception):
    """A product is asked for at more placements than any shop has: their names are made up."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Probability with which each candidate of a product is chosen at a placement; `policy_id` hashes the content.

    variants: of the `experiment` that chooses, one per candidate; None where none does.
    """

    policy_id: str
    product_id: str
    placement: str
    candidates: tuple[str, ...]
    propensities: tuple[float, ...]
    variants: tuple[str, ...] | None = None
    experiment: str | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """The policies of a product at a placement: the bandit's, the even one of held-back users, those of experiments.

    stale: the store did not answer when they were last to be refreshed.
    """

    learned: Policy
    even: Policy
    experiments: tuple[tuple[ExperimentDefinition, Policy], ...] = ()
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A creative that may be served: its predicted log CTR and sd against the product's average, None if unknown."""

    creative_id: str
    score: float | None
    score_sd: float | None


@dataclass(frozen=True, slots=True)
class ProductTraffic:
    """What the store knows of a product: counts are (creative_id, placement, day) → impressions, clicks.

    experiments: those that run and compare creatives of this product. prior: what scores say of CTRs.
    """

    product_id: str
    candidates: tuple[Candidate, ...]
    counts: Mapping[tuple[str, str, int], tuple[int, int]]
    experiments: tuple[ExperimentDefinition, ...] = ()
    prior: ScorePrior = field(default_factory=ScorePrior)


@dataclass
class _Product:
    traffic: ProductTraffic
    loaded: float
    policies: dict[str, Served] = field(default_factory=dict)
    refreshing: bool = False


Propensities = Callable[[ProductTraffic, str, int], tuple[float, ...]]
"""From a product's traffic, a placement and a day to the probability of each candidate, in their order."""


class Selector:
    """Chooses creatives; asks the store once per product in `refresh` seconds, and lets nobody wait for it.

    Where the store does not answer, the last policy goes on choosing, marked as stale.
    """

    def __init__(
        self, engine: Engine, *, propensities: Propensities, refresh: float, now: Callable[[], int], key: bytes
    ) -> None:
        self._engine, self._propensities, self._refresh, self._now, self._key = engine, propensities, refresh, now, key
        self._products: dict[str, _Product] = {}
        self._policies: dict[str, Policy] = {}
        self._definitions: Known = {}
        self._guard = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="selector")

    def known(self, product_id: str, placement: str) -> Served | None:
        """Return the policies that are remembered, without waiting; None: call `load`."""
        product = self._products.get(product_id)
        if product is None or (made := product.policies.get(placement)) is None:
            return None
        if time.monotonic() - product.loaded > self._refresh and not product.refreshing:
            product.refreshing = True
            self._pool.submit(self._refresh_product, product_id)
        return made

    def load(self, product_id: str, placement: str) -> Future[Served]:
        """Return a future of the policies, read from the store; NothingToServeError, TooManyPlacementsError."""
        return self._pool.submit(self._load, product_id, placement)

    def policy(self, policy_id: str) -> Policy | None:
        """Return a policy that chose here or on another instance, None for one that the store does not hold."""
        if found := self._policies.get(policy_id):
            return found
        with self._engine.connect() as connection:
            row = connection.execute(
                sa.select(schema.policies).where(schema.policies.c.policy_id == policy_id)
            ).one_or_none()
        if row is None:
            return None
        made = Policy(row.policy_id, row.product_id, row.placement, tuple(row.candidates), tuple(row.propensities),
                      row.variants and tuple(row.variants), row.experiment)  # fmt: skip
        self._remember(made)
        return made

    def known_policy(self, policy_id: str) -> Policy | None:
        """Return a policy that is remembered, without asking the store."""
        return self._policies.get(policy_id)

    def forget(self, product_id: str) -> None:
        """Read the product anew when it is asked for next: its creatives have changed."""
        with self._guard:
            self._products.pop(product_id, None)

    def choose(self, policy: Policy, user: str) -> int:
        """Return the place of the candidate that a user sees; every candidate has exactly its propensity over users."""
        return choose(policy.candidates, policy.propensities, user=user, key=self._key)

    def close(self) -> None:
        """End the thread that reads the store."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, connection: Connection, product_id: str) -> ProductTraffic:
        return read_traffic(connection, product_id, now=self._now(), known=self._definitions)

    def _load(self, product_id: str, placement: str) -> Served:
        product = self._products.get(product_id)
        if product is None:
            with self._engine.connect() as connection:
                product = _Product(self._read(connection, product_id), time.monotonic())
        if placement not in product.policies:
            if len(product.policies) >= _MOST_PLACEMENTS:
                raise TooManyPlacementsError
            product.policies[placement] = self._make(product.traffic, [placement])[placement]
        with self._guard:
            while len(self._products) >= _MOST_PRODUCTS:
                self._products.pop(next(iter(self._products)))
            self._products[product_id] = product
        return product.policies[placement]

    def _refresh_product(self, product_id: str) -> None:
        old = self._products.get(product_id)
        if old is None:
            return
        try:
            with self._engine.connect() as connection:
                traffic = self._read(connection, product_id)
            made = _Product(traffic, time.monotonic(), self._make(traffic, list(old.policies)))
        except NothingToServeError:
            self.forget(product_id)
        except Exception as error:  # a bad row must not stop serving what was served a moment ago
            if is_unavailable(error):
                old.policies = {name: replace(one, stale=True) for name, one in old.policies.items()}
            old.loaded, old.refreshing = time.monotonic(), False
        else:
            with self._guard:
                if self._products.pop(product_id, None) is old:  # nobody said meanwhile that it has changed
                    self._products[product_id] = made

    def _make(self, traffic: ProductTraffic, placements: list[str]) -> dict[str, Served]:
        """The policies of each placement, stored before anybody is served by them."""
        now = self._now()
        ids = tuple(one.creative_id for one in traffic.candidates)
        even = (1 / len(ids),) * len(ids)
        made = {}
        for placement in placements:
            learned = self._propensities(traffic, placement, now // 86_400_000_000)
            made[placement] = Served(
                _policy(traffic.product_id, placement, ids, learned),
                _policy(traffic.product_id, placement, ids, even),
                tuple((one, _experiment_policy(one, traffic.product_id, placement)) for one in traffic.experiments),
            )
        policies = [
            policy
            for served in made.values()
            for policy in (served.learned, served.even, *(policy for _, policy in served.experiments))
        ]
        rows = [
            {
                "policy_id": one.policy_id,
                "product_id": one.product_id,
                "placement": one.placement,
                "candidates": list(one.candidates),
                "propensities": list(one.propensities),
                "variants": one.variants and list(one.variants),
                "experiment": one.experiment,
                "created_at": now,
            }
            for one in sorted(set(policies), key=lambda policy: policy.policy_id)
        ]
        with self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            insert_new(connection, schema.policies, rows, returning=("policy_id",))
        for one in policies:
            self._remember(one)
        return made

    def _remember(self, policy: Policy) -> None:
        with self._guard:
            while len(self._policies) >= _POLICIES_REMEMBERED:
                self._policies.pop(next(iter(self._policies)))
            self._policies[policy.policy_id] = policy


def choose(candidates: tuple[str, ...], propensities: tuple[float, ...], *, user: str, key: bytes) -> int:
    """Return the place of the candidate with the least exponential of rate p (Efraimidis and Spirakis 2006)."""
    best, least = 0, math.inf
    of_user = hashlib.blake2b(f"{user} ".encode(), digest_size=8, key=key, person=b"choose")
    for place, (name, share) in enumerate(zip(candidates, propensities, strict=True)):
        if share <= 0:
            continue
        hashed = of_user.copy()
        hashed.update(name.encode())
        number = (int.from_bytes(hashed.digest(), "big") + 0.5) / 2**64
        waits = -math.log(number) / share if number < 1 else 0.0
        if waits < least:
            best, least = place, waits
    return best


def read_traffic(connection: Connection, product_id: str, *, now: int, known: Known | None = None) -> ProductTraffic:
    """Return what the store knows of a product's servable creatives; NothingToServeError when there is none.

    now: microseconds since 1970; known: as of `running_experiments`.
    """
    table = schema.creatives
    rows = connection.execute(
        sa.select(table.c.creative_id, table.c.score, table.c.score_sd)
        .where(table.c.product_id == product_id, table.c.status.in_(SERVED))
        .order_by(table.c.creative_id)
    ).all()
    if not rows:
        raise NothingToServeError
    counted = schema.counts
    counts = connection.execute(sa.select(counted).where(counted.c.product_id == product_id)).all()
    return ProductTraffic(
        product_id,
        tuple(Candidate(*row) for row in rows),
        {(row.creative_id, row.placement, row.day): (row.impressions, row.clicks) for row in counts},
        tuple(
            one
            for one in running_experiments(connection, product_id, now=now, known=known)
            if {variant.creatives[product_id] for variant in one.variants} <= {row.creative_id for row in rows}
        ),  # where a creative was retired, the experiment decides no longer what this product shows
        newest_prior(connection),
    )


def _experiment_policy(definition: ExperimentDefinition, product_id: str, placement: str) -> Policy:
    candidates = tuple(one.creatives[product_id] for one in definition.variants)
    shares = definition.shares
    return _policy(product_id, placement, candidates, tuple(shares.values()), tuple(shares), definition.name)


def _policy(
    product_id: str,
    placement: str,
    candidates: tuple[str, ...],
    propensities: tuple[float, ...],
    variants: tuple[str, ...] | None = None,
    experiment: str | None = None,
) -> Policy:
    content = json.dumps([product_id, placement, candidates, propensities, variants, experiment]).encode()
    name = hashlib.blake2b(content, digest_size=8, person=b"policy").hexdigest()
    return Policy(name, product_id, placement, candidates, propensities, variants, experiment)
