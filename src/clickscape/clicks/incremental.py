"""Counts of a log of many files whose summaries are kept, so that a new day costs a day: `summed`.

A file is summarized once (`part_summary`), whatever else the log holds. What the rules ask of the whole log (which ids
and decisions lie in several files, which users are no people) is answered from the summaries; only files about which
the answer is new are read again, a third of what a new file costs. The counts are those of the whole log at once, as
`cleaning.clean` finds them, and where a part has what the checks refuse, the whole log is read to say it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clickscape import __version__
from clickscape.clicks import allocation, busy_users, crossing, duckdb_engine, part_events, part_summary, sources
from clickscape.clicks.busy_users import SummarizedPart
from clickscape.clicks.cleaning import EARLY, EXPIRED, REPEATED, UNMATCHED
from clickscape.clicks.cleaning_report import CleaningReport
from clickscape.clicks.crossing import Crossing, none
from clickscape.clicks.file_digests import digests
from clickscape.clicks.locations import LogLocation
from clickscape.clicks.log_files import literal
from clickscape.clicks.part_counts import Figures, UncountedPart, count_parts
from clickscape.clicks.part_summary import CELL, CannotSumError, Numbers, member
from clickscape.config import ClicksConfig
from clickscape.errors import LogError, WorkspaceError
from clickscape.files import atomic_folder, fingerprint
from clickscape.regular_files import locked

FORM = 1
"""Raised when the summaries, or what is made of them, change."""

LEAST_BYTES = 64 << 20
"""Smaller logs are read at once, which takes seconds, and nothing is kept of them."""

PART_BYTES = 4 << 20
"""Files of one folder that are smaller are summarized together."""

_UNUSED = 7 * 86_400  # seconds after which a summary that no log asked for is removed


@dataclass(frozen=True)
class Summed:
    """Counts of a log (`CELL`, impressions, clicks; day as a number), the report of its cleaning and what was counted.

    read: files that were read for it; known: files whose summaries were there, some of which may have been read again.
    """

    counts: pa.Table
    columns: tuple[str, ...]
    report: CleaningReport
    facts: dict[str, int]
    read: int
    known: int


@dataclass(frozen=True)
class _Part:
    """Files that are summarized together; `folder`: where the summary lies."""

    files: tuple[Path, ...]
    key: str
    folder: Path
    facts: Mapping[str, Any]

    def has(self, flag: int) -> bool:
        return any(flags & flag for flags, *_ in self.facts["flags"])


def summed(
    location: LogLocation, *, config: ClicksConfig, now: datetime, connection: Any, store: Path | None
) -> Summed | None:
    """Return the counts of a log in files; None for one to read at once: a small one, of counts, or with a fault.

    store: folder in which summaries are kept; without one, and while another process uses it, nothing is.
    """
    if sum(file.stat().st_size for file in location.files) < LEAST_BYTES:
        return None
    with _folder(store) as folder:
        try:
            return _summed(location, config=config, now=now, connection=connection, store=folder)
        except duckdb.OutOfMemoryException:
            raise
        except (OSError, pa.ArrowException):  # a summary that somebody damaged, or no room for one: all are made anew
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
            return None
        except (CannotSumError, LogError, duckdb.Error):  # the whole log is read, and says what it is, and where
            return None


@contextmanager
def _folder(store: Path | None) -> Iterator[Path]:
    with ExitStack() as stack:
        if store:
            try:
                stack.enter_context(locked(store / ".lock"))
                yield store
                return
            except (OSError, WorkspaceError):
                pass
        yield Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clickscape-")))


def _summed(location: LogLocation, *, config: ClicksConfig, now: datetime, connection: Any, store: Path) -> Summed:
    shows: dict[tuple[Path, ...], Any] = {}
    parts: list[_Part] = []
    made: set[str] = set()
    for files, key in _parts(location, config=config, store=store):
        show = partial(_show, files, location, config=config, now=now, connection=connection)
        folder = store / key
        if not (folder / "facts.json").exists():
            _summarize(folder, show, config=config, connection=connection)
            made.add(key)
        os.utime(folder)
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        shows[files] = partial(show, normalized="respelled" in facts["columns"])
        parts.append(_Part(files, key, folder, facts))
    columns = {name for part in parts for name in part.facts["columns"]}
    if any(name in sources.EVENTS and not _has(name, columns) for name in config.columns):
        raise CannotSumError
    facts = _facts(parts, columns)
    crosses = _crossing(store, parts, made)
    summaries = [SummarizedPart(part.folder, shows[part.files]) for part in parts]
    bots, improbable, heavy = _users(summaries, crosses, columns=columns, config=config, connection=connection)
    left_out = np.unique(np.concatenate([found for found in (bots, improbable) if found is not None] or [none()]))
    targets, uncounted = [], []
    for part, one in zip(parts, crosses, strict=True):
        theirs = _those_in(part.folder, left_out)
        asked = [config.attribution_hours, config.clock_skew_seconds, sorted(columns)]
        asked += [fingerprint([numbers.tolist()]) for numbers in (one.ids, one.keys, theirs)]
        target = part.folder / f"counted-{fingerprint(asked)[:24]}"
        targets.append(target)
        if not (target / "figures.json").exists():
            has_conversions = any(
                flags & part_events.KIND == part_events.CONVERSION for flags, *_ in part.facts["flags"]
            )
            uncounted.append(UncountedPart(part.folder, target, shows[part.files], one, theirs, has_conversions))
    waiting = {part.target for part in uncounted}
    counted = [target for target in targets if target not in waiting]
    together, figures = count_parts(
        uncounted, counted, left_out=left_out, columns=sorted(columns), config=config, connection=connection
    )
    for target in targets:
        figures += Figures(**json.loads((target / "figures.json").read_text(encoding="utf-8")))
    report = _report(parts, summaries, facts, figures, bots, improbable, heavy, columns=columns, connection=connection)
    if _refused(report, facts, figures, config):
        raise CannotSumError
    counts = _added(targets, together, connection)
    again = {part.key for part, target in zip(parts, targets, strict=True) if target in waiting} | made
    _tidy(store, parts, targets)
    anew, known = (
        sum(len(part.files) for part in parts if part.key in keys) for keys in (again, {p.key for p in parts} - made)
    )
    return Summed(counts, tuple(columns), report, facts, anew, known)


def _parts(location: LogLocation, *, config: ClicksConfig, store: Path) -> Iterator[tuple[tuple[Path, ...], str]]:
    """Files that are summarized together, with the name of their summary, in the order of the files."""
    groups: list[list[tuple[Path, str]]] = []
    size = PART_BYTES
    for file, digest in zip(location.files, digests(location.files, store=store), strict=True):
        if size >= PART_BYTES or groups[-1][-1][0].parent != file.parent:
            groups.append([])
            size = 0
        groups[-1].append((file, digest))
        size += file.stat().st_size
    asked = [FORM, __version__, duckdb.__version__, config.columns, config.late_after_hours, config.clock_skew_seconds]
    seen: dict[str, int] = {}
    for group in groups:
        content = [[digest, dict(location.folder_columns(file))] for file, digest in group]
        key = fingerprint([*asked, config.bot_events_per_minute, content])[:32]
        seen[key] = seen.get(key, 0) + 1  # the same file twice is two parts
        yield tuple(file for file, _ in group), key if seen[key] == 1 else f"{key}-{seen[key]}"


def _show(
    files: tuple[Path, ...],
    location: LogLocation,
    *,
    config: ClicksConfig,
    now: datetime,
    connection: Any,
    normalized: bool = False,
) -> tuple[str, ...]:
    """Make the view of these files' events and return the columns that they have."""
    names = {str(name): called for name, called in config.columns.items()}
    some = replace(location, files=files)
    events = sources.read_part(some, connection=connection, columns=names, normalized=normalized)
    if events is None:
        raise CannotSumError
    part_events.show(events, connection=connection, config=config, now=now)
    return tuple(events.columns)


