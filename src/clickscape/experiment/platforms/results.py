"""Read a platform's result table into counts per variant and day, and say how its traffic was allocated.

Results by arm of a split test are randomized with shares.  Numbers of single assets are not: a platform counts an
impression for every asset that it showed together, and shows what it expects to do well.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from clickscape.errors import ExperimentError
from clickscape.experiment.definition import ExperimentDefinition
from clickscape.experiment.platforms.account import Platform
from clickscape.experiment.platforms.numbers import NumberStyle, number_style, read_amount, read_count
from clickscape.experiment.platforms.picture import arm_name
from clickscape.experiment.platforms.table import Row, read_table
from clickscape.types import Allocation

ASSET_NOTE = (
    "numbers of single assets do not add up to the campaign's and nobody drew lots for them: allocation unknown, they "
    "are an association"
)


@dataclass(frozen=True, slots=True)
class DayCounts:
    """What one variant earned on one day; conversions None: the table does not say."""

    variant: str
    day: date
    impressions: int
    clicks: int
    conversions: float | None


@dataclass(frozen=True, slots=True)
class PlatformResults:
    """Counts by variant and day, sorted; how traffic was allocated; and what a person should know of the file."""

    counts: tuple[DayCounts, ...]
    allocation: Allocation
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Columns:
    """Names that a column can have, in the order in which they are preferred."""

    day: Sequence[str]
    impressions: Sequence[str]
    clicks: Sequence[str]
    conversions: Sequence[str]
    arm: Sequence[str]
    asset: Sequence[str]
    blank_is_zero: bool


COLUMNS: Mapping[Platform, _Columns] = {
    "google-ads": _Columns(
        day=("segments.date", "day", "date"),
        impressions=("metrics.impressions", "impr.", "impressions"),
        clicks=("metrics.clicks", "clicks"),
        conversions=("metrics.conversions", "conversions"),
        arm=("experiment_arm.name", "experiment arm", "arm", "experiment/control"),
        asset=("asset.name", "asset.id", "asset_group_asset.resource_name", "asset", "asset id", "asset name"),
        blank_is_zero=False,
    ),
    "meta": _Columns(
        day=("date_start", "day", "reporting starts"),
        impressions=("impressions",),
        clicks=("inline_link_clicks", "link clicks"),
        conversions=("conversions", "results", "website purchases", "purchases"),
        arm=("cell name", "test cell", "adset_name", "ad set name", "ad_name", "ad name"),
        asset=("image_asset.name", "image_asset.hash", "image", "image asset", "image name"),
        blank_is_zero=True,
    ),
}
_CONTROL = {"impressions": "metrics.control_impressions", "clicks": "metrics.control_clicks"}
_TOTAL = re.compile(r"total\b|totals\b|results from \d+|gesamt\b|somme\b|totale\b", re.IGNORECASE)
_DATES = ("%Y-%m-%d", "%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y")


def read_results(
    data: bytes,
    platform: Platform,
    definition: ExperimentDefinition,
    *,
    where: str,
    names: Mapping[str, str] | None = None,
) -> PlatformResults:
    """Return a platform's result file as counts; ExperimentError names the file, the line and the remedy.

    `names`: what the file calls an arm → variant, for experiments that were set up by hand.
    """
    columns = COLUMNS[platform]
    rows = read_table(data, where=where, needed=[*columns.impressions])
    if not rows:
        raise ExperimentError(f"{where}: no rows. Export the days on which the experiment ran.")
    present = {name for row in rows for name in row.cells}
    words = {*columns.arm, *columns.asset, *columns.day}
    numbers = {name for name in present - words if not re.search(r"name|\bid\b|_id$", name)}
    style = number_style((row.cells.get(name, "") for row in rows for name in sorted(numbers)), where=where)
    if platform == "google-ads" and _CONTROL["clicks"] in present:
        return _two_arms(rows, definition, present, style, where=where)
    return _by_arm(rows, platform, definition, present, style, where=where, names=names or {})


def _two_arms(
    rows: Sequence[Row], definition: ExperimentDefinition, present: Iterable[str], style: NumberStyle, *, where: str
) -> PlatformResults:
    """Rows of Google's resource `experiment`: a day holds the treatment's numbers and, as control_…, the control's."""
    if len(definition.treatments) != 1:
        raise ExperimentError(f"{where} holds one treatment and one control, experiment {definition.name!r} has "
                              f"{len(definition.variants)} variants. Name the one that was exported.")  # fmt: skip
    experiments = {row.cells.get("experiment.name", "") for row in rows} - {""}
    expected = f"clickscape {definition.name}"
    if experiments - {expected}:
        odd = sorted(experiments - {expected})[0]
        raise ExperimentError(f"{where} holds the experiment {odd!r}, expected {expected!r}. Ask for that one alone.")
    reader = _Reader(COLUMNS["google-ads"], present, style, where)
    conversions = ("metrics.control_conversions", "metrics.conversions")
    found = []
    for row in rows:
        day = reader.day(row)
        for variant, sign in ((definition.control, 0), (definition.treatments[0], 1)):
            taken = [(_CONTROL[name], f"metrics.{name}")[sign] for name in ("impressions", "clicks")]
            impressions, clicks = (reader.count(row, name) for name in taken)
            found.append(reader.counts(row, variant, day, impressions, clicks, conversions[sign]))
    return PlatformResults(_summed(found, definition, where=where, once=True), definition.allocation, ())


