"""What an experiment compares and who sees what: one frozen record, checked when made, stored as experiment.json.

The record holds no secret: `key_id` names the key that assigns units (`assign`), and that key never enters the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from clickscape.errors import ExperimentError
from clickscape.json_files import read_json, write_json
from clickscape.types import Allocation

HOLDBACK = "holdback"
"""What units are assigned to that no experiment ever touches; no variant may be called so."""

FILE = "experiment.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_TOLERANCE = Fraction(1, 10**9)  # by which written shares may miss 1: 0.333333333 three times


@dataclass(frozen=True, slots=True)
class Variant:
    """One arm of an experiment: its share of the units, and product_id → creative_id of what they see."""

    name: str
    share: float
    creatives: Mapping[str, str]

    def __post_init__(self) -> None:
        _check_name(self.name, what="variant")
        if self.name == HOLDBACK:
            raise ExperimentError(f"a variant may not be called {HOLDBACK!r}, which names units outside of every "
                                  f"experiment. Rename it.")  # fmt: skip
        if not 0 < self.share < 1:
            raise ExperimentError(f"variant {self.name!r} has the share {self.share}, expected a number between 0 and "
                                  f"1. Leave out a variant that nobody shall see.")  # fmt: skip
        object.__setattr__(self, "creatives", MappingProxyType(dict(self.creatives)))

    def __hash__(self) -> int:
        return hash((self.name, self.share))


@dataclass(frozen=True, slots=True)
class PlannedSample:
    """What `plan` promised before the start: with these users, a relative lift of `lift` is found with `power`.

    intrinsic_time: for which a confidence sequence is narrowest, fixed here before the first look (`plan.Plan`).
    """

    baseline_ctr: float
    lift: float
    users: int
    days: int
    reading: Literal["always-valid", "fixed"]
    power: float = 0.8
    intrinsic_time: float | None = None

    def __post_init__(self) -> None:
        if not (0 < self.baseline_ctr < 1 and 0 < self.power < 1 and -1 < self.lift < math.inf and self.lift != 0):
            raise ExperimentError(f"a planned sample has a CTR of {self.baseline_ctr}, a power of {self.power} and "
                                  f"a lift of {self.lift}; the lift may not be 0. Plan again.")  # fmt: skip
        if self.users < 1 or self.days < 1:
            raise ExperimentError(
                f"a planned sample needs users and days, got {self.users} and {self.days}. Plan again."
            )
        if self.intrinsic_time is not None and not 0 < self.intrinsic_time < math.inf:
            raise ExperimentError(f"an intrinsic time is a number above 0, got {self.intrinsic_time}. Plan again.")


@dataclass(frozen=True, slots=True)
class ExperimentDefinition:
    """An experiment: who is in it, and which creative of each product its variants show; times are UTC.

    layer: experiments of one layer share its units, each those from `layer_from` to `layer_from + traffic`; those of
    other layers are independent. holdback: share of all units that no experiment of this key touches. salt: what
    variants are drawn by, beside the key. level: of all comparisons with the control together.
    """

    name: str
    variants: tuple[Variant, ...]
    control: str
    start: datetime
    key_id: str
    salt: str
    layer: str = "default"
    layer_from: float = 0.0
    traffic: float = 1.0
    holdback: float = 0.0
    unit: Literal["user_key"] = "user_key"
    level: float = 0.95
    planned: PlannedSample | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        for what, text in (("experiment", self.name), ("layer", self.layer), ("salt", self.salt)):
            _check_name(text, what=what)
        names = [variant.name for variant in self.variants]
        if len(names) < 2:
            raise self._refused(f"has {len(names)} variants, expected at least two. Add what to compare.")
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise self._refused(f"has two variants {twice!r}. Rename one.")
        if self.control not in names:
            raise self._refused(f"has no variant {self.control!r}, which shall be its control; it has "
                                f"{', '.join(names)}. Name one of them.")  # fmt: skip
        total = sum(map(exact, self.shares.values()), Fraction(0))
        if abs(total - 1) > _TOLERANCE:
            listed = ", ".join(f"{name} {share:g}" for name, share in self.shares.items())
            raise self._refused(f"has shares that add up to {float(total):.6g}, expected 1: {listed}. Correct them.")
        self._check_creatives()
        if not 0 <= self.holdback < 1:
            raise self._refused(f"holds back {self.holdback}, expected a share from 0 to below 1. Correct it.")
        if not (0 < self.traffic <= 1 and self.layer_from >= 0 and exact(self.layer_from) + exact(self.traffic) <= 1):
            raise self._refused(f"takes {self.traffic} of its layer from {self.layer_from} on, expected a part of 0 to "
                                f"1. Correct one.")  # fmt: skip
        if not 0 < self.level < 1:
            raise self._refused(f"has the level {self.level}, expected a number between 0 and 1. Correct it.")
        for moment in (self.start, self.end or self.start):
            if moment.tzinfo is None:
                raise self._refused(f"has a time without its zone, {moment.isoformat()}. Add Z for UTC.")
            if not 2000 <= moment.year < 2100:
                raise self._refused(
                    f"has a time in the year {moment.year}, expected one from 2000 to 2100. Correct it."
                )
        object.__setattr__(self, "start", self.start.astimezone(UTC))
        object.__setattr__(self, "end", self.end and self.end.astimezone(UTC))
        if self.end and self.end < self.start:
            raise self._refused(f"ends at {self.end.isoformat()}, before its start {self.start.isoformat()}. "
                                f"Correct one of them.")  # fmt: skip

    def _check_creatives(self) -> None:
        """Every variant shows something of every product, or there is nothing to compare."""
        first = self.variants[0]
        if not first.creatives:
            raise self._refused(f"shows nothing in variant {first.name!r}. Give every variant a creative per product.")
        for other in self.variants[1:]:
            if odd := sorted(first.creatives.keys() ^ other.creatives.keys()):
                lacking = other if odd[0] in first.creatives else first
                raise self._refused(f"has no creative of product {odd[0]!r} in variant {lacking.name!r}. Add one, or "
                                    f"leave the product out of all variants.")  # fmt: skip

    def _refused(self, problem: str) -> ExperimentError:
        return ExperimentError(f"experiment {self.name!r} {problem}")

    @property
    def shares(self) -> dict[str, float]:
        """Return variant → share of the units of the experiment."""
        return {variant.name: variant.share for variant in self.variants}

    @property
    def treatments(self) -> tuple[str, ...]:
        """Return the names of all variants but the control, in their order."""
        return tuple(variant.name for variant in self.variants if variant.name != self.control)

    @property
    def comparison_level(self) -> float:
        """Return the level of each comparison with the control, so that all together have `level` (Bonferroni)."""
        return 1 - (1 - self.level) / len(self.treatments)

    @property
    def products(self) -> tuple[str, ...]:
        """Return the ids of the products whose creatives differ or may differ between variants, sorted."""
        return tuple(sorted(self.variants[0].creatives))

    @property
    def allocation(self) -> Allocation:
        """Return how traffic is allocated: units go to variants by fixed shares."""
        return "randomized with shares"

    def creative(self, variant: str, product_id: str) -> str:
        """Return the creative that a variant shows of a product; ExperimentError for a name that is not here."""
        found = next((one for one in self.variants if one.name == variant), None)
        if found is None or product_id not in found.creatives:
            raise self._refused(f"shows no product {product_id!r} in a variant {variant!r}. Correct the names.")
        return found.creatives[product_id]


def read(path: Path) -> ExperimentDefinition:
    """Return the experiment of a JSON file; ExperimentError for damage, FileNotFoundError for no file."""
    remedy = "Restore the file from a copy, or start another experiment."
    try:
        return read_json(path, ExperimentDefinition, error=ExperimentError, remedy=remedy)
    except ExperimentError as error:
        said = str(error)
        raise ExperimentError(said if said.startswith(str(path)) else f"{path}: {said}") from None


def write(path: Path, definition: ExperimentDefinition) -> None:
    """Write an experiment as JSON, whole or not at all."""
    write_json(path, as_record(definition))


def as_record(definition: ExperimentDefinition) -> dict[str, object]:
    """Return an experiment as JSON can say it."""
    variants = [{"name": one.name, "share": one.share, "creatives": dict(one.creatives)} for one in definition.variants]
    values: dict[str, object] = {name: getattr(definition, name) for name in ExperimentDefinition.__slots__}
    return values | {
        "variants": variants,
        "start": definition.start.isoformat(),
        "end": definition.end.isoformat() if definition.end else None,
        "planned": asdict(definition.planned) if definition.planned else None,
    }


def check_beside(made: ExperimentDefinition, other: ExperimentDefinition) -> None:
    """ExperimentError for what shows a product to a user in two experiments at once, or holds back other users."""
    remedy = "Stop that one, or {}."
    if made.holdback != other.holdback:
        raise ExperimentError(f"experiment {other.name!r} holds back {other.holdback:g} of the users, this one "
                              f"{made.holdback:g}; the holdback is of all experiments. "
                              f"{remedy.format(f'pass --holdback {other.holdback:g}')}")  # fmt: skip
    if made.layer == other.layer:
        begin, end = exact(made.layer_from), exact(made.layer_from) + exact(made.traffic)
        theirs = exact(other.layer_from), exact(other.layer_from) + exact(other.traffic)
        if begin < theirs[1] and theirs[0] < end:
            raise ExperimentError(f"experiment {other.name!r} takes the layer {other.layer!r} from "
                                  f"{float(theirs[0]):g} to {float(theirs[1]):g}, so the same users would be in both. "
                                  f"{remedy.format('take another part with --layer-from and --traffic')}")  # fmt: skip
    elif both := sorted({*made.products} & {*other.products}):
        raise ExperimentError(f"experiment {other.name!r} decides what product {both[0]!r} shows, in the layer "
                              f"{other.layer!r}; two layers may not. "
                              f"{remedy.format(f'share that layer with --layer {other.layer}')}")  # fmt: skip


def exact(share: float) -> Fraction:
    """Return the decimal number that a share was written as: 0.1 is one tenth, not the nearest float."""
    return Fraction(repr(float(share))) if math.isfinite(share) else Fraction(-1)


def _check_name(text: str, *, what: str) -> None:
    if not _NAME.fullmatch(text):
        raise ExperimentError(f"{what} {text[:80]!r}: expected a name of 1 to 64 letters, digits, '.', '_' or '-' that "
                              f"begins with a letter or digit. Rename it.")  # fmt: skip
