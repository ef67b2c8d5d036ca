"""Decisions of a log: what was shown, what could have been shown with which probability, and whether it was clicked.

Every impression that counts is a decision. Its lists `candidates` and `propensities` repeat from one to the next, so
that each pair of lists is checked and kept once, and a decision names its number. In files that have no lists (CSV,
JSON Lines) they are JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from math import fsum, isfinite
from typing import Any
from unicodedata import normalize

import ibis
import pyarrow as pa

from clickscape.clicks import cleaning, logs, sources
from clickscape.clicks.checks import short
from clickscape.clicks.cleaning_report import CleaningReport
from clickscape.clicks.locations import LogLocation
from clickscape.config import ClicksConfig
from clickscape.errors import LogError

TOLERANCE = 1e-6
"""How far from 1 the propensities of a decision may sum."""

UNPLACED = 0
"""Position of a decision that has none, though others of the log have one: a context of its own."""

_OPTIONAL = ("placement", "position", "user_key", "at", "policy_id")
_CODED = ("creative_id", "product_id", "placement", "user_key", "policy_id")


@dataclass(frozen=True)
class DecisionLog:
    """Decisions in the order of time, and the choices that they name by `choice`, the row.

    decisions: choice, creative_id, product_id, clicked and, where the log has them, placement, position, user_key, at
    (seconds since 1970) and policy_id; a position is UNPLACED where only others have one. choices: candidates and
    propensities. without_propensities: share of the impressions that were left out because the log does not say what
    could have been shown, or says that nobody knows how traffic was allocated.
    """

    decisions: pa.Table
    choices: pa.Table
    cleaning: CleaningReport
    without_propensities: float


def read(
    location: LogLocation, *, config: ClicksConfig, connection: Any = None, now: datetime | None = None
) -> DecisionLog:
    """Read and clean the decisions of a log of events by the same rules as `logs.read`.

    LogError names the decision, the fault and the remedy: lists of other lengths, propensities that are no
    probabilities or do not sum to 1, a shown creative that is no candidate or has propensity 0, and a log without
    propensities.
    """
    connection = connection or logs.connect()
    names = {str(name): called for name, called in config.columns.items()}
    with logs.reading(location, config):
        source = sources.read(location, connection=connection, columns=names, choices=True)
        missing = [name for name in sources.CHOICES if name not in source.table.columns]
        if source.kind == "counts" or missing:
            lacks = "holds counts" if source.kind == "counts" else f"has no column {missing[0]!r}"
            raise LogError(
                f"{source.where}: the log {lacks}: it does not say what else could have been shown, and how likely. "
                f"Log candidates and propensities with every impression."
            )
        cleaned, report, _ = logs.clean(
            source, location, config=config, now=now or datetime.now(UTC), duck=connection, kept=("allocation",)
        )
        once = cleaning.deduplicate(cleaned.without_bots, cleaned.repeated, cleaning.CACHED)
        shown = once.filter(once.kind == "impression").anti_join(cleaned.relogged, "event_id")
        known = shown.filter(shown.candidates.notnull() & shown.propensities.notnull())
        if "allocation" in known.columns:
            known = known.filter(known.allocation.fill_null("unknown") != "unknown")
        known = known.mutate(key=known.candidates.cast("string") + "\x1f" + known.propensities.cast("string"))
        total, complete = shown.count().to_pyarrow().as_py(), known.count().to_pyarrow().as_py()
        if not complete:
            raise LogError(
                f"{source.where}: no randomized impression has candidates and propensities. Log both with every "
                f"impression; a policy that always shows the same creative has the propensity 1."
            )
        lists = known.group_by("key").agg(
            candidates=known.candidates.arbitrary(), propensities=known.propensities.arbitrary(),
            decision_id=known.decision_id.min(),
        ).to_pyarrow().sort_by("decision_id")  # fmt: skip
        choices = _parsed(lists, where=source.where)
        numbers = pa.table({"key": lists["key"], "choice": pa.array(range(len(lists)), pa.int64())})
        decisions = known.join(ibis.memtable(numbers), "key").drop("key")
        decisions = decisions.left_join(_clicked(cleaned.clicks, once, shown), "event_id", rname="{name}_of_click")
        kept = [name for name in _OPTIONAL if name in decisions.columns]
        rows = decisions.select(
            "event_id", "decision_id", "choice", "creative_id", "product_id", *kept,
            clicked=decisions.event_id_of_click.notnull(),
        ).to_pyarrow()  # fmt: skip
    order = [("at", "ascending")] if "at" in kept else []
    rows = rows.sort_by([*order, ("event_id", "ascending")])
    _check_shown(rows, choices, where=source.where)
    if "position" in kept:
        place = rows.schema.get_field_index("position")
        nowhere = rows["position"].null_count == len(rows)
        filled = rows["position"].fill_null(UNPLACED)
        rows = rows.drop_columns(["position"]) if nowhere else rows.set_column(place, "position", filled)
    rows = rows.drop_columns(["event_id", "decision_id"])
    for name in (name for name in _CODED if name in rows.column_names):
        rows = rows.set_column(rows.schema.get_field_index(name), name, rows[name].dictionary_encode())
    return DecisionLog(rows, choices, report, 1 - complete / total)


def _clicked(clicks: ibis.Table, once: ibis.Table, shown: ibis.Table) -> ibis.Table:
    """The event_id of every impression that a counted click belongs to, its own user's first."""
    counted = once.filter(once.kind == "click").semi_join(clicks.filter(clicks.fault == ""), "event_id")
    key = ["decision_id", "creative_id"]
    of_key = counted.group_by(key).agg(clicks=counted.count())
    found = shown.select("event_id", *key, *(["user_key"] if "user_key" in shown.columns else []))
    found = found.inner_join(of_key, key)
    order: list[Any] = [found.event_id]
    if "user_key" in found.columns:
        own = counted.select(*key, "user_key").distinct().mutate(own=ibis.literal(0))
        found = found.left_join(own, [*key, "user_key"], rname="{name}_own")
        order = [found.own.fill_null(1), found.event_id]
    ranked = found.mutate(place=ibis.row_number().over(group_by=[found[name] for name in key], order_by=order))
    return ranked.filter(ranked.place < ranked.clicks).select("event_id")