def _by_arm(
    rows: Sequence[Row],
    platform: Platform,
    definition: ExperimentDefinition,
    present: Iterable[str],
    style: NumberStyle,
    *,
    where: str,
    names: Mapping[str, str],
) -> PlatformResults:
    """Rows of a report by arm, ad set, ad or asset."""
    columns = COLUMNS[platform]
    reader = _Reader(columns, present, style, where)
    assets = reader.named(columns.asset)
    key = assets or reader.named(columns.arm)
    if key is None:
        raise ExperimentError(f"{where}: no column that names the arm, one of {', '.join(columns.arm)}. Export the "
                              f"report by arm of the experiment.")  # fmt: skip
    impressions, clicks = reader.needed(columns.impressions, "impressions"), reader.needed(columns.clicks, "clicks")
    conversions = reader.named(columns.conversions)
    known = _known_arms(definition, names) if assets is None else _known_assets(definition)
    found, totals, blank = [], [], 0
    seen: dict[tuple[str, ...], int] = {}
    parts = [name for name in (key, *columns.arm, "ad id", "ad_id", "ad set id", "adset_id") if name in present]
    for row in rows:
        label = row.cells.get(key, "")
        if _is_total(row, label):
            totals.append((row.line, reader.count(row, impressions)))
            continue
        day = reader.day(row)
        identity = (*(row.cells.get(name, "") for name in parts), day.isoformat())
        if identity in seen:
            raise ExperimentError(f"{where}, line {row.line}: the same arm and day as in line {seen[identity]}. Export "
                                  f"without further breakdowns, and each day once.")  # fmt: skip
        seen[identity] = row.line
        variant = _variant_of(label, known, definition, line=f"{where}, line {row.line}", asset=assets is not None)
        empty = columns.blank_is_zero and not row.cells.get(clicks, "")
        blank += empty
        clicked = 0 if empty else reader.count(row, clicks)
        found.append(reader.counts(row, variant, day, reader.count(row, impressions), clicked, conversions))
    counts = _summed(found, definition, where=where, once=False)
    notes = [f"{blank} rows without a number of clicks count as 0: Meta leaves it out"] if blank else []
    if assets is not None:
        return PlatformResults(counts, "unknown", (ASSET_NOTE, *notes))
    shown = sum(one.impressions for one in counts)
    if totals and all(total != shown for _, total in totals):
        line, total = totals[0]
        raise ExperimentError(f"{where}, line {line}: {total:,} impressions in all, the rows have {shown:,}. "
                              f"Export all rows of this experiment and no other.")  # fmt: skip
    return PlatformResults(counts, definition.allocation, tuple(notes))