def _summarize(folder: Path, show: Any, *, config: ClicksConfig, connection: Any) -> None:
    columns = show()
    if not part_summary.read_thin(connection):
        columns = show(normalized=True)
        part_summary.read_thin(connection)
    with atomic_folder(folder) as made:
        part_summary.summarize(made, connection=connection, columns=columns, config=config)


def _has(name: str, columns: set[str]) -> bool:
    return {"ts": "at", "received_at": "received"}.get(name, name) in columns


def _facts(parts: Sequence[_Part], columns: set[str]) -> dict[str, int]:
    """What `checks.check_events` counts, added up."""
    rows = [row for part in parts for row in part.facts["flags"]]
    kind, click = part_events.KIND, part_events.CLICK

    def number(*bits: int, of: int | None = None) -> int:
        return sum(n for flags, _, n in rows if all(flags & bit for bit in bits) and of in (None, flags & kind))

    facts = {
        "rows": number(),
        "shown": number(of=part_events.IMPRESSION),
        "placed": number(part_events.POSITION, of=part_events.IMPRESSION),
    }
    if "at" in columns:
        for name, bit in (("late", part_events.LATE), ("future", part_events.FUTURE)):
            if name == "future" or "received" in columns:
                facts |= {name: number(bit), f"{name}_clicks": number(bit, of=click)}
    facts |= {"respelled": number(part_events.RESPELLED)}  # of parts that are not normalized, none is
    facts |= {"epochs": number(part_events.EPOCH)} if "given_at" in columns else {}
    newest = [part.facts["newest"] for part in parts if part.facts["newest"] is not None]
    facts |= {"newest": max(newest)} if newest else {}
    if "allocation" in columns:
        for place, called in enumerate(allocation.fact_names().values()):
            shown = [n for flags, stated, n in rows if stated == place and flags & kind == part_events.IMPRESSION]
            facts[called] = sum(shown)
    return facts


