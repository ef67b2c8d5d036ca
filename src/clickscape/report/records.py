"""The contents of a report as frozen records; every section may be missing, and is then left out of the page.

Numbers carry their interval (`Estimate`). A true CTR is known in a simulated world only, so a report that is not
simulated refuses one. Pictures are paths relative to the workspace; `clickscape.report.render` embeds them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from clickscape.errors import WorkspaceError
from clickscape.files import write_text
from clickscape.json_files import read_json
from clickscape.types import Allocation, Estimate

Role = Literal["pretrained", "preference_only", "product_centric", "search", "oracle"]
"""Kind of model that a row or a curve belongs to; it decides the color, the same in every figure."""

ROLE_NAMES: Mapping[str, str] = {
    "pretrained": "pre-trained",
    "preference_only": "preference only",
    "product_centric": "product-centric",
    "search": "search",
    "oracle": "best possible",
}

Setting = str | int | float | bool | None


def _finite(estimate: Estimate) -> Estimate:
    if not all(math.isfinite(number) for number in (estimate.value, estimate.low, estimate.high)):
        raise ValueError(f"an estimate needs finite numbers; leave out what is unknown, got {estimate}")
    return estimate


Measured = Annotated[Estimate, AfterValidator(_finite)]
"""An estimate with finite numbers: JSON has no others, and unknown is None."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Ad(_Record):
    """One advertising image: its picture (path relative to the workspace) and the description it was drawn from."""

    image: str
    description: str


class GalleryItem(_Record):
    """One product before and after; `true_change` is the relative change of its true CTR (0.4 = +40 %)."""

    title: str
    category: tuple[str, ...] = ()
    cutout: str
    before: Ad
    after: Ad
    true_change: float


class Gallery(_Record):
    """Some products before and after; `selection` says how they were chosen."""

    items: tuple[GalleryItem, ...] = Field(min_length=1)
    selection: str
    before: str = "Before"
    after: str = "After"


class ElementEffect(_Record):
    """What an element of a scene does to CTR against the average of its slot; effect: 0.18 = +18 %."""

    slot: str
    element: str
    effect: Measured


class Advice(_Record):
    """What to show a department's shoppers and what to leave out, as the clicks say, and an ad that shows it."""

    department: str
    earns: tuple[ElementEffect, ...] = Field(min_length=1)
    costs: tuple[ElementEffect, ...] = ()
    product: str
    ad: Ad


class NextSteps(_Record):
    """Advice by department, and the departments whose clicks tell nothing yet."""

    advice: tuple[Advice, ...]
    unknown: tuple[str, ...] = ()


class AccuracyRow(_Record):
    """Pair accuracy of a baseline: scene only, caption only, product shuffled."""

    name: str
    accuracy: Measured


class AccuracyPart(_Record):
    """Pair accuracy on some of the pairs, beside the ceiling on the same ones."""

    name: str
    pairs: int = Field(ge=1)
    accuracy: Measured
    ceiling: Measured | None = None


class RewardAccuracy(_Record):
    """Share of held-out pairs that the reward model orders as the clicks do, beside its noise ceiling and baselines.

    `ceiling`: accuracy of an oracle on the same noisy pairs; `true_order`: the model against the true CTRs;
    `normalized`: (observed − ½) / (ceiling − ½) with an interval that knows both.
    """

    observed: Measured
    ceiling: Measured | None = None
    ceiling_source: str | None = None
    true_order: Measured | None = None
    normalized: Measured | None = None
    baselines: tuple[AccuracyRow, ...] = ()
    parts: tuple[AccuracyPart, ...] = ()
    pairs: int = Field(ge=1)
    products: int = Field(ge=1)
    objects: int = Field(ge=1)


class TrainingStep(_Record):
    """One optimizer step, batch means in nats: loss, margin = chosen − rejected, Δ = log π − log π_ref of the answers.

    `chosen` = Δ(y+|x), `rejected` = Δ(y−|x), `corrupted` = Δ(y+|x̃). `number` may start anew with each round.
    """

    number: int
    round: int = Field(ge=1)
    loss: float
    margin: float | None = None
    chosen: float | None = None
    rejected: float | None = None
    corrupted: float | None = None


