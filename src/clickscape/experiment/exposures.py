"""Events of a log → what every user saw and did on every day of an experiment, in one variant.

Cleaning is that of `clicks` (bots, duplicates, clicks without impression). Days count from the experiment's start. A
user is told by a 64-bit hash of his key, because whole numbers are grouped and sorted faster than texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
from ibis import _
from numpy.typing import NDArray

from clickscape.clicks.logs import CleanedLog
from clickscape.errors import ExperimentError
from clickscape.experiment.assign import assign_many
from clickscape.experiment.definition import HOLDBACK, ExperimentDefinition
from clickscape.experiment.moments import COUNTS, UnitMoments, daily_moments
from clickscape.types import Allocation

BEFORE, AFTER = -1, -2
"""Days of events before the start, which are covariates, and after the end, which are nothing."""

NOTHING = -1
"""Bits of who saw nothing of an experiment: all of them, so that they agree with whatever comes."""

_MOST_VARIANTS = 62  # bits of a number that says which variants show a creative
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Numbers of events that are not of the experiment, and of units that saw it though they were not assigned to it.

    before: of its users, before its start; they serve as covariates. other: on creatives of no variant, or of users
    outside of the experiment.
    """

    before: int = 0
    after: int = 0
    without_user: int = 0
    other: int = 0

    def lines(self) -> list[str]:
        """Return one sentence for every reason that applied to an event."""
        said = {
            f"{self.before:,} events before the start: left out, but for what they say of users (CUPED)": self.before,
            f"{self.after:,} events after the end: left out": self.after,
            f"{self.without_user:,} events without a user_key: left out": self.without_user,
            f"{self.other:,} events of other creatives or users outside of the experiment: left out": self.other,
        }
        return [line for line, number in said.items() if number]


@dataclass(frozen=True, eq=False)
class Exposures:
    """What each day added to the moments of each variant, (variant, day) in the order of the definition.

    allocation: "unknown" where the log says so of an impression of the experiment, else that of the definition. units:
    hashes of the units that were in the experiment, sorted, and of which `variant`, both (unit,).
    """

    moments: UnitMoments
    left_out: LeftOut
    allocation: Allocation
    units: NDArray[np.uint64]
    variant: NDArray[np.int64]


def unit_days(log: CleanedLog, *, definition: ExperimentDefinition) -> ibis.Table:
    """Return one row per unit and day: unit, day, impressions, clicks, conversions, seen, other, unknown, chosen.

    unit: hash of the user_key, null without one. day: from 0 at the start; BEFORE and AFTER. seen: bits of the variants
    that every event of the row agrees with, NOTHING where none is of the experiment. other: events on creatives of no
    variant. unknown: in a variant that the definition does not have. chosen: impressions of which the log does not say
    that chance allocated them. ExperimentError for a log without users or times.
    """
    events = _experiment_events(log, definition)
    counts = (events.bits != 0) | (events.day < 0)
    return _tally(
        events,
        ["unit", "day"],
        counts=counts,
        seen=events.bits.bit_and(where=events.bits != 0).fill_null(NOTHING),
        other=events.count(where=~counts).cast("int32"),
        unknown=events.count(where=events.unknown).cast("int32"),
        chosen=events.count(where=events.chosen & counts).cast("int32"),
    )


