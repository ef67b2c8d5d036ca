"""Cleaning of event logs: bots, duplicates, late and future events, clicks without or long after their impression.

The rules apply in the order of this file. Each is an Ibis expression over whole numbers and texts (but for `clickers`,
whose limit is a logarithm), so it means the same on every engine: a rule that needs a time or a user leaves events
without one alone, and whether a join found a row is read from a column made for it, because ClickHouse fills what an
outer join did not find with zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import ibis

from clickscape.clicks.cells import NAMED_STRATA
from clickscape.clicks.clickers import clicked_impressions, improbable_clickers
from clickscape.config import ClicksConfig

UNMATCHED, EARLY, EXPIRED, REPEATED = "unmatched", "early", "expired", "repeated"
"""Faults of a click, in the order in which they are looked for; a click without fault has an empty one."""

HEAVY_EVENTS = 1_000
"""Events of one user on one day above which the log's figures may be those of a slow bot."""

_MINUTE, _DAY = 60, 86_400  # seconds

_IMPRESSION_KEY = ["decision_id", "creative_id"]
_POSITION_KEY = [*_IMPRESSION_KEY, "position"]


@dataclass(frozen=True)
class Engine:
    """How one engine computes the small intermediate tables; the rows are the same on every engine.

    `repeated`: events, columns → rows whose values there come more than once. `suspects`: events,
    (seconds, limit) … → for each at least the events in spans of so many seconds in which a user has more than `limit`.
    `keep`: a table that is used
    again → the same one, computed once. `empty`: whether a kept table is known to have no row, so that the log need
    not be compared with it.
    """

    repeated: Callable[[ibis.Table, list[str]], ibis.Table]
    suspects: Callable[[ibis.Table, Sequence[tuple[int, int]]], list[ibis.Table]]
    keep: Callable[[ibis.Table], ibis.Table]
    empty: Callable[[ibis.Table], bool]


@dataclass(frozen=True)
class Attributed:
    """Events of people, each once, and the clicks with the impressions that they belong to.

    `repeated`: the rows with a shared event_id; `relogged`: ids of impressions that were logged again under another.

    `clicks`: every click once, with its `fault` and `skewed` (1 where it came a little before its impression).
    `besides_clicks`: impressions and conversions that count, with all columns.
    `events`: what counts: kind, creative_id, product_id, position, day (number of days since 1970) and strata.
    """

    repeated: ibis.Table
    relogged: ibis.Table
    clicks: ibis.Table
    besides_clicks: ibis.Table
    events: ibis.Table


@dataclass(frozen=True)
class Cleaned(Attributed):
    """A log after each cleaning step.

    `timely` less `bots` is `slow`, less `clickers` it is `without_bots`; `heavy` are users among those. What was not
    looked for is None.
    """

    timely: ibis.Table
    bots: ibis.Table | None
    slow: ibis.Table
    clickers: ibis.Table | None
    without_bots: ibis.Table
    heavy: ibis.Table | None


def clean(events: ibis.Table, *, config: ClicksConfig, now: datetime | None, engine: Engine) -> Cleaned:
    """Apply every rule to events with the columns of `sources.events_of`; without `now` none is in the future."""
    untimely = [flag for flag in (is_future(events, config, now), is_received_late(events, config)) if flag is not None]
    timely = events.filter([~flag for flag in untimely]) if untimely else events
    bots = clickers = heavy = None
    slow = timely
    if timed := "user_key" in events.columns and "at" in events.columns:
        known = timely.filter(timely.user_key.notnull(), timely["at"].notnull())
        limits = [(_MINUTE, config.bot_events_per_minute), (_DAY, HEAVY_EVENTS)]
        by_minute, by_day = engine.suspects(known, limits)
        bots = engine.keep(users_above(config.bot_events_per_minute, by_minute, _MINUTE))
        slow = timely if engine.empty(bots) else timely.anti_join(bots, "user_key")
    without_bots, clicked = slow, engine.keep(clicked_impressions(slow))
    if "user_key" in events.columns and config.bot_false_alarms:
        false_alarms = config.bot_false_alarms
        clickers = improbable_clickers(slow, clicked=clicked, false_alarms=false_alarms, keep=engine.keep)
        if not engine.empty(clickers):
            without_bots, clicked = (table.anti_join(clickers, "user_key") for table in (slow, clicked))
    if timed:
        heavy = users_above(HEAVY_EVENTS, by_day, _DAY)
        for found in (bots, clickers):
            heavy = heavy if found is None else heavy.anti_join(found, "user_key")
        heavy = engine.keep(heavy)
    found = attribute(without_bots, clicked=clicked, config=config, engine=engine)
    return Cleaned(
        **vars(found),
        timely=timely,
        bots=bots,
        slow=slow,
        clickers=clickers,
        without_bots=without_bots,
        heavy=heavy,
    )


