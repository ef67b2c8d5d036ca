"""What the store's events say: of experiments, of choosing against an even choice, and of creatives that wear out.

Events become the moments of every user by day, and `experiment.read` says what they show: the same statistics as
`clickscape experiment read`. Days are those on which events were received, so that what was known on a day is what is
counted for it. It takes seconds, so it is the worker's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from clickscape.errors import ExperimentError
from clickscape.experiment.definition import ExperimentDefinition, Variant
from clickscape.experiment.fatigue import forecast_fatigue
from clickscape.experiment.moments import UnitMoments, daily_moments
from clickscape.experiment.prior import PastCreatives, ScorePrior, learn_prior
from clickscape.experiment.read import read
from clickscape.experiment.reading import ExperimentReading
from clickscape.service import schema
from clickscape.service.readings import BANDIT, EVEN

_DAY = 86_400_000_000
_MOST_PRODUCTS = 300  # that the weight of scores is learned from: those with most clicks, which say most of it
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _UserDays:
    """One row per user, group and day with an event, sorted by user: codes of users and counts (row, 3) of that day."""

    user: Integers
    group: Integers
    day: Integers
    counts: Integers

    def of_groups_below(self, limit: int) -> _UserDays:
        """Return the rows of the first groups."""
        own = self.group < limit
        return _UserDays(self.user[own], self.group[own], self.day[own], self.counts[own])


def of_experiment(
    connection: Connection, definition: ExperimentDefinition, *, without: Collection[str] = ()
) -> ExperimentReading | None:  # fmt: skip
    """Return the reading of an experiment's attributed events, None while a variant has no user.

    without: users who are no people.
    """
    events = schema.events
    begun = round(definition.start.timestamp() * 1_000_000)
    names = list(definition.shares)
    is_of_it = events.c.experiment == definition.name
    found = _user_days(connection, is_of_it, group=events.c.variant, names=names, at=begun, without=without)
    moments = _moments(found, variants=len(names))
    return None if moments is None else read(moments, definition=definition)


def of_choosing(
    connection: Connection, product_id: str, *, holdback: float, without: Collection[str] = ()
) -> ExperimentReading | None:  # fmt: skip
    """Return what choosing earns on a product, as a reading of "bandit" against "even"; None while one has no user.

    holdback: share of users that are held back. without: users who are no people. Users of an experiment are left out
    of the comparison, but not of the question whether so many were held back as should be.
    """
    if not 0 < holdback < 1:
        return None
    events = schema.events
    group = sa.case((events.c.experiment.is_not(None), "experiment"), else_=events.c.variant)
    names = [BANDIT, "holdback", "experiment"]
    is_of_it = events.c.product_id == product_id
    found = _user_days(connection, is_of_it, group=group, names=names, at=0, without=without)
    first = int(found.day.min(initial=2**31))
    found = _UserDays(found.user, found.group, found.day - first, found.counts)
    moments = _moments(found.of_groups_below(2), variants=2)
    if moments is None:
        return None
    creatives = {product_id: "whichever is chosen"}
    definition = ExperimentDefinition(
        name="choosing", variants=(Variant(BANDIT, 1 - holdback, creatives), Variant(EVEN, holdback, creatives)),
        control=EVEN, start=_EPOCH + timedelta(days=first), key_id="", salt="choosing",
    )  # fmt: skip
    return read(moments, definition=definition, new_units=_first_seen(found, days=np.shape(moments.units)[1]))


def of_fatigue(connection: Connection) -> dict[str, Any]:
    """Return creative_id → what is to be replaced and why, from all counts, and a note where they say nothing yet."""
    counts = schema.counts
    rows = connection.execute(
        sa.select(
            counts.c.creative_id, counts.c.product_id, counts.c.day, sa.func.sum(counts.c.impressions).label("n"),
            sa.func.sum(counts.c.clicks).label("c"),
        )
        .group_by(counts.c.creative_id, counts.c.product_id, counts.c.day)
        .having(sa.func.sum(counts.c.impressions) > 0)
        .order_by(counts.c.product_id, counts.c.creative_id, counts.c.day)
    ).all()  # fmt: skip
    table = pa.table(
        {"creative_id": pa.array([row.creative_id for row in rows], pa.string()),
         "product_id": pa.array([row.product_id for row in rows], pa.string()),
         "day": pa.array([row.day for row in rows], pa.int64()),
         "impressions": pa.array([int(row.n) for row in rows], pa.int64()),
         "clicks": pa.array([int(row.c) for row in rows], pa.int64())}
    )  # fmt: skip
    try:
        report = forecast_fatigue(table)
    except ExperimentError as error:  # a week of traffic is the least
        return {"worn": {}, "note": str(error)}
    worn: dict[str, Any] = {}
    for one in report.to_replace:
        assert one.replacement is not None
        drop = one.replacement.drop
        worn[one.creative_id] = {
            "reason": one.replacement.reason, "probability": one.replacement.probability,
            "by": None if drop is None else drop.isoformat(), "left": one.remaining.value, "low": one.remaining.low,
            "high": one.remaining.high,
        }  # fmt: skip
    return {"worn": worn, "note": ""}


def of_scores(connection: Connection) -> ScorePrior:
    """Return what scores say of CTRs, learned from the creatives that have a score and clicks.

    A creative is scored when it is published, before the service shows it, so that its score has not seen its clicks.
    """
    creatives, counts = schema.creatives, schema.counts
    which = (counts.c.product_id, counts.c.creative_id, counts.c.placement, creatives.c.score, creatives.c.score_sd)
    most = (
        sa.select(counts.c.product_id)
        .join(creatives, creatives.c.creative_id == counts.c.creative_id)
        .where(creatives.c.score.is_not(None))
        .group_by(counts.c.product_id)
        .order_by(sa.func.sum(counts.c.clicks).desc(), counts.c.product_id)
        .limit(_MOST_PRODUCTS)
    )
    rows = connection.execute(
        sa.select(*which, sa.func.sum(counts.c.clicks), sa.func.sum(counts.c.impressions))
        .join(creatives, creatives.c.creative_id == counts.c.creative_id)
        .where(creatives.c.score.is_not(None), counts.c.product_id.in_(most))
        .group_by(*which)
    ).all()
    places = {name: place for place, name in enumerate(sorted({row[1] for row in rows}))}
    placements = sorted({row[2] for row in rows})
    score, sd, product = np.zeros(len(places)), np.zeros(len(places)), np.zeros(len(places), object)
    cells = np.zeros((len(places), max(len(placements), 1), 2))
    for product_id, name, placement, *known, clicks, shown in rows:
        place = places[name]
        product[place], (score[place], sd[place]) = product_id, known
        cells[place, placements.index(placement)] = int(clicks), int(shown)
    numbers = np.unique(product.astype(str), return_inverse=True)[1]
    return learn_prior(PastCreatives(numbers, score, sd, cells[..., 0], cells[..., 1]))


def _user_days(
    connection: Connection, where: Any, *, group: Any, names: list[str], at: int, without: Collection[str]
) -> _UserDays:  # fmt: skip
    """Rows of attributed events; group: a column with one of `names`, whose place is the row's. Days count from `at`.

    A decision is one impression and one click at most, each on the day on which it was first told; a click tells of
    its impression.
    """
    events = schema.events
    own = (where, events.c.attribution == "attributed", events.c.user_key.is_not(None), group.in_(names))
    user, named, one, nothing = events.c.user_key, group.label("named"), sa.literal(1), sa.literal(0)
    first = sa.func.min(events.c.received_at).label("at")
    per_decision = (user, group, events.c.decision_id)
    told = sa.union_all(
        sa.select(user, named, first, one.label("n"), nothing.label("c"), nothing.label("b"))
        .where(*own, events.c.kind.in_(("impression", "click"))).group_by(*per_decision),
        sa.select(user, named, first, nothing, one, nothing)
        .where(*own, events.c.kind == "click").group_by(*per_decision),
        sa.select(user, named, events.c.received_at, nothing, nothing, one).where(*own, events.c.kind == "conversion"),
    ).subquery()  # fmt: skip
    day = sa.case((told.c.at < at, 0), else_=(told.c.at - at) // _DAY).label("day")
    rows = connection.execute(
        sa.select(told.c.user_key, told.c.named, day, *(sa.func.sum(told.c[name]) for name in ("n", "c", "b")))
        .group_by(told.c.user_key, told.c.named, day)
        .order_by(told.c.user_key, told.c.named, day)
    ).all()
    left_out = frozenset(without)
    rows = [row for row in rows if row[0] not in left_out] if left_out else rows
    places = {name: place for place, name in enumerate(names)}
    _, users = np.unique(np.array([row[0] for row in rows], str), return_inverse=True)
    return _UserDays(
        users.astype(np.int64),
        np.array([places[row[1]] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.int64),
        np.array([[int(count) for count in row[3:]] for row in rows], np.int64).reshape(-1, 3),
    )


def _moments(rows: _UserDays, *, variants: int) -> UnitMoments | None:
    """What each day added to the moments of each variant, (variant, day); None while one has no impression."""
    shown = rows.counts[:, 0] > 0
    if len(np.unique(rows.group[shown])) < variants:
        return None
    last = int(rows.day[shown].max())  # conversions come later, and open no day of their own
    return daily_moments(
        unit=rows.user * variants + rows.group, variant=rows.group, day=rows.day, counts=rows.counts,
        before=np.zeros((len(rows.user), 2), np.int64), variants=variants, days=last + 1,
    )  # fmt: skip


def _first_seen(rows: _UserDays, *, days: int) -> Integers:
    """How many users were first seen on each day, (group, day): those of whom somebody chooses, and the held-back."""
    order = np.lexsort((rows.day, rows.user))
    starts = order[np.flatnonzero(np.diff(rows.user[order], prepend=-1))]
    found = np.zeros((2, days), np.int64)
    np.add.at(found, ((rows.group[starts] == 1).astype(np.int64), np.minimum(rows.day[starts], days - 1)), 1)
    return found