def read_exposures(log: CleanedLog, *, definition: ExperimentDefinition, key: bytes | None = None) -> Exposures:
    """Return the moments of every variant by day; `key`: assigns units where the log has no column variant.

    ExperimentError for a unit in two arms, an arm that nobody saw, a variant that is not the definition's, and where
    neither the log nor a key nor the creatives say who was in which variant.
    """
    rows = unit_days(log, definition=definition).to_pyarrow()
    unit, day = rows["unit"], rows["day"].to_numpy()
    if rows["unknown"].to_numpy().any():
        _refuse_unknown(log, definition)
    known = unit.is_valid().to_numpy()
    total = sum(rows[name].to_numpy().astype(np.int64) for name in (*COUNTS, "other"))
    without_user = int(total[~known].sum())
    counts = np.stack([rows[name].to_numpy() for name in COUNTS], axis=1)[known]
    seen, other, chosen = (rows[name].to_numpy()[known] for name in ("seen", "other", "chosen"))
    units, of_unit = np.unique(unit.drop_null().to_numpy(), return_inverse=True)  # of_unit: (row,), places in units
    day, total = day[known], total[known]
    del rows
    inside = (day >= 0) & (seen != NOTHING)
    agreed = np.full(len(units), NOTHING)
    np.bitwise_and.at(agreed, of_unit[inside], seen[inside])
    if len(clash := units[agreed == 0]):
        _refuse_clash(log, definition, int(clash[0]))
    variant = _variants(log, definition, key, units=units, agreed=agreed)
    of_row = variant[of_unit]
    early = day == BEFORE
    past = np.stack([np.bincount(of_unit[early], counts[early, one], len(units)) for one in range(2)], axis=1)
    rows_in = inside & (of_row >= 0)
    left_out = LeftOut(
        before=int(total[(day == BEFORE) & (of_row >= 0)].sum()),
        after=int(total[day == AFTER].sum()),
        without_user=without_user,
        other=int(
            other[day >= 0].sum() + counts[(day >= 0) & ~rows_in].sum() + total[(day == BEFORE) & (of_row < 0)].sum()
        ),
    )
    if without_user and not known.any():
        raise ExperimentError(f"{log.where}: no event has a user_key, which an experiment is read by. Log it with "
                              f"impressions and clicks.")  # fmt: skip
    for place, one in enumerate(definition.variants):
        if not np.any(variant == place):
            _refuse_unseen(log, definition, one.name)
    last = int(day[rows_in & (counts[:, 0] > 0)].max(initial=0))  # conversions come later, and open no day of their own
    moments = daily_moments(
        unit=of_unit[rows_in],
        variant=of_row[rows_in],
        day=day[rows_in],
        counts=counts[rows_in],
        before=past[of_unit[rows_in]],
        variants=len(definition.variants),
        days=last + 1,
    )
    member = variant >= 0
    allocation: Allocation = "unknown" if chosen[rows_in].any() else definition.allocation
    return Exposures(moments, left_out, allocation, units[member], variant[member])


def product_moments(log: CleanedLog, exposures: Exposures, *, definition: ExperimentDefinition) -> UnitMoments:
    """Return the moments of every variant on every product, (variant, product) in the order of `definition.products`.

    Units are those of the exposures; what they did before the start is left out.
    """
    products = definition.products
    events = _experiment_events(log, definition)
    numbered = pa.table({"product_id": list(products), "product": np.arange(len(products), dtype=np.int64)})
    events = events.filter((events.bits != 0) & (events.day >= 0)).inner_join(ibis.memtable(numbered), "product_id")
    rows = _tally(events, ["unit", "product"], counts=ibis.literal(True)).to_pyarrow()
    unit, product = rows["unit"].fill_null(0).to_numpy(), rows["product"].to_numpy()
    place = np.minimum(np.searchsorted(exposures.units, unit), len(exposures.units) - 1)
    inside = (exposures.units[place] == unit) & rows["unit"].is_valid().to_numpy()
    counts = np.stack([rows[name].to_numpy()[inside] for name in COUNTS], axis=1)
    return daily_moments(
        unit=np.arange(len(counts)),
        variant=exposures.variant[place[inside]],
        day=product[inside],
        counts=counts,
        before=np.zeros((len(counts), 2)),
        variants=len(definition.variants),
        days=len(products),
    )