def attribute(people: ibis.Table, *, clicked: ibis.Table, config: ClicksConfig, engine: Engine) -> Attributed:
    """Apply the rules that look at decisions, not at users, to the events of people; clicked: their
    `clicked_impressions`.

    Events whose decisions differ have no part in each other's outcome, if they have no id in common: the outcome of two
    logs without a common decision and id is that of both. A column `part` says in the results where an event came from.
    """
    repeated = engine.keep(engine.repeated(people, ["event_id"]))
    once = deduplicate(people, repeated, engine)
    clicks = engine.keep(attribute_clicks(once.filter(once.kind == "click"), clicked, config, engine))
    kept = clicks.filter(clicks.fault == "")
    impressions = once.filter(once.kind == "impression")
    relogged = engine.keep(relogged_impressions(people, repeated, engine))
    besides_clicks = once.filter(once.kind != "click")
    if not engine.empty(relogged):
        impressions = impressions.anti_join(relogged, "event_id")
        besides_clicks = besides_clicks.anti_join(relogged, "event_id")
    counted = ibis.union(_countable(impressions), _countable(kept), distinct=False)
    return Attributed(repeated, relogged, clicks, besides_clicks, counted)


def is_future(events: ibis.Table, config: ClicksConfig, now: datetime | None) -> Any:
    """Return whether events are more than the clock skew after `now` (UTC); None without times or without `now`."""
    if "at" not in events.columns or now is None:
        return None
    return (events["at"] > int(now.timestamp() + config.clock_skew_seconds)).fill_null(False)


def is_received_late(events: ibis.Table, config: ClicksConfig) -> Any:
    """Return whether events were received more than `late_after_hours` after they happened; None without both times."""
    if "at" not in events.columns or "received" not in events.columns:
        return None
    hours = (events.received - events["at"]) / 3_600
    return (hours > config.late_after_hours).fill_null(False)


def repeated_rows(events: ibis.Table, columns: list[str]) -> ibis.Table:
    """Return the rows whose values in these columns appear more than once; two nulls are the same."""
    numbered = events.mutate(copies=events.count().over(group_by=columns))
    return numbered.filter(numbered.copies > 1).drop("copies")


def no_rows(table: ibis.Table) -> bool:
    """Return whether a kept table has no row."""
    return not table.count().to_pyarrow().as_py()


PORTABLE = Engine(
    repeated_rows,
    suspects=lambda events, limits: [events] * len(limits),
    keep=lambda table: table,
    empty=lambda _: False,
)
"""Everything in one expression, to be shown as SQL or run on any engine."""

CACHED = Engine(
    repeated_rows,
    suspects=lambda events, limits: [events] * len(limits),
    keep=lambda table: table.cache(),
    empty=no_rows,
)
"""Intermediate tables are cached by the engine that Ibis is connected to."""