def _parsed(lists: pa.Table, *, where: str) -> pa.Table:
    """Candidates and propensities as lists, each pair checked; LogError names a decision of the first bad one."""
    candidates, propensities = [], []
    for row in lists.select(["decision_id", "candidates", "propensities"]).to_pylist():
        place = f"{where}: decision {short(row)['decision_id']!r}"
        names = [normalize("NFC", str(name)) for name in _list(row["candidates"], (str, int), "candidates", place)]
        given = _list(row["propensities"], (int, float, Decimal), "propensities", place)
        chances = [float(chance) for chance in given]
        _check_choice(names, chances, place=place)
        candidates.append(names)
        propensities.append(chances)
    return pa.table(
        {"candidates": pa.array(candidates, pa.list_(pa.string())),
         "propensities": pa.array(propensities, pa.list_(pa.float64()))}
    )  # fmt: skip


def _list(value: Any, kinds: tuple[type, ...], name: str, place: str) -> Sequence[Any]:
    """A list, or the JSON of one, whose values are all of these types."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, list) or any(isinstance(one, bool) or not isinstance(one, kinds) for one in value):
        wanted = 'ids, such as ["a", "b"]' if str in kinds else "numbers, such as [0.7, 0.3]"
        raise LogError(f"{place}: {name} are no list of {wanted}. Write them as a list, in CSV as its JSON.")
    return value


def _check_choice(names: Sequence[str], chances: Sequence[float], *, place: str) -> None:
    if len(names) != len(chances):
        raise LogError(
            f"{place} has {len(names)} candidates and {len(chances)} propensities. Log one propensity for each."
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise LogError(
            f"{place} has the candidate {twice[:100]!r} twice. Log it once, with the sum of its propensities."
        )
    if odd := [chance for chance in chances if not (isfinite(chance) and 0 <= chance <= 1)]:
        raise LogError(f"{place} has the propensity {odd[0]}, expected a probability from 0 to 1. Correct the log.")
    if abs((total := fsum(chances)) - 1) > TOLERANCE:
        raise LogError(
            f"{place}: the propensities sum to {total:.9g}, expected 1 within {TOLERANCE:g}. Log the probability of "
            f"every candidate, of those that were not shown, too."
        )


def _check_shown(rows: pa.Table, choices: pa.Table, *, where: str) -> None:
    """Refuse a shown creative that could not be shown."""
    pairs = rows.group_by(["choice", "creative_id"]).aggregate([("decision_id", "min")])
    chances = {
        (number, name): chance
        for number, (names, given) in enumerate(
            zip(choices["candidates"].to_pylist(), choices["propensities"].to_pylist(), strict=True)
        )
        for name, chance in zip(names, given, strict=True)
    }
    for pair in pairs.to_pylist():
        chance = chances.get((pair["choice"], pair["creative_id"]))
        if chance:
            continue
        said: Mapping[str, Any] = short(pair)
        problem = "is not among its candidates" if chance is None else "has the propensity 0"
        raise LogError(
            f"{where}: creative {said['creative_id']!r}, shown in decision {said['decision_id_min']!r}, {problem}. Log "
            f"the lists that the choice was made from."
        )