def _crossing(store: Path, parts: Sequence[_Part], made: Collection[str]) -> list[Crossing]:
    """What each part has in common with others; known of those that were compared before and not made anew since."""
    path = store / "crossing.parquet"
    before = crossing.load(path)
    new = [part for part in parts if part.key not in before or part.key in made]
    known = [part for part in parts if part.key in before and part.key not in made]
    found = {part.key: before.get(part.key, Crossing()) for part in parts}
    if new:
        more = crossing.find_crossing([part.folder for part in new], [part.folder for part in known])
        for part, one in zip([*new, *known], more, strict=True):
            found[part.key] |= one
        crossing.save(path, [part.key for part in parts], [found[part.key] for part in parts])
    return [found[part.key] for part in parts]


def _users(
    parts: Sequence[SummarizedPart],
    crosses: Sequence[Crossing],
    *,
    columns: set[str],
    config: ClicksConfig,
    connection: Any,
) -> tuple[Numbers | None, Numbers | None, Numbers | None]:
    """Bots, improbable clickers, and heavy users that are neither; None where not looked for."""
    if "user_key" not in columns:
        return None, None, None
    busy_users.add_up_users(parts, connection=connection)
    bots = improbable = heavy = None
    if "at" in columns:
        bots, heavy = (
            busy_users.busy_users(parts, seconds=seconds, config=config, connection=connection)
            for seconds in (60, 86_400)
        )
    if config.bot_false_alarms:
        improbable = busy_users.improbable_users(
            parts,
            bots=none() if bots is None else bots,
            seen=np.unique(np.concatenate([one.seen for one in crosses])),
            false_alarms=config.bot_false_alarms,
            connection=connection,
            keep=duckdb_engine.engine(connection).keep,
        )
    if heavy is not None:
        for found in (bots, improbable):
            heavy = heavy if found is None else np.setdiff1d(heavy, found)
    return bots, improbable, heavy


def _those_in(folder: Path, users: Numbers) -> Numbers:
    """The users who have events in a part."""
    if not len(users):
        return none()
    return users[member(users, pq.read_table(folder / "users.parquet", columns=["user"])["user"].to_numpy())]