def users_above(limit: int, events: ibis.Table, seconds: int) -> ibis.Table:
    """Return the user_key of users with more than `limit` different events in a calendar span of so many seconds."""
    spans = events.mutate(span=events["at"] // seconds).group_by(["user_key", "span"])
    busy = spans.agg(different=lambda table: table.event_id.nunique())
    return busy.filter(busy.different > limit).select("user_key").distinct()


def deduplicate(events: ibis.Table, repeated: ibis.Table, engine: Engine) -> ibis.Table:
    """Return every event once: of several rows with one id the earliest, of equals the same one on every engine."""
    columns = [name for name in events.columns if name != "filename"]
    if engine.empty(repeated):  # then nobody need read the ids, the longest column of a log
        return events.select(columns)
    order = [*(name for name in ("at", "received", "user_key", *NAMED_STRATA) if name in columns), *_POSITION_KEY]
    # where null comes is made explicit, because engines differ in it
    keys = [key for name in order for key in (repeated[name].isnull().cast("int8"), repeated[name])]
    numbered = repeated.mutate(copy=ibis.row_number().over(group_by="event_id", order_by=keys))
    first = numbered.filter(numbered["copy"] == 0)
    return ibis.union(events.anti_join(repeated, "event_id").select(columns), first.select(columns), distinct=False)


def relogged_impressions(events: ibis.Table, repeated: ibis.Table, engine: Engine) -> ibis.Table:
    """Return the event_id of impressions that an earlier one of the same decision, creative, position and user repeats.

    repeated: those events whose event_id others share; what they say twice is no impression logged again. A creative is
    shown at a position of a decision once, so that it can be clicked there once: see `attribute_clicks`.
    """
    key = [*_POSITION_KEY, *(["user_key"] if "user_key" in events.columns else [])]
    at = ["at"] if "at" in events.columns else []
    again = deduplicate(engine.repeated(events.filter(events.kind == "impression"), key), repeated, engine)
    again = again.filter(again.kind == "impression")
    order = [*([again["at"].isnull().cast("int8"), again["at"]] if at else []), again.event_id]
    numbered = again.mutate(copy=ibis.row_number().over(group_by=key, order_by=order))
    return numbered.filter(numbered["copy"] > 0).select("event_id", *_part(events))


def attribute_clicks(clicks: ibis.Table, clicked: ibis.Table, config: ClicksConfig, engine: Engine) -> ibis.Table:
    """Return clicks with `fault`, `skewed` and the time and strata of the (earliest) impression that they belong to.

    A click without a position stands at its impression's, and one whose impression has none has none.

    clicked: impressions, of which at least those that a click names, as of `clicked_impressions`. Users
    share a decision where a page was cached. A click belongs to its own user's impression if that was logged, and a
    creative at a position of a decision is clicked at most as often as there are users to whom it was shown.
    """
    clicks = engine.keep(clicks)
    timed = "at" in clicks.columns
    strata = [name for name in NAMED_STRATA if name in clicks.columns]
    pairs = clicks.left_join(_shown(clicked, _IMPRESSION_KEY), _IMPRESSION_KEY, rname="{name}_shown")
    once, viewers = [*_POSITION_KEY, "fault"], ibis.literal(1)
    if "user_key" in clicks.columns:
        own_key = [*_IMPRESSION_KEY, "user_key"]
        own = _shown(clicked, own_key).rename(lambda name: name if name in own_key else f"own_{name}")
        pairs = pairs.left_join(own, own_key, rname="{name}_own")
        has_own, names = pairs.own_found.fill_null(0) > 0, [name for name in pairs.columns if name.startswith("shown_")]
        pairs = pairs.mutate(
            user=pairs.user_key.fill_null(""),
            **{name: ibis.ifelse(has_own, pairs[f"own_{name}"], pairs[name]) for name in names},
        )
        once, viewers = [*once, "user"], ibis._.viewers
    here = ibis.ifelse(
        pairs.shown_position.isnull(), ibis.null("int32"), pairs.position.fill_null(pairs.shown_position)
    )
    pairs = pairs.mutate(position=here)
    cases = [(pairs.found.fill_null(0) == 0, UNMATCHED)]
    if timed:
        waited = pairs["at"] - pairs.shown_at
        cases += [
            ((waited < -config.clock_skew_seconds).fill_null(False), EARLY),
            ((waited / 3_600 > config.attribution_hours).fill_null(False), EXPIRED),
        ]
    skewed = ((pairs["at"] < pairs.shown_at).fill_null(False) if timed else ibis.literal(False)).cast("int8")
    untimed = {"untimed": pairs["at"].isnull().cast("int8")} if timed else {}
    attributed = pairs.mutate(fault=ibis.cases(*cases, else_=""), skewed=skewed, **untimed)
    order = [*(["untimed", "at"] if timed else []), "event_id"]
    attributed = attributed.mutate(again=ibis.row_number().over(group_by=once, order_by=order) > 0)
    among = [*_POSITION_KEY, "fault", "again"]
    attributed = attributed.mutate(earlier=ibis.row_number().over(group_by=among, order_by=order))
    extra = attributed.again | (attributed.earlier >= viewers)
    attributed = attributed.mutate(fault=ibis.ifelse((attributed.fault == "") & extra, REPEATED, attributed.fault))
    # a click counts on the day and in the stratum of its impression
    return attributed.select(
        "event_id",
        "kind",
        "creative_id",
        "product_id",
        "position",
        "fault",
        "skewed",
        *[name for name in ("user_key", "variant", "part") if name in clicks.columns],
        **({"at": attributed.shown_at.fill_null(attributed["at"])} if timed else {}),
        **{name: attributed[f"shown_{name}"].fill_null(attributed[name]) for name in strata},
    )


def _shown(impressions: ibis.Table, key: list[str]) -> ibis.Table:
    """How often each key was shown and to how many users, when first, and the least of each stratum."""
    columns = impressions.columns
    firsts = {f"shown_{name}": impressions[name].min() for name in ("position", "at", *NAMED_STRATA) if name in columns}
    viewers = {"viewers": impressions.user_key.fill_null("").nunique()} if "user_key" in columns else {}
    return impressions.group_by(key).agg(found=impressions.count(), **viewers, **firsts)


def _countable(events: ibis.Table) -> ibis.Table:
    strata = [name for name in NAMED_STRATA if name in events.columns]
    day = {"day": events["at"] // 86_400} if "at" in events.columns else {}
    strata = [*strata, *_part(events)]
    return events.select("kind", "creative_id", "product_id", "position", **day, **{n: events[n] for n in strata})


def _part(events: ibis.Table) -> list[str]:
    return ["part"] if "part" in events.columns else []
