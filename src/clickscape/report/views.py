"""Views of the report's sections: strip charts, panels and table cells, as text and SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from clickscape.report import words
from clickscape.report.figures import Line, Mark, Scale, axis, bar, mark_labels, panel, strip
from clickscape.report.records import (
    ROLE_NAMES,
    AccuracyPart,
    ClickStatistics,
    Comparison,
    ComparisonRow,
    LearningCurve,
    Provenance,
    RewardAccuracy,
    Setting,
    StageTiming,
    TrainingStep,
)
from clickscape.stats.accuracy import not_measurable
from clickscape.types import Estimate


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a strip chart; `value`, `interval` and `truth` are what the strip shows, as text."""

    name: str
    value: str
    interval: str
    strip: Markup
    truth: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A strip chart: a table whose middle column is drawn."""

    title: str
    note: str
    subject: str
    measure: str
    rows: tuple[Row, ...]
    marks: Markup
    axis: Markup


@dataclass(frozen=True, slots=True)
class Panel:
    """A small line chart with its title and note."""

    title: str
    note: str
    drawing: Markup


def accuracy_chart(accuracy: RewardAccuracy) -> Chart:
    """Return a chart of the reward model's accuracy beside its baselines and its noise ceiling."""
    entries: list[tuple[str, Estimate, str]] = [("reward model", accuracy.observed, "model")]
    if accuracy.true_order:
        entries.append(("reward model, on the true order", accuracy.true_order, "model open"))
    entries += [(f"… {part.name}{_ceiling_of(part)}", part.accuracy, "model open") for part in accuracy.parts]
    entries += [(row.name, row.accuracy, "baseline") for row in accuracy.baselines]
    if accuracy.ceiling:
        entries.append(("noise ceiling: the best that anyone could do on these pairs", accuracy.ceiling, "oracle"))
    marks = [Mark(0.5, "chance", "coin toss")]
    if accuracy.ceiling:
        marks.append(Mark(accuracy.ceiling.value, "ceiling", "ceiling"))
    scale = Scale.around([end for _, one, _ in entries for end in (one.low, one.high)], include=(0.5,), room=0.08)
    span = words.level(one for _, one, _ in entries)
    tested = words.held_out(accuracy.products, accuracy.objects)
    note = f"{words.number(accuracy.pairs)} pairs of {tested}; bars are {span} intervals."
    if normalized := accuracy.normalized:
        note += (
            f" Normalized accuracy, where a coin toss is 0 and the ceiling 1: {words.percent(normalized.value)}"
            f" ({words.interval(normalized)}). The noise of the clicks keeps every model below the ceiling."
        )
    elif accuracy.ceiling:
        note += f" Normalized accuracy is {not_measurable(accuracy.ceiling)}."
    if accuracy.ceiling and accuracy.ceiling_source:
        note += f" Ceiling from: {accuracy.ceiling_source}."
    return _chart(
        entries, title="Pairs ordered as the clicks do", note=note, subject="Who orders", measure="Accuracy",
        scale=scale, marks=marks, digits=1, ticks=5,
    )  # fmt: skip


def _ceiling_of(part: AccuracyPart) -> str:
    return f" (ceiling {words.percent(part.ceiling.value)})" if part.ceiling else ""


def comparison_charts(comparison: Comparison) -> list[Chart]:
    """Uplift and matching share, one chart each; a measure that no row has gives no chart."""
    charts = []
    tested = words.held_out(comparison.products, comparison.objects)
    uplift = [(words.row_name(row), row.true_uplift, row.role) for row in comparison.rows if row.true_uplift]
    if uplift:
        scale = Scale.around([end for _, one, _ in uplift for end in (one.low, one.high)], include=(0.0,))
        charts.append(_chart(
            uplift, title="True CTR uplift over the pre-trained model",
            note=f"{tested}; bars are {words.level(one for _, one, _ in uplift)} intervals.",
            subject="Ads from", measure="Uplift", scale=scale, marks=[Mark(0.0, "zero", "pre-trained")], signed=True,
        ))  # fmt: skip
    share = [(words.row_name(row), row.matching_share, row.role) for row in comparison.rows if row.matching_share]
    if share:
        before = comparison.row("pretrained")
        marks = [Mark(before.matching_share.value, "zero", "pre-trained")] if before and before.matching_share else []
        scale = Scale.around([end for _, one, _ in share for end in (one.low, one.high)])
        charts.append(_chart(
            share, title="Matching share: scenes that suit their product",
            note=f"{tested}; bars are {words.level(one for _, one, _ in share)} intervals.",
            subject="Ads from", measure="Share", scale=scale, marks=marks,
        ))  # fmt: skip
    return charts