def _report(
    parts: Sequence[_Part],
    summaries: Sequence[SummarizedPart],
    facts: Mapping[str, int],
    figures: Figures,
    bots: Numbers | None,
    improbable: Numbers | None,
    heavy: Numbers | None,
    *,
    columns: set[str],
    connection: Any,
) -> CleaningReport:
    number, events, name = {}, {}, {}
    for called, users in (("bots", bots), ("improbable", improbable), ("heavy", heavy)):
        found = busy_users.events_of(summaries, users, connection=connection)
        number[called], events[called], name[called] = found
    timed = "at" in columns
    counting = sum(figures.faults.values())
    theirs = 0
    if improbable is not None and len(improbable):
        theirs = busy_users.different_clicks(summaries, improbable, connection=connection)
    disorder = None
    if timed:
        ends = [part.facts for part in parts if part.facts["first"] is not None]
        disorder = sum(part.facts["out_of_order"] for part in parts)
        disorder += sum(after["first"] < before["last"] for before, after in pairwise(ends))
    return CleaningReport(
        events=facts["rows"],
        epochs=facts.get("epochs"),
        respelled=facts.get("respelled"),
        duplicates=figures.duplicates,
        relogged=figures.relogged,
        out_of_order=disorder,
        late=facts.get("late"),
        future=facts.get("future"),
        bot_events=events["bots"],
        bots=number["bots"],
        busiest_bot=name["bots"],
        clicker_events=events["improbable"],
        clicker_click_share=None if improbable is None else theirs / max(theirs + counting, 1),
        clickers=number["improbable"],
        keenest_clicker=name["improbable"],
        heavy_events=events["heavy"],
        heavy_users=number["heavy"],
        heaviest_user=name["heavy"],
        unmatched_clicks=figures.faults.get(UNMATCHED, 0),
        early_clicks=figures.faults.get(EARLY, 0) if timed else None,
        skewed_clicks=figures.skewed if timed else None,
        expired_clicks=figures.faults.get(EXPIRED, 0) if timed else None,
        repeated_clicks=figures.faults.get(REPEATED, 0),
        without_position=facts["shown"] - facts["placed"] if facts["placed"] else None,
    )


def _refused(report: CleaningReport, facts: Mapping[str, int], figures: Figures, config: ClicksConfig) -> bool:
    """Whether `checks.check_shares` refuses the log."""
    matched = sum(figures.faults.values())
    untimely = facts.get("late_clicks", 0) + facts.get("future_clicks", 0)
    total = matched + untimely
    untimely += (report.early_clicks or 0) + (report.expired_clicks or 0)
    return (
        untimely > config.max_untimely_share * total or report.unmatched_clicks > config.max_unmatched_share * matched
    )


def _added(targets: Sequence[Path], together: pa.Table, connection: Any) -> pa.Table:
    """Counts of all parts and of what lies in several."""
    names = ", ".join(CELL)
    connection.con.register("together", together)
    return connection.con.execute(
        f"SELECT {names}, sum(impressions)::BIGINT AS impressions, sum(clicks)::BIGINT AS clicks FROM ("
        f"FROM read_parquet($files) UNION ALL BY NAME FROM together) GROUP BY ALL",
        {"files": [literal(target / "counts.parquet") for target in targets]},
    ).to_arrow_table()


def _tidy(store: Path, parts: Sequence[_Part], targets: Sequence[Path]) -> None:
    """Remove counts that were replaced, summaries that depend on the time and those that no log asked for in a week."""
    used = set(targets)
    for part in parts:
        for found in part.folder.glob("counted-*"):
            if found not in used:
                shutil.rmtree(found, ignore_errors=True)
        if part.facts["depends_on_now"]:
            shutil.rmtree(part.folder, ignore_errors=True)
    for folder in store.iterdir():
        if folder.is_dir() and folder.stat().st_mtime < time.time() - _UNUSED:
            shutil.rmtree(folder, ignore_errors=True)
