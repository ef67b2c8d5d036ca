"""Which users are no people, or many, from the summaries of a log's parts: rules that look at all of a user's events.

A minute of a user lies in one part, but where parts overlap in time. Where it may lie in several and what they keep of
it leaves a doubt, the events of that minute are read again from those parts: files of days meet in a minute a day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clickscape.clicks import clickers
from clickscape.clicks.log_files import literal
from clickscape.clicks.part_events import AT, ID, USER, VIEW, put
from clickscape.clicks.part_summary import Numbers, spans
from clickscape.config import ClicksConfig


@dataclass(frozen=True)
class SummarizedPart:
    """A part whose summary lies in `folder`; `show` makes the view of its events."""

    folder: Path
    show: Callable[[], None]


def busy_users(parts: Sequence[SummarizedPart], *, seconds: int, config: ClicksConfig, connection: Any) -> Numbers:
    """Return the users with more different events in a calendar span of so many seconds than people have, ascending."""
    limit, least = next((limit, least) for length, limit, least in spans(config) if length == seconds)
    con = connection.con
    minutes, kept = ([literal(part.folder / f"{name}.parquet") for part in parts] for name in ("minutes", "spans"))
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE several AS "
        f"SELECT span, sum(least(events, {least - 1})) AS unseen FROM ("
        f"SELECT filename, span * 60 // {seconds} AS span, sum(events) AS events "
        f"FROM read_parquet($files, filename = true) GROUP BY ALL) GROUP BY span HAVING count(*) > 1",
        {"files": minutes},
    )
    own = f'(SELECT "user", span, different FROM read_parquet($files) WHERE seconds = {seconds})'
    certain = con.execute(f'SELECT DISTINCT "user" FROM {own} WHERE different > {limit}', {"files": kept})
    found = [certain.to_arrow_table()["user"].to_numpy()]
    con.execute(
        f'CREATE OR REPLACE TEMP TABLE doubtful AS SELECT "user", span FROM {own} JOIN several USING (span) '
        f"GROUP BY ALL HAVING sum(different) + any_value(unseen) > {limit} AND max(different) <= {limit} "
        f'UNION ALL SELECT NULL AS "user", span FROM several WHERE unseen > {limit}',
        {"files": kept},
    )
    if con.execute("SELECT count(*) FROM doubtful").fetchone() != (0,):
        found.append(_looked_up(parts, seconds=seconds, limit=limit, con=con))
    return np.unique(np.concatenate(found)).astype(np.uint64)


def _looked_up(parts: Sequence[SummarizedPart], *, seconds: int, limit: int, con: Any) -> Numbers:
    """Users of the table `doubtful` (null: all users of the span) with more than `limit` different events."""
    con.execute('CREATE OR REPLACE TEMP TABLE looked_up ("user" UBIGINT, span BIGINT, id UBIGINT)')
    concerned = f"SELECT count(*) FROM read_parquet($file) WHERE span * 60 // {seconds} IN (SELECT span FROM doubtful)"
    for part in parts:
        if con.execute(concerned, {"file": literal(part.folder / "minutes.parquet")}).fetchone() == (0,):
            continue
        part.show()
        con.execute(
            f'INSERT INTO looked_up SELECT DISTINCT e."user", e.span, e.id FROM ('
            f'SELECT {USER} AS "user", {AT} // {seconds} AS span, {ID} AS id FROM {VIEW} WHERE timely'
            f') AS e JOIN doubtful AS d ON e.span = d.span AND (d."user" IS NULL OR e."user" = d."user") '
            f'WHERE e."user" IS NOT NULL'
        )
    busy = f'SELECT "user", span FROM looked_up GROUP BY ALL HAVING count(DISTINCT id) > {limit}'
    return con.execute(f'SELECT DISTINCT "user" FROM ({busy})').to_arrow_table()["user"].to_numpy()


def add_up_users(parts: Sequence[SummarizedPart], *, connection: Any) -> None:
    """Make the table `users`: user, events and shown impressions in all parts."""
    connection.con.execute(
        'CREATE OR REPLACE TEMP TABLE users AS SELECT "user", sum(events)::BIGINT AS events, '
        'sum(shown)::BIGINT AS shown FROM read_parquet($files) GROUP BY "user"',
        {"files": [literal(part.folder / "users.parquet") for part in parts]},
    )


def improbable_users(
    parts: Sequence[SummarizedPart],
    *,
    bots: Numbers,
    seen: Numbers,
    false_alarms: float,
    connection: Any,
    keep: Callable[[Any], Any],
) -> Numbers:
    """Return the users who click too often to be people, ascending; seen: impressions that other parts' clicks name.

    Needs the table `users`.
    """
    con = connection.con
    put(connection, "bots", bots)
    put(connection, "seen", seen)
    con.execute(
        'CREATE OR REPLACE TEMP TABLE people AS SELECT "user" AS user_key, shown, coalesce(clicked, 0) AS clicked '
        'FROM (FROM users ANTI JOIN bots ON "user" = number) LEFT JOIN ('
        'SELECT "user", count(DISTINCT decision) AS clicked FROM read_parquet($files) '
        'WHERE (own OR seen IN (SELECT number FROM seen)) AND "user" IS NOT NULL GROUP BY "user") USING ("user") '
        "WHERE shown > 0",
        {"files": _clicks(parts)},
    )
    people = keep(connection.table("people"))
    found = clickers.improbable_users(people, false_alarms=false_alarms, keep=keep).to_pyarrow()["user_key"].to_numpy()
    return np.unique(found).astype(np.uint64)


def different_clicks(parts: Sequence[SummarizedPart], users: Numbers, *, connection: Any) -> int:
    """Return the number of different clicks of these users."""
    put(connection, "asked", users)
    sql = 'SELECT count(DISTINCT id) FROM read_parquet($files) WHERE "user" IN (SELECT number FROM asked)'
    return int(connection.con.execute(sql, {"files": _clicks(parts)}).fetchone()[0])


def events_of(
    parts: Sequence[SummarizedPart], users: Numbers | None, *, connection: Any
) -> tuple[int | None, int | None, str | None]:
    """Return the number of users, of their events, and who has most of them; None where not looked for.

    Needs the table `users`.
    """
    if users is None:
        return None, None, None
    if not len(users):
        return 0, 0, None
    con = connection.con
    put(connection, "asked", users)
    theirs = con.execute('SELECT "user", events FROM users JOIN asked ON "user" = number').fetchall()
    most = max(events for _, events in theirs)
    put(connection, "asked", np.array([user for user, events in theirs if events == most], np.uint64))
    names: Mapping[int, str] = {}
    for part in parts:
        sql = 'SELECT count(*) FROM read_parquet($file) WHERE "user" IN (SELECT number FROM asked)'
        if con.execute(sql, {"file": literal(part.folder / "users.parquet")}).fetchone() != (0,):
            part.show()
            sql = f"SELECT DISTINCT {USER} AS number, user_key FROM {VIEW} WHERE {USER} IN (SELECT number FROM asked)"
            names = {**names, **dict(con.execute(sql).fetchall())}
        if len(names) == sum(events == most for _, events in theirs):
            break
    return len(theirs), sum(events for _, events in theirs), min(names.values())


def _clicks(parts: Sequence[SummarizedPart]) -> list[str]:
    return [literal(part.folder / "clicks.parquet") for part in parts]