class LearningCurve(_Record):
    """The training steps of one variant."""

    role: Role
    steps: tuple[TrainingStep, ...]


class ComparisonRow(_Record):
    """One way to choose ads, over held-out products; uplift is relative to the pre-trained model (0.4 = +40 %)."""

    name: str
    role: Role
    true_uplift: Measured | None = None
    win_rate: Measured | None = None
    matching_share: Measured | None = None
    parse_rate: Measured | None = None
    distinct_scenes: Measured | None = None


class Comparison(_Record):
    """The variants side by side; an ad wins against the pre-trained model's by the reward model."""

    rows: tuple[ComparisonRow, ...] = Field(min_length=1)
    products: int = Field(ge=1)
    objects: int = Field(ge=1)

    def row(self, role: Role) -> ComparisonRow | None:
        """The first row of that role, or None."""
        return next((row for row in self.rows if row.role == role), None)


class PositionBias(_Record):
    """Examination probability of one position, relative to the first: estimated from the log, and the truth."""

    position: int = Field(ge=1)
    estimated: Measured
    true: float | None = None


class ClickStatistics(_Record):
    """Figures of the click log: its size, the pairs made of it, and the position bias."""

    impressions: int = Field(ge=0)
    clicks: int = Field(ge=0)
    creatives: int = Field(ge=0)
    products: int = Field(ge=0)
    median_impressions: float = Field(ge=0)
    pairs_possible: int = Field(ge=0)
    pairs_kept: int = Field(ge=0)
    positions: tuple[PositionBias, ...] = ()
    allocation: Allocation = "unknown"


class StageTiming(_Record):
    """CPU and wall seconds of a stage."""

    stage: str
    cpu_seconds: float = Field(ge=0)
    wall_seconds: float = Field(ge=0)


class Provenance(_Record):
    """Everything that is needed to make the same report again: settings per stage, versions and seeds."""

    settings: Mapping[str, Mapping[str, Setting]] = Field(default_factory=dict)
    versions: Mapping[str, str] = Field(default_factory=dict)
    seeds: Mapping[str, int] = Field(default_factory=dict)


class Report(_Record):
    """One page: `simulated` says that the clicks come from the world named in `world`; None leaves a section out."""

    title: str
    simulated: bool
    world: str | None = None
    created: datetime | None = None
    next_steps: NextSteps | None = None
    gallery: Gallery | None = None
    accuracy: RewardAccuracy | None = None
    learning: tuple[LearningCurve, ...] = ()
    comparison: Comparison | None = None
    clicks: ClickStatistics | None = None
    timing: tuple[StageTiming, ...] = ()
    provenance: Provenance | None = None
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _truth_only_where_it_is_known(self) -> Report:
        if self.simulated != (self.world is not None):
            raise ValueError("a simulated report names its world, and only a simulated one does")
        if not self.simulated and (known := self._truths()):
            raise ValueError(f"a report of real clicks knows no true CTR, but holds: {', '.join(known)}")
        return self

    def _truths(self) -> list[str]:
        rows = self.comparison.rows if self.comparison else ()
        positions = self.clicks.positions if self.clicks else ()
        truths = {
            "gallery.true_change": self.gallery is not None,
            "comparison.true_uplift": any(row.true_uplift is not None for row in rows),
            "accuracy.true_order": self.accuracy is not None and self.accuracy.true_order is not None,
            "clicks.positions.true": any(position.true is not None for position in positions),
        }
        return [name for name, known in truths.items() if known]


def save(report: Report, path: Path) -> None:
    """Write the report's record as JSON; a reader sees the old file or the new one, never half of one."""
    write_text(path, report.model_dump_json(indent=1))


def load(path: Path) -> Report:
    """Read what `save` wrote; WorkspaceError that names the file and the first wrong key."""
    try:
        return read_json(path, Report, remedy="Delete it and run the stage again.")
    except FileNotFoundError:
        raise WorkspaceError(
            f"{path}: no report here. Run `clickscape demo`, or another stage that writes one."
        ) from None
