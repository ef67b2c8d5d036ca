"""How many events each cleaning rule left out, as figures for the manifest and as lines for the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ibis
import numpy as np

from clickscape.clicks.cleaning import EARLY, EXPIRED, HEAVY_EVENTS, REPEATED, UNMATCHED, Cleaned

_LINES = {
    "epochs": "{:,} times are numbers: read as seconds, or as milli-, micro- or nanoseconds, since 1970, as their size "
    "says",
    "respelled": "{:,} events have ids whose accents are encoded in two characters: read as those with one",
    "duplicates": "{:,} events were logged again under the same id: each counts once",
    "relogged": "{:,} impressions were logged again under a new id (same decision, creative, position, user): each "
    "counts once",
    "without_position": "{:,} impressions have no position though others have one: a stratum of their own, as nobody "
    "knows where they stood",
    "out_of_order": "{:,} events stand after a later one: they count, the order of rows means nothing",
    "late": "{:,} events were received too late: left out",
    "future": "{:,} events lie in the future: left out",
    "bot_events": "{:,} events of {bots:,} users too busy to be people: left out{busiest}",
    "clicker_events": "{:,} events of {clickers:,} users who click too often to be people, and with them "
    "{clicker_share:.1%} of all clicks, most of {keenest!r}: left out; bot_false_alarms = 0 lets them count",
    "heavy_events": "{:,} events ({share:.1%}) are of {heavy:,} users with over {limit:,} on a day, most of "
    "{heaviest!r}: they count, but if they are no people, CTRs and the examination of positions are off by more than "
    "is said of them; lower bot_events_per_minute",
    "unmatched_clicks": "{:,} clicks without an impression that counts: left out",
    "early_clicks": "{:,} clicks before their impression: left out",
    "skewed_clicks": "{:,} clicks a little before their impression: they count, clocks differ",
    "expired_clicks": "{:,} clicks too long after their impression: left out",
    "repeated_clicks": "{:,} further clicks on an impression that was clicked already: left out",
}


@dataclass(frozen=True, slots=True)
class CleaningReport:
    """Numbers of events, or of clicks or users where the name says so; None where the log lacks the column."""

    events: int
    epochs: int | None
    respelled: int | None
    duplicates: int
    relogged: int
    out_of_order: int | None
    late: int | None
    future: int | None
    bot_events: int | None
    bots: int | None
    busiest_bot: str | None
    clicker_events: int | None
    clicker_click_share: float | None
    clickers: int | None
    keenest_clicker: str | None
    heavy_events: int | None
    heavy_users: int | None
    heaviest_user: str | None
    unmatched_clicks: int
    early_clicks: int | None
    skewed_clicks: int | None
    expired_clicks: int | None
    repeated_clicks: int
    without_position: int | None = None

    def lines(self) -> list[str]:
        """Return one sentence for every rule that applied to an event."""
        found = {name: getattr(self, name) for name in _LINES}
        busiest = (
            f", most of {self.busiest_bot[:100]!r}; a placeholder for visitors nobody knows is no user: leave it empty"
            if self.busiest_bot is not None
            else ""
        )
        values = {
            "bots": self.bots,
            "busiest": busiest,
            "clickers": self.clickers,
            "clicker_share": self.clicker_click_share or 0,
            "keenest": (self.keenest_clicker or "")[:100],
            "heavy": self.heavy_users,
            "heaviest": (self.heaviest_user or "")[:100],
            "share": (self.heavy_events or 0) / max(self.events, 1),
            "limit": HEAVY_EVENTS,
        }
        return [_LINES[name].format(number, **values) for name, number in found.items() if number]

    def left_out(self) -> str:
        """Return which rules left out whole events, for messages; empty where none did."""
        causes = {
            "in the future": self.future,
            "received too late": self.late,
            f"of users too busy to be people, most of {(self.busiest_bot or '')[:100]!r}": self.bot_events,
            f"of users who click too often to be people, most of {(self.keenest_clicker or '')[:100]!r}": (
                self.clicker_events
            ),
        }
        return ", ".join(f"{number:,} {cause}" for cause, number in causes.items() if number)


def report_cleaning(cleaned: Cleaned, *, facts: dict[str, int], out_of_order: int | None) -> CleaningReport:
    """Count what each rule left out; `facts`: rows, late and future, as `checks.check_events` counted them."""
    again = _row(cleaned.repeated.aggregate(rows=lambda t: t.count(), ids=lambda t: t.event_id.nunique()))
    clicks = cleaned.clicks.group_by("fault").agg(clicks=lambda t: t.count(), skewed=lambda t: t.skewed.sum())
    faults = {row["fault"]: row for row in clicks.to_pyarrow().to_pylist()}
    timed = "at" in cleaned.timely.columns

    def number(fault: str) -> int:
        return int(faults.get(fault, {"clicks": 0})["clicks"])

    bots, bot_events, busiest = _events_of(cleaned.bots, cleaned.timely)
    clickers, clicker_events, keenest = _events_of(cleaned.clickers, cleaned.slow)
    heavy, heavy_events, heaviest = _events_of(cleaned.heavy, cleaned.without_bots)
    counting = sum(row["clicks"] for row in faults.values())
    theirs = _clicks_of(cleaned.clickers, cleaned.slow) if clickers else 0
    return CleaningReport(
        events=facts["rows"],
        epochs=facts.get("epochs"),
        respelled=facts.get("respelled"),
        duplicates=again["rows"] - again["ids"],
        relogged=_row(cleaned.relogged.aggregate(rows=lambda t: t.count()))["rows"],
        out_of_order=out_of_order,
        late=facts.get("late"),
        future=facts.get("future"),
        bot_events=bot_events,
        bots=bots,
        busiest_bot=busiest,
        clicker_events=clicker_events,
        clicker_click_share=None if clickers is None else theirs / max(theirs + counting, 1),
        clickers=clickers,
        keenest_clicker=keenest,
        heavy_events=heavy_events,
        heavy_users=heavy,
        heaviest_user=heaviest,
        unmatched_clicks=number(UNMATCHED),
        early_clicks=number(EARLY) if timed else None,
        skewed_clicks=int(faults.get("", {"skewed": 0})["skewed"]) if timed else None,
        expired_clicks=number(EXPIRED) if timed else None,
        repeated_clicks=number(REPEATED),
        without_position=facts["shown"] - facts["placed"] if facts["placed"] else None,
    )


def _events_of(users: ibis.Table | None, events: ibis.Table) -> tuple[int | None, int | None, str | None]:
    """Number of users, of their events, and who has most of them; None where not looked for."""
    if users is None:
        return None, None, None
    if not (count := _row(users.aggregate(users=lambda t: t.count()))["users"]):
        return 0, 0, None
    theirs = events.semi_join(users, "user_key").group_by("user_key").agg(rows=lambda t: t.count())
    most = theirs.order_by([ibis.desc("rows"), "user_key"]).limit(1).to_pyarrow()["user_key"][0].as_py()
    return count, _row(theirs.aggregate(rows=lambda t: t.rows.sum()))["rows"], most


def _clicks_of(users: ibis.Table | None, events: ibis.Table) -> int:
    """Number of different clicks of these users."""
    if users is None:
        return 0
    clicks = events.filter(events.kind == "click").semi_join(users, "user_key")
    return _row(clicks.aggregate(ids=lambda t: t.event_id.nunique()))["ids"]


def out_of_order(events: ibis.Table, *, connection: Any) -> int | None:
    """Count events right after a later one, files in the order of their names; None without times."""
    if "at" not in events.columns:
        return None
    connection.raw_sql("SET preserve_insertion_order = true")
    try:
        times = events.select("at").to_pyarrow()["at"].drop_null().to_numpy()
        return int((np.diff(times) < 0).sum())
    finally:
        connection.raw_sql("SET preserve_insertion_order = false")


def _row(table: ibis.Table) -> dict[str, int]:
    return table.to_pyarrow().to_pylist()[0]