def _experiment_events(log: CleanedLog, definition: ExperimentDefinition) -> ibis.Table:
    """Cleaned events with kind, product_id, unit, day, bits (of the variants that an event agrees with) and unknown."""
    cleaned = log.cleaned
    for name, called in (("user_key", "user_key"), ("at", "ts")):
        if name not in cleaned.besides_clicks.columns:
            raise ExperimentError(
                f"{log.where}: no column {called!r}, which an experiment is read by. Add it, or import counts."
            )
    columns = ["kind", "user_key", "product_id", "creative_id", "at"]
    columns += ["variant"] if "variant" in cleaned.besides_clicks.columns else []
    chosen = ibis.literal(False)
    if "allocation" in cleaned.besides_clicks.columns:
        chosen = (_.allocation.fill_null("unknown") == "unknown") & (_.kind == "impression")
    clicks = cleaned.clicks.filter(_.fault == "").select(*columns, chosen=ibis.literal(False))
    events = ibis.union(cleaned.besides_clicks.select(*columns, chosen=chosen), clicks, distinct=False)
    events = events.left_join(_shown_by(definition), ["product_id", "creative_id"])
    bits = events.bits.fill_null(0)
    unknown = ibis.literal(False)
    if "variant" in columns:
        names = list(definition.shares)
        told = ibis.cases(*((events.variant == name, 1 << place) for place, name in enumerate(names)), else_=0)
        bits = (bits & told).cast("int64")
        unknown = (events.variant.notnull() & events.variant.notin([*names, HOLDBACK])).fill_null(False)
    since = events["at"] - int(definition.start.timestamp())
    day = ibis.cases((since < 0, BEFORE), else_=since // _DAY)
    if definition.end:
        day = ibis.cases((events["at"] >= int(definition.end.timestamp()), AFTER), else_=day)
    marks = {"bits": bits, "unknown": unknown & (since >= 0), "chosen": events.chosen & (since >= 0)}
    return events.select("kind", "product_id", unit=_unit(events), day=day.cast("int32"), **marks)


def _tally(events: ibis.Table, keys: list[str], *, counts: Any, **more: Any) -> ibis.Table:
    """Return impressions, clicks and conversions, where `counts`, per values of the keys."""
    kinds = {name: events.count(where=counts & (events.kind == name[:-1])).cast("int32") for name in COUNTS}
    return events.group_by(keys).agg(**kinds, **more)


def _shown_by(definition: ExperimentDefinition) -> ibis.Table:
    """product_id and creative_id → bits of the variants that show it."""
    if len(definition.variants) > _MOST_VARIANTS:
        raise ExperimentError(f"experiment {definition.name!r} has {len(definition.variants)} variants, at most "
                              f"{_MOST_VARIANTS} are read. Compare fewer.")  # fmt: skip
    bits: dict[tuple[str, str], int] = {}
    for place, variant in enumerate(definition.variants):
        for pair in variant.creatives.items():
            bits[pair] = bits.get(pair, 0) | 1 << place
    products, creatives = zip(*bits, strict=True)
    return ibis.memtable(
        pa.table({"product_id": list(products), "creative_id": list(creatives), "bits": list(bits.values())})
    )


def _variants(
    log: CleanedLog,
    definition: ExperimentDefinition,
    key: bytes | None,
    *,
    units: NDArray[np.uint64],
    agreed: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Place of each unit's variant, -1 outside of the experiment."""
    seen = agreed != NOTHING
    single = seen & (agreed & (agreed - 1) == 0)
    place = np.where(single, np.log2(np.where(single, agreed, 1)).round().astype(np.int64), -1)
    if "variant" in log.cleaned.besides_clicks.columns or (key is None and np.array_equal(single, seen)):
        return place
    if key is None:
        raise ExperimentError(f"{log.where}: has no column 'variant', and creatives of experiment {definition.name!r} "
                              f"are in several variants. Log the variant, or give the key that assigns.")  # fmt: skip
    events = log.cleaned.besides_clicks
    texts = events.filter(events.user_key.notnull()).select("user_key").distinct()
    texts = texts.select("user_key", unit=_hash(texts.user_key)).to_pyarrow()
    hashed = texts["unit"].to_numpy()
    order = np.argsort(hashed)
    named = texts["user_key"].combine_chunks().take(pa.array(order[np.searchsorted(hashed, units[seen], sorter=order)]))
    codes = assign_many(named, definition=definition, key=key).indices.fill_null(-1).to_numpy().astype(np.int64)
    codes[codes == len(definition.variants)] = -1  # held back
    clash = (codes >= 0) & ((agreed[seen] >> np.maximum(codes, 0)) & 1 == 0)
    if clash.any():
        first = int(np.flatnonzero(clash)[0])
        _refuse_clash(log, definition, int(units[seen][first]), assigned=definition.variants[codes[first]].name)
    found = np.full(len(units), -1)
    found[seen] = codes
    return found


def _refuse_clash(log: CleanedLog, definition: ExperimentDefinition, unit: int, *, assigned: str = "") -> None:
    """ExperimentError that names a unit in two arms."""
    events = log.cleaned.besides_clicks
    shown = _shown_by(definition).drop("bits")
    rows = events.filter(_hash(events.user_key) == ibis.literal(unit, "uint64"))
    rows = rows.filter(rows["at"] >= int(definition.start.timestamp())).semi_join(shown, ["product_id", "creative_id"])
    found = rows.select("user_key", "creative_id").distinct().order_by("creative_id").limit(3).to_pyarrow().to_pylist()
    user = found[0]["user_key"][:100] if found else "?"
    saw = " and ".join(repr(row["creative_id"][:100]) for row in found[:2])
    where = f"is assigned to {assigned!r} and saw {saw}" if assigned else f"is in two variants: it saw {saw}"
    raise ExperimentError(f"{log.where}: user {user!r} {where}, so its clicks belong to no variant of "
                          f"{definition.name!r}. Show a user one variant, and leave out the events of who saw "
                          f"two.")  # fmt: skip


def _refuse_unseen(log: CleanedLog, definition: ExperimentDefinition, name: str) -> None:
    """ExperimentError for a variant that nobody saw; where its users saw other creatives, it names one."""
    events = log.cleaned.besides_clicks
    since = _moment(definition.start)
    if "variant" in events.columns:
        rows = events.filter(events.variant == name, events["at"] >= int(definition.start.timestamp()))
        if found := rows.select("creative_id").order_by("creative_id").limit(1).to_pyarrow().to_pylist():
            shown = found[0]["creative_id"][:100]
            raise ExperimentError(f"{log.where}: since {since} events of variant {name!r} are on {shown!r}, which it "
                                  f"does not show in experiment {definition.name!r}. Correct the column variant, or "
                                  f"show its users its creatives.")  # fmt: skip
    raise ExperimentError(f"{log.where}: nobody saw variant {name!r} of experiment {definition.name!r} since {since}. "
                          f"Serve its creatives, or export the log of this time.")  # fmt: skip


def _refuse_unknown(log: CleanedLog, definition: ExperimentDefinition) -> None:
    names = [*definition.shares, HOLDBACK]
    events = log.cleaned.besides_clicks
    rows = events.filter(events.variant.notnull() & events.variant.notin(names)).limit(1).to_pyarrow().to_pylist()
    found = rows[0]["variant"][:100] if rows else "?"
    raise ExperimentError(f"{log.where}: variant {found!r} is none of experiment {definition.name!r}, expected "
                          f"{', '.join(names)} or nothing. Correct the column variant.")  # fmt: skip


def _unit(events: ibis.Table) -> Any:
    return ibis.ifelse(events.user_key.isnull(), ibis.null("uint64"), _hash(events.user_key))


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


@ibis.udf.scalar.builtin(name="hash", signature=(("string",), "uint64"))  # type: ignore[untyped-decorator]
def _hash(text: str) -> int:  # type: ignore[empty-body]
    """DuckDB's own hash of a text; a null has one, too."""
