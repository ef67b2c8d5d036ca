"""Bring what the service learned into the workspace: events as Parquet files, and what people decided.

Events get the number of their file in one transaction; then the files that are missing are written. A kill between the
two, or between two files, loses nothing and repeats nothing: the next pull writes what is missing, the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from clickscape.files import atomic_file
from clickscape.service import schema
from clickscape.types import Allocation

EVENTS = "service-"
"""How the names of its files begin."""

_LARGEST = 1_000_000  # events of one file
_TIME = pa.timestamp("us", tz="UTC")
_ALLOCATION: Allocation = "randomized with propensities"
_SCHEMA = pa.schema(
    [
        ("event_id", pa.string()), ("ts", _TIME), ("received_at", _TIME), ("kind", pa.string()),
        ("decision_id", pa.string()), ("creative_id", pa.string()), ("product_id", pa.string()),
        ("placement", pa.string()), ("position", pa.int32()), ("user_key", pa.string()), ("policy_id", pa.string()),
        ("allocation", pa.string()), ("candidates", pa.list_(pa.string())), ("propensities", pa.list_(pa.float64())),
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pulled:
    """How many events came into which new files."""

    events: int
    files: tuple[Path, ...]


def pull_events(engine: Engine, folder: Path) -> Pulled:
    """Write events that no file holds as service-NUMBER.parquet into a folder, in the columns of a log of events.

    Those of decisions that nobody made have no creative and stay in the store, where they are counted.
    """
    number_events(engine)
    events = schema.events
    files, count = [], 0
    with engine.connect() as connection:
        batches = connection.execute(
            sa.select(events.c.batch).where(events.c.batch.is_not(None)).distinct().order_by(events.c.batch)
        ).scalars().all()  # fmt: skip
        for batch in batches:
            path = file_of(folder, batch)
            if path.exists():
                continue
            table = batch_table(connection, batch)
            with atomic_file(path) as temporary:
                pq.write_table(table, temporary, compression="zstd")
            files.append(path)
            count += len(table)
    return Pulled(count, tuple(files))


def file_of(folder: Path, batch: int) -> Path:
    """Return the file of a batch."""
    return folder / f"{EVENTS}{batch:06}.parquet"


def number_events(engine: Engine) -> None:
    """Give every event without a file the number of the next ones, a million to a file."""
    events = schema.events
    while True:
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            if connection.dialect.name == "postgresql":  # two pulls at once would give two batches one number
                connection.execute(sa.text("LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE"))
            last = connection.execute(sa.select(sa.func.max(events.c.batch))).scalar_one()
            chosen = (
                sa.select(events.c.number)
                .where(events.c.batch.is_(None), events.c.attribution != "unknown")
                .order_by(events.c.number)
                .limit(_LARGEST)
            )
            made = connection.execute(
                sa.update(events).where(events.c.number.in_(chosen)).values(batch=(last or 0) + 1)
            )
        if made.rowcount < _LARGEST:
            return


def batch_table(connection: Connection, batch: int) -> pa.Table:
    """Return the events of a batch in the columns of a log, candidates and propensities beside each impression."""
    events = schema.events
    rows = connection.execute(sa.select(events).where(events.c.batch == batch).order_by(events.c.number)).all()
    wanted = sorted({row.policy_id for row in rows})
    policies: dict[str, Any] = {}
    for start in range(0, len(wanted), 500):
        found = connection.execute(
            sa.select(schema.policies).where(schema.policies.c.policy_id.in_(wanted[start : start + 500]))
        ).all()
        policies |= {row.policy_id: row for row in found}

    def column(name: str, kind: pa.DataType) -> pa.Array:
        return pa.array([getattr(row, name) for row in rows], kind)

    shares = {name: _shares(row) for name, row in policies.items()}
    shown = [shares.get(row.policy_id) if row.kind == "impression" else None for row in rows]
    made: Mapping[str, pa.Array] = {
        "ts": column("ts", pa.int64()).cast(pa.timestamp("us")).cast(_TIME),
        "received_at": column("received_at", pa.int64()).cast(pa.timestamp("us")).cast(_TIME),
        "allocation": pa.array([_ALLOCATION] * len(rows), pa.string()),
        "candidates": pa.array([one and list(one) for one in shown], pa.list_(pa.string())),
        "propensities": pa.array([one and list(one.values()) for one in shown], pa.list_(pa.float64())),
    }
    columns = [made[one.name] if one.name in made else column(one.name, one.type) for one in _SCHEMA]
    return pa.table(columns, schema=_SCHEMA)


def _shares(policy: Any) -> dict[str, float]:
    """The probability of each creative; two variants of an experiment may show the same one."""
    made: dict[str, float] = {}
    for name, share in zip(policy.candidates, policy.propensities, strict=True):
        made[name] = made.get(name, 0.0) + share
    return made


def forget_user(engine: Engine, folder: Path, user_key: str) -> int:
    """Remove a user's hash from every event, in the store and in pulled files; return how many events had it.

    Counts stay, because they name nobody. `user_key`: the hash, as `decisions.hashed_user` makes it.
    """
    events = schema.events
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        batches = connection.execute(
            sa.select(events.c.batch).where(events.c.user_key == user_key, events.c.batch.is_not(None)).distinct()
        ).scalars().all()  # fmt: skip
        made = connection.execute(sa.update(events).where(events.c.user_key == user_key).values(user_key=None))
        connection.execute(sa.delete(schema.readings).where(schema.readings.c.about == "bots"))  # which names users
        for batch in batches:
            if file_of(folder, batch).exists():
                table = batch_table(connection, batch)
                with atomic_file(file_of(folder, batch)) as temporary:
                    pq.write_table(table, temporary, compression="zstd")
    return int(made.rowcount)
