"""Commit events in groups: a request is answered after the commit that holds its events, and thousands share one.

One thread takes what has come in within a few milliseconds and writes it in one transaction: events, what each decision
counts for, and the counts that the selector learns from. So the three agree after a kill at any moment, and a batch
that a client sends again changes nothing.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from clickscape.service import schema

Kind = Literal["impression", "click", "conversion"]
Attribution = Literal["attributed", "late", "unknown"]
_GATHER = 0.005  # seconds that the first event of a group waits for others, from when it came
_LARGEST = 5_000  # events of one transaction
_WAITING = 50_000  # events that may wait; more are refused, which a client sees as 503
_ATTEMPTS = 3  # of a transaction that lost a deadlock to another instance's
_DAY = 86_400_000_000
_STEP = 500  # rows of a statement: 14 columns each stay below SQLite's limit of parameters


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it is stored; times in microseconds since 1970, UTC. `decided_at`: None if nobody decided."""

    event_id: str
    kind: Kind
    attribution: Attribution
    decision_id: str
    creative_id: str | None
    product_id: str | None
    placement: str | None
    user_key: str | None
    policy_id: str | None
    variant: str | None
    ts: int
    received_at: int
    decided_at: int | None = None
    experiment: str | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch: events stored, and those whose id was stored before."""

    stored: int
    repeated: int


class OverloadedError(Exception):
    """More events wait than may: the client sends them again later."""


class EventWriter:
    """A thread that commits; `write` may be called from any other. Close it to commit what waits."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: queue.SimpleQueue[tuple[Sequence[Event], Future[Written], float] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="event-writer", daemon=True)
        self._thread.start()

    def write(self, events: Sequence[Event]) -> Future[Written]:
        """Return a future that is done once these events are committed; it raises the store's error if they are not.

        OverloadedError, at once, when too many wait.
        """
        with self._guard:
            if self._waiting + len(events) > _WAITING:
                raise OverloadedError
            self._waiting += len(events)
        future: Future[Written] = Future()
        future.set_running_or_notify_cancel()  # so that a client that hangs up cannot cancel it, which would end us
        self._queue.put((events, future, time.monotonic()))
        return future

    def close(self) -> None:
        """Commit what waits and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        open_ = True
        while open_:
            item = self._queue.get()
            group: list[tuple[Sequence[Event], Future[Written]]] = []
            until = 0.0 if item is None else item[2] + _GATHER  # who waited for the commit before waits no longer
            size = 0
            while True:
                if item is None:
                    open_ = False
                    break
                group.append(item[:2])
                size += len(item[0])
                if size >= _LARGEST:
                    break
                try:
                    item = self._queue.get(timeout=max(until - time.monotonic(), 0))
                except queue.Empty:
                    break
            if group:
                self._commit(group, size)

    def _commit(self, group: list[tuple[Sequence[Event], Future[Written]]], size: int) -> None:
        try:
            new = self._write_with_retry([event for events, _ in group for event in events])
        except BaseException as error:  # whatever it was, the requests that wait must learn of it
            for _, future in group:
                future.set_exception(error)
        else:
            for events, future in group:
                stored = sum(new.pop(event.event_id, 0) for event in events)
                future.set_result(Written(stored, len(events) - stored))
        finally:
            with self._guard:
                self._waiting -= size

    def _write_with_retry(self, events: Sequence[Event]) -> dict[str, int]:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._engine.connect().execution_options(writes=True) as connection, connection.begin():
                    return write_events(connection, events)
            except DBAPIError as error:
                if attempt == _ATTEMPTS or getattr(error.orig, "sqlstate", None) not in ("40P01", "40001"):
                    raise
        raise AssertionError("unreachable")


def write_events(connection: Connection, events: Sequence[Event]) -> dict[str, int]:
    """Store events inside a transaction; return those that are new, id → 1.

    A decision counts one impression and one click at most, whoever tells of it how often; a click without impression
    counts both, because what was clicked was shown. Rows are sorted, so that two instances never wait for each other.
    """
    unique: dict[str, Event] = {}
    for event in events:
        unique.setdefault(event.event_id, event)
    rows = [_row(unique[name]) for name in sorted(unique)]
    new = {name for (name,) in insert_new(connection, schema.events, rows, returning=("event_id",))}
    _count(connection, [unique[name] for name in sorted(new)])
    return dict.fromkeys(new, 1)


def _count(connection: Connection, events: Iterable[Event]) -> None:
    told: dict[tuple[str, str], Event] = {}
    conversions: list[Event] = []
    for event in events:
        if event.attribution != "attributed":
            continue
        if event.kind == "conversion":
            conversions.append(event)
            continue
        told.setdefault((event.decision_id, event.kind), event)
        told.setdefault((event.decision_id, "impression"), event)
    rows = [{"decision_id": decision, "kind": kind} for decision, kind in sorted(told)]
    counted = insert_new(connection, schema.outcomes, rows, returning=("decision_id", "kind"))
    sums: Counter[tuple[tuple[str, str, str, int], str]] = Counter()
    for decision, kind in counted:
        sums[_cell(told[decision, kind]), kind] += 1
    for event in conversions:
        sums[_cell(event), "conversion"] += 1
    cells = sorted({cell for cell, _ in sums})
    if not cells:
        return
    values = [
        dict(zip(_CELL, cell, strict=True)) | {name: sums[cell, name.removesuffix("s")] for name in _NUMBERS}
        for cell in cells
    ]
    connection.execute(_add_counts(connection.dialect.name), values)


def _row(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in _STORED}


_STORED = tuple(column.name for column in schema.events.columns if column.name not in ("number", "batch"))


def _cell(event: Event) -> tuple[str, str, str, int]:
    assert event.product_id is not None
    assert event.creative_id is not None
    assert event.decided_at is not None
    return event.product_id, event.creative_id, event.placement or "", event.decided_at // _DAY


_CELL = ("product_id", "creative_id", "placement", "day")
_NUMBERS = ("impressions", "clicks", "conversions")


def _insert(dialect: str) -> Any:
    return postgresql.insert if dialect == "postgresql" else sqlite.insert


@cache  # made once: to make it takes longer than to run it
def _add_counts(dialect: str) -> Any:
    insert = _insert(dialect)(schema.counts)
    added = {name: schema.counts.c[name] + insert.excluded[name] for name in _NUMBERS}
    return insert.on_conflict_do_update(index_elements=_CELL, set_=added)


@cache
def _insert_new(dialect: str, table: sa.Table, returning: tuple[str, ...]) -> Any:
    return _insert(dialect)(table).on_conflict_do_nothing().returning(*(table.c[name] for name in returning))


def insert_new(
    connection: Connection, table: sa.Table, rows: Sequence[dict[str, Any]], *, returning: Sequence[str]
) -> list[Any]:
    """Insert the rows whose keys the table does not hold; return those columns of each that was inserted."""
    statement = _insert_new(connection.dialect.name, table, tuple(returning))
    made: list[Any] = []
    for start in range(0, len(rows), _STEP):
        made += connection.execute(statement, rows[start : start + _STEP]).all()
    return made
