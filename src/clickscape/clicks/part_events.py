"""The events of some files of a log as one view of a DuckDB, with the 64-bit numbers that parts of a log share.

Texts are compared by these numbers first: `id` of an event, `key` of the creative in its decision (52 bits), `user`
(63 bits, null without one), and `seen`, the key followed by 12 bits of the user. What agrees in them is looked at again
with its texts; what differs in them differs.
"""

from __future__ import annotations

from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any

import ibis
import pyarrow as pa

from clickscape.clicks import cleaning
from clickscape.clicks.allocation import ALLOCATIONS
from clickscape.clicks.cells import NAMED_STRATA
from clickscape.clicks.checks import KINDS, faults_of
from clickscape.clicks.values import is_number
from clickscape.config import ClicksConfig

VIEW = "part_events"
TEXTS = ("event_id", "kind", "decision_id", "creative_id", "product_id", "user_key", *NAMED_STRATA)
COLUMNS = (*TEXTS, "position", "at", "received")
"""Columns of the view beside `timely`, `flags` and `stated`, the allocation; null where the files lack one."""

IMPRESSION, CLICK, CONVERSION = range(3)
KIND = 3
POSITION, LATE, FUTURE, RESPELLED, EPOCH, FAULT, ACCENT = (1 << bit for bit in range(2, 9))
"""Bits of `flags`: the kind (below 4), and what is so of an event; ACCENT: a letter that is not ASCII."""

UNTIMELY = LATE | FUTURE

_TYPES = dict.fromkeys(TEXTS, "string") | {"position": "int32", "at": "int64", "received": "int64"}

SELECTED = ", ".join(f'"{name}"' for name in COLUMNS)
AT = '"at"'  # a word of SQL
DAY = f"{AT} // 86400"
ID = "hash(event_id)"
TAG = 12
"""Bits of the user behind a key: few, so that keys of a large log do not meet by chance and have files read again."""

KEY = f"(hash(creative_id, hash(decision_id)) >> {TAG})"
USER = "CASE WHEN user_key IS NULL THEN NULL ELSE hash(user_key) >> 1 END"


def show(events: ibis.Table, *, connection: Any, config: ClicksConfig, now: datetime) -> None:
    """Make the view VIEW of events with columns of `sources.events_of`."""
    known = {name: events[name] if name in events.columns else ibis.null(kind) for name, kind in _TYPES.items()}
    stated = events.allocation.fill_null("unknown") if "allocation" in events.columns else ibis.literal("unknown")
    flags = {
        POSITION: events.position.notnull(),
        LATE: cleaning.is_received_late(events, config),
        FUTURE: cleaning.is_future(events, config, now),
        RESPELLED: events.respelled if "respelled" in events.columns else None,
        EPOCH: is_number(events.given_at) if "given_at" in events.columns else None,
        FAULT: reduce(or_, (flag for flag, _ in faults_of(events))),
        ACCENT: reduce(or_, (_has_accent(events[name]) for name in (*TEXTS, "allocation") if name in events.columns)),
    }
    number = ibis.cases(*((events.kind == name, place) for place, name in enumerate(KINDS)), else_=KIND)
    for bit, flag in flags.items():
        number = number if flag is None else number + ibis.ifelse(flag, bit, 0)  # 0 for null, too
    place = ibis.cases(*((stated == name, place) for place, name in enumerate(ALLOCATIONS)), else_=len(ALLOCATIONS))
    untimely = [flags[bit].fill_null(False) for bit in (LATE, FUTURE) if flags[bit] is not None]
    timely = ~reduce(or_, untimely) if untimely else ibis.literal(True)
    view = events.select(**known, timely=timely, flags=number.cast("int16"), stated=place.cast("int8"))
    connection.create_view(VIEW, view, overwrite=True)


def _has_accent(text: Any) -> Any:
    return _bytes(text) != text.length()


@ibis.udf.scalar.builtin(name="strlen", signature=(("string",), "int64"))  # type: ignore[untyped-decorator]
def _bytes(text: str) -> int:  # type: ignore[empty-body]
    """DuckDB's own number of bytes of a text."""


def put(connection: Any, name: str, numbers: Any) -> None:
    """Make a table of a DuckDB with the column `number`."""
    connection.con.register("given", pa.table({"number": pa.array(numbers, pa.uint64())}))
    connection.con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM given")
    connection.con.unregister("given")
