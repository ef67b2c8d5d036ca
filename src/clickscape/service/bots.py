"""Users who are no people, by the rules of `clicks`, in the store's events: what the page says is read without them.

Events here are attributed and unique already; what is left of the cleaning are the two rules about users: too many
events in a minute, and too many clicks, however slowly. Both need all events, so they are looked for every ten minutes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import ibis
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clickscape.clicks import logs
from clickscape.clicks.clickers import improbable_users
from clickscape.config import ClicksConfig
from clickscape.service import schema

_MINUTE = 60_000_000
_MOST = 500  # users of one statement


def find_bots(connection: Connection, *, config: ClicksConfig) -> list[str]:
    """Return the user_key of users who are too busy, or click too often, to be people, sorted."""
    events = schema.events
    known = (events.c.user_key.is_not(None), events.c.attribution != "unknown")
    busy = set(
        connection.execute(
            sa.select(events.c.user_key).where(*known)
            .group_by(events.c.user_key, events.c.ts // _MINUTE)
            .having(sa.func.count() > config.bot_events_per_minute)
        ).scalars()
    )  # fmt: skip
    if not config.bot_false_alarms:
        return sorted(busy)
    shown, clicked = (sa.func.sum(sa.case((events.c.kind == kind, 1), else_=0)) for kind in ("impression", "click"))
    per_decision = (
        sa.select(events.c.user_key, shown.label("shown"), clicked.label("clicks"))
        .where(*known).group_by(events.c.user_key, events.c.decision_id).subquery()
    )  # fmt: skip
    both = sa.case(((per_decision.c.shown > 0) & (per_decision.c.clicks > 0), 1), else_=0)
    rows = connection.execute(
        sa.select(per_decision.c.user_key, sa.func.sum(per_decision.c.shown), sa.func.sum(both))
        .group_by(per_decision.c.user_key)
        .having(sa.func.sum(per_decision.c.shown) > 0)
    ).all()
    people = [row for row in rows if row[0] not in busy]
    if not people:
        return sorted(busy)
    table = pa.table(
        {
            "user_key": pa.array([row[0] for row in people], pa.string()),
            "shown": pa.array([int(row[1]) for row in people], pa.int64()),
            "clicked": pa.array([int(row[2]) for row in people], pa.int64()),
        }
    )
    users = logs.connect(threads=1).create_table("users", table)
    found = improbable_users(users, false_alarms=config.bot_false_alarms, keep=ibis.Table.cache)
    return sorted(busy.union(found.to_pyarrow()["user_key"].to_pylist()))


def counts_of(connection: Connection, product_id: str, users: Collection[str]) -> Mapping[str, tuple[int, int]]:
    """Return creative_id → impressions and clicks that these users had of a product, as `counts` counts them."""
    events = schema.events
    made: dict[str, tuple[int, int]] = {}
    names = sorted(users)
    for start in range(0, len(names), _MOST):
        own = (
            sa.select(events.c.creative_id, events.c.decision_id,
                      sa.func.max(sa.case((events.c.kind == "click", 1), else_=0)).label("clicked"))
            .where(events.c.user_key.in_(names[start : start + _MOST]), events.c.product_id == product_id,
                   events.c.attribution == "attributed", events.c.kind.in_(("impression", "click")))
            .group_by(events.c.creative_id, events.c.decision_id).subquery()
        )  # fmt: skip
        summed = sa.select(own.c.creative_id, sa.func.count(), sa.func.sum(own.c.clicked)).group_by(own.c.creative_id)
        for name, shown, clicked in connection.execute(summed):
            before = made.get(name, (0, 0))
            made[name] = before[0] + int(shown), before[1] + int(clicked)
    return made