@dataclass(frozen=True, slots=True)
class _Reader:
    """Cells of a row as what they mean; errors name the file, line and column."""

    columns: _Columns
    present: Iterable[str]
    style: NumberStyle
    where: str

    def named(self, names: Sequence[str]) -> str | None:
        return next((name for name in names if name in self.present), None)

    def needed(self, names: Sequence[str], what: str) -> str:
        found = self.named(names)
        if found is None:
            raise ExperimentError(f"{self.where}: no column of {what}, one of {', '.join(names)}. Add it and export "
                                  f"again, in English.")  # fmt: skip
        return found

    def count(self, row: Row, column: str) -> int:
        at = f"{self.where}, line {row.line}, {column}"
        return read_count(row.cells.get(column, ""), self.style, where=at)

    def day(self, row: Row) -> date:
        column = self.needed(self.columns.day, "days")
        last = row.cells.get("date_stop") or row.cells.get("reporting ends")
        text, at = row.cells.get(column, ""), f"{self.where}, line {row.line}"
        if last and column != "day" and last != text:
            raise ExperimentError(f"{at}: from {text} to {last} in one row, expected one day. Export with the "
                                  f"breakdown by day.")  # fmt: skip
        for form in _DATES:
            try:
                return datetime.strptime(text, form).date()
            except ValueError:
                continue
        raise ExperimentError(f"{at}: {text[:40]!r} is no day such as 2026-12-24. Export in English, by day.")

    def counts(
        self, row: Row, variant: str, day: date, impressions: int, clicks: int, conversions: str | None
    ) -> DayCounts:
        if clicks > impressions:
            raise ExperimentError(f"{self.where}, line {row.line}: {clicks:,} clicks of {impressions:,} impressions. "
                                  f"Choose columns of the same ads and days.")  # fmt: skip
        text = row.cells.get(conversions, "") if conversions else ""
        known = conversions is not None and conversions in self.present and (text or self.columns.blank_is_zero)
        at = f"{self.where}, line {row.line}, {conversions}"
        worth = (read_amount(text, self.style, where=at) if text else 0.0) if known else None
        return DayCounts(variant, day, impressions, clicks, worth)


def _known_arms(definition: ExperimentDefinition, names: Mapping[str, str]) -> dict[str, str]:
    variants = [one.name for one in definition.variants]
    if odd := next((name for name in names.values() if name not in variants), None):
        raise ExperimentError(f"experiment {definition.name!r} has no variant {odd!r}; it has {', '.join(variants)}. "
                              f"Correct --arm.")  # fmt: skip
    return {variant: variant for variant in variants} | dict(names)


def _known_assets(definition: ExperimentDefinition) -> dict[str, str]:
    """creative_id → variant, of creatives that one variant alone shows."""
    owners: dict[str, set[str]] = defaultdict(set)
    for one in definition.variants:
        for creative in one.creatives.values():
            owners[creative].add(one.name)
    return {creative: found.pop() for creative, found in owners.items() if len(found) == 1}


def _variant_of(
    label: str, known: Mapping[str, str], definition: ExperimentDefinition, *, line: str, asset: bool
) -> str:
    """The variant of an arm's, ad's or asset's name."""
    if label in known:
        return known[label]
    if asset:
        creative = label.rpartition("@")[0] or label.rpartition(" ")[0]
        if creative in known:
            return known[creative]
    else:
        full = {arm_name(definition, one.name): one.name for one in definition.variants}
        inner = re.search(r"\[([^\[\]]+)\]$", label)
        for name in (label, inner[1] if inner else ""):
            if name in full:
                return full[name]
    listed = ", ".join(known)
    remedy = "Export the assets of this experiment alone." if asset else "Say which it is: --arm 'NAME=VARIANT'."
    raise ExperimentError(f"{line}: {label[:80]!r} is none of {listed[:200]}. {remedy}")


def _is_total(row: Row, label: str) -> bool:
    """Whether a row sums up others: its first cell or its name says so, or it has numbers and no name."""
    first = next(iter(row.cells.values()), "")
    return not label or bool(_TOTAL.match(first) or _TOTAL.match(label))


def _summed(
    found: Iterable[DayCounts], definition: ExperimentDefinition, *, where: str, once: bool
) -> tuple[DayCounts, ...]:
    """One row a variant and day; with `once`, no day may come twice."""
    made: dict[tuple[str, date], DayCounts] = {}
    for one in found:
        old = made.get((one.variant, one.day))
        if old is not None and once:
            raise ExperimentError(f"{where}: {one.day} comes twice. Ask for each day once.")
        if old is not None:
            both = (old.conversions, one.conversions)
            conversions = None if None in both else sum(value for value in both if value is not None)
            one = DayCounts(
                one.variant, one.day, old.impressions + one.impressions, old.clicks + one.clicks, conversions
            )
        made[one.variant, one.day] = one
    order = {variant.name: number for number, variant in enumerate(definition.variants)}
    if unseen := [name for name in order if all(key[0] != name for key in made)]:
        raise ExperimentError(f"{where}: no row of the variant {unseen[0]!r}. Export all arms of the experiment.")
    return tuple(sorted(made.values(), key=lambda one: (one.day, order[one.variant])))