def _chart(
    entries: Sequence[tuple[str, Estimate, str]],
    *,
    title: str,
    note: str,
    subject: str,
    measure: str,
    scale: Scale,
    marks: Sequence[Mark],
    digits: int = 0,
    signed: bool = False,
    ticks: int = 4,
) -> Chart:
    rows = tuple(
        Row(
            name,
            words.percent(one.value, digits=digits, signed=signed),
            words.interval(one, digits=digits),
            strip(one, scale=scale, role=role, marks=marks),
        )
        for name, one, role in entries
    )
    return Chart(
        title, note, subject, measure, rows, mark_labels(scale, marks),
        axis(scale, write=lambda tick: words.percent(tick, signed=signed), count=ticks),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """A number and its interval, as text."""

    value: str
    interval: str


@dataclass(frozen=True, slots=True)
class Table:
    """Column names, rows of (name, role, cells), and the level of the intervals; None marks what is unknown."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[Cell | None, ...]], ...]
    level: str


def comparison_table(comparison: Comparison) -> Table:
    """All measures that at least one row has."""
    columns: dict[str, tuple[Callable[[ComparisonRow], Estimate | None], Callable[[Estimate], Cell]]] = {
        "True CTR uplift": (lambda row: row.true_uplift, lambda one: _share_cell(one, signed=True)),
        "Win rate": (lambda row: row.win_rate, _share_cell),
        "Matching share": (lambda row: row.matching_share, _share_cell),
        "Drawn as written": (lambda row: row.parse_rate, _share_cell),
        "Distinct scenes": (lambda row: row.distinct_scenes, _count_cell),
    }
    known = {name: both for name, both in columns.items() if any(both[0](row) for row in comparison.rows)}
    rows = []
    for row in comparison.rows:
        estimates = [(take(row), write) for take, write in known.values()]
        rows.append((words.row_name(row), row.role, tuple(write(one) if one else None for one, write in estimates)))
    levels = words.level(take(row) for row in comparison.rows for take, _ in known.values())
    return Table(tuple(known), tuple(rows), levels)


def _share_cell(one: Estimate, *, signed: bool = False) -> Cell:
    return Cell(words.percent(one.value, digits=1, signed=signed), words.interval(one, digits=1))


def _count_cell(one: Estimate) -> Cell:
    return Cell(words.number(one.value), words.interval(one, share=False))


def learning_panels(learning: Sequence[LearningCurve]) -> list[Panel]:
    """Panels over steps; what no variant recorded gives no panel."""
    panels = [
        _step_panel("Loss", "per pair", learning, lambda step: step.loss, zero=False),
        _step_panel("Margin", "Δ(y+|x) − Δ(y−|x)", learning, lambda step: step.margin, zero=True),
        *map(_delta_panel, learning),
    ]
    return [one for one in panels if one is not None]


def _step_panel(
    title: str,
    note: str,
    learning: Sequence[LearningCurve],
    take: Callable[[TrainingStep], float | None],
    *,
    zero: bool,
) -> Panel | None:
    named = [(ROLE_NAMES[curve.role], curve.role, "", curve.steps, take) for curve in learning]
    return _lines_panel(title, note, named, zero=zero)


def _delta_panel(curve: LearningCurve) -> Panel | None:
    takes: dict[str, tuple[str, Callable[[TrainingStep], float | None]]] = {
        "chosen": ("", lambda step: step.chosen),
        "rejected": ("dashed", lambda step: step.rejected),
        "corrupted input": ("dotted", lambda step: step.corrupted),
    }
    named = [(name, curve.role, dash, curve.steps, take) for name, (dash, take) in takes.items()]
    note = "chosen Δ(y+|x), rejected Δ(y−|x), chosen with the product corrupted Δ(y+|x̃)"
    return _lines_panel(f"Δ, {ROLE_NAMES[curve.role]}", note, named, zero=True)


_Named = tuple[str, str, str, Sequence[TrainingStep], Callable[[TrainingStep], float | None]]
"""Name, role, dash, steps, and which number of a step a line shows."""


def _lines_panel(title: str, note: str, named: Iterable[_Named], *, zero: bool) -> Panel | None:
    lines: list[Line] = []
    ends: list[str] = []
    longest: Sequence[TrainingStep] = ()
    for name, role, dash, steps, take in named:
        # counted over all rounds: a trainer's own numbers start anew with each
        known = [(count, value) for count, step in enumerate(steps, 1) if (value := take(step)) is not None]
        if not known:
            continue
        longest = max(longest, steps, key=len)
        values = tuple(value for _, value in known)
        lines.append(Line(name, role, tuple(float(count) for count, _ in known), values, dash=dash))
        ends.append(f"{name} from {_plain(values[0])} to {_plain(values[-1])}")
    if not lines:
        return None
    window = max(len(longest) // 20, 1)
    breaks, last = [], longest[0].round
    for count, step in enumerate(longest, 1):
        if step.round != last:
            breaks.append((float(count), f"round {step.round}"))
            last = step.round
    label = f"{title}: {'; '.join(ends)}."
    drawing = panel(
        lines, label=label, x_label="step", write=_plain, zero=zero, whole_x=True, breaks=breaks, smooth=window
    )
    return Panel(title, note, drawing)


def _plain(value: float) -> str:
    """Three significant digits, with a true minus sign."""
    return f"{value:.3g}".replace("-", words.MINUS)


def position_chart(clicks: ClickStatistics) -> Chart:
    """Estimated examination per position, beside the truth where it is known."""
    every = [end for one in clicks.positions for end in (one.estimated.low, one.estimated.high)]
    scale = Scale.around([*every, *(one.true for one in clicks.positions if one.true is not None)], include=(0.0, 1.0))
    rows = tuple(
        Row(
            f"position {one.position}",
            f"{one.estimated.value:.2f}",
            words.interval(one.estimated, digits=2, share=False),
            strip(one.estimated, scale=scale, role="model", true=one.true),
            truth="" if one.true is None else f"true {one.true:.2f}",
        )
        for one in clicks.positions
    )
    level = words.level(one.estimated for one in clicks.positions)
    note = f"Examination relative to position 1; bars are {level} intervals"
    note += ", open diamonds the truth." if any(one.true is not None for one in clicks.positions) else "."
    return Chart("Position bias, estimated from the log", note, "Position", "Examination", rows,
                  mark_labels(scale, ()), axis(scale, write=lambda tick: f"{tick:.1f}"))  # fmt: skip


def click_facts(clicks: ClickStatistics) -> list[tuple[str, str]]:
    """Name and number of everything that is known about the log."""
    rate = words.percent(clicks.clicks / clicks.impressions, digits=2) if clicks.impressions else None
    return [
        ("impressions", words.number(clicks.impressions)),
        ("clicks", words.number(clicks.clicks)),
        *([("clicks per impression", rate)] if rate else []),
        ("creatives", words.number(clicks.creatives)),
        ("products", words.number(clicks.products)),
        ("impressions of the median creative", words.number(clicks.median_impressions)),
        ("pairs possible", words.number(clicks.pairs_possible)),
        ("pairs kept", words.number(clicks.pairs_kept)),
        ("allocation", clicks.allocation),
    ]


@dataclass(frozen=True, slots=True)
class Timing:
    """One stage: what it cost, as text, and the same as a bar."""

    stage: str
    cpu: str
    wall: str
    bar: Markup


def timing_rows(stages: Sequence[StageTiming]) -> list[Timing]:
    """One row per stage, its bar relative to the longest."""
    longest = max((stage.cpu_seconds for stage in stages), default=0.0) or 1.0
    return [_timing(stage, share=stage.cpu_seconds / longest) for stage in stages]


def timing_total(stages: Sequence[StageTiming]) -> Timing | None:
    """The sum over stages, where there are several."""
    if len(stages) < 2:
        return None
    cpu, wall = sum(stage.cpu_seconds for stage in stages), sum(stage.wall_seconds for stage in stages)
    return _timing(StageTiming(stage="all stages", cpu_seconds=cpu, wall_seconds=wall), share=0.0)


def _timing(stage: StageTiming, *, share: float) -> Timing:
    return Timing(stage.stage, words.duration(stage.cpu_seconds), words.duration(stage.wall_seconds), bar(share))


def provenance_tables(provenance: Provenance | None) -> list[tuple[str, dict[str, str]]]:
    """Titled name → value tables; empty ones are left out."""
    if provenance is None:
        return []
    tables: dict[str, Mapping[str, Setting]] = {
        "Seeds": provenance.seeds,
        **{f"Settings of {stage}": values for stage, values in provenance.settings.items()},
        "Versions": provenance.versions,
    }
    return [
        (title, {name: "not set" if value is None else str(value) for name, value in values.items()})
        for title, values in tables.items()
        if values
    ]
