"""One self-contained page of an experiment, and its plots as SVG files: a reading in, texts out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from clickscape.experiment.reading import ExperimentReading, VariantReading
from clickscape.report import words
from clickscape.report.experiment_figures import Course, ForestRow, course_plot, forest_plot, shares_plot, standalone
from clickscape.report.figures import Mark, Scale, axis, mark_labels, strip
from clickscape.report.views import Chart, Row
from clickscape.types import Estimate

_FOLDER = Path(__file__).parent
_WIDE, _NARROW = (760, 320), (358, 260)
_MOST_PRODUCTS = 40


@dataclass(frozen=True, slots=True)
class ExperimentPage:
    """The page, and the text of every SVG file by its name."""

    html: str
    drawings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CoursePlot:
    """A variant's lift day by day, drawn for a wide page and for a narrow one."""

    variant: VariantReading
    title: str
    wide: Markup
    narrow: Markup


@dataclass(frozen=True, slots=True)
class Plots:
    """Courses of the variants that are compared, shares of each day's new units (wide, narrow), and those as rows."""

    courses: tuple[CoursePlot, ...]
    shares: tuple[Markup, Markup]
    daily: list[tuple[Any, ...]]


def compose_experiment(reading: ExperimentReading, *, simulated: bool) -> ExperimentPage:
    """Return page and drawings of a reading. simulated: the users are invented, which the page says."""
    compared = [one for one in reading.variants if one.decision is not None]
    causal = reading.allocation != "unknown"
    noun = "Lift" if causal else "Difference"
    plots = draw_plots(reading)
    drawings = {f"over-time-{number}.svg": standalone(one.wide) for number, one in enumerate(plots.courses, start=1)}
    drawings["shares.svg"] = standalone(plots.shares[0])
    rows = [(one.name, one.latest.always_valid, one.shrunk) for one in compared if one.latest.always_valid is not None]
    if rows:
        forest = [ForestRow(name, estimate) for name, estimate, _ in rows]
        drawings["lifts.svg" if causal else "differences.svg"] = standalone(
            forest_plot(forest, key="forest", title=f"{noun} of CTR against {reading.control}")
        )
    style = "".join(
        (_FOLDER / name).read_text(encoding="utf-8") for name in ("style.css", "plots.css", "experiment.css")
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    html = _environment().get_template("experiment.html.j2").render(
        reading=reading,
        simulated=simulated,
        style=Markup(style),  # noqa: S704  (our own files)
        style_hash=digest,
        headlines=[headline(one, reading) for one in compared],
        forest=_forest(rows, noun=noun, reading=reading) if rows else None,
        products=_products(reading, noun=noun),
        courses=plots.courses,
        shares=plots.shares,
        daily=plots.daily,
        unit=f"{reading.unit}s",
        noun=noun,
        words=words,
    )  # fmt: skip
    return ExperimentPage(html, drawings)


def draw_plots(reading: ExperimentReading, *, key: str = "") -> Plots:
    """Return the plots of a reading; `key`: what the names inside them begin with, where a page shows several."""
    compared = [one for one in reading.variants if one.decision is not None]
    noun = "Lift" if reading.allocation != "unknown" else "Difference"
    scale = _scale(compared)
    sizes = (("wide", _WIDE), ("narrow", _NARROW))
    courses = []
    for number, one in enumerate(compared, start=1):
        course = Course(one.name, tuple(day.day for day in one.days), tuple(day.always_valid for day in one.days))
        title = f"{noun} of CTR, {one.name} against {reading.control}, day by day"
        wide, narrow = (
            course_plot(
                course, key=f"{key}course-{number}-{kind}", title=title, scale=scale, width=width, height=height
            )
            for kind, (width, height) in sizes
        )
        courses.append(CoursePlot(one, title, wide, narrow))
    daily = [_daily([day.units for day in one.days]) for one in reading.variants]
    days = [day.day for day in reading.variants[0].days]
    wide, narrow = (
        shares_plot([one.name for one in reading.variants], daily, days,
                    planned=[one.share for one in reading.variants], key=f"{key}shares-{kind}",
                    title=f"Shares of each day's new {reading.unit}s", width=width, height=height)
        for kind, (width, height) in sizes
    )  # fmt: skip
    return Plots(tuple(courses), (wide, narrow), list(zip(days, *daily, strict=True)))


def headline(variant: VariantReading, reading: ExperimentReading) -> str:
    """Return what may be said of a variant today, in one sentence."""
    one, decision = variant.latest.always_valid, variant.decision
    span = f" ({words.percent(one.level)} interval {words.interval(one, digits=1, signed=True)})" if one else ""
    size = words.percent(abs(one.value), digits=1) if one else ""
    named, control = variant.name, reading.control
    said = {
        "better": f"{named} is clicked {size} more than {control}{span}.",
        "worse": f"{named} is clicked {size} less than {control}{span}.",
        "no difference of the size planned": f"{named} and {control} differ by less than was planned for{span}.",
        "sample ratio mismatch": f"{named}: users were not shared out as planned, so nothing can be concluded.",
        "association": f"{named}: an association with clicks only{span}; nobody knows how traffic was allocated.",
    }
    return said.get(str(decision), f"{named}: not enough evidence yet{span}.")


def _scale(compared: Sequence[VariantReading]) -> Scale:
    """One scale for all variants: what the second half of the days needs; the wide beginnings are cut off."""
    ends = [0.0]
    for one in compared:
        known = [day.always_valid for day in one.days if day.always_valid is not None]
        for estimate in known[len(known) // 2 :]:
            ends += [estimate.low, estimate.high]
    return Scale.around(ends, room=0.12)


def _daily(cumulated: Sequence[int]) -> list[int]:
    return [now - before for now, before in zip(cumulated, [0, *cumulated[:-1]], strict=True)]


def _forest(rows: Sequence[tuple[str, Estimate, Estimate | None]], *, noun: str, reading: ExperimentReading) -> Chart:
    level = words.level(estimate for _, estimate, _ in rows)
    note = f"Bars are {level} intervals that hold on every day at once."
    if any(sober for *_, sober in rows):
        note += " Open diamonds are drawn towards earlier experiments, which is what to expect of winners."
    return _chart(rows, title=f"{noun} of CTR against {reading.control}", note=note, noun=noun)


def _products(reading: ExperimentReading, *, noun: str) -> Chart | None:
    if not reading.products:
        return None
    ranked = sorted(reading.products, key=lambda one: -(one.shrunk or one.lift).value)[:_MOST_PRODUCTS]
    several = len({one.variant for one in ranked}) > 1
    rows = [
        (
            f"{one.product_id}{f', {one.variant}' if several else ''}{' ●' if one.discovery else ''}",
            one.lift,
            one.shrunk,
        )
        for one in ranked
    ]
    note = (f"{len(ranked)} of {len(reading.products)} products. Bars are intervals of one look; open diamonds are "
            "drawn towards all products, which is what to expect of winners; ● marks discoveries.")  # fmt: skip
    return _chart(rows, title=f"{noun} by product", note=note, noun=noun)


def _chart(rows: Sequence[tuple[str, Estimate, Estimate | None]], *, title: str, note: str, noun: str) -> Chart:
    scale = Scale.around([end for _, one, _ in rows for end in (one.low, one.high)], include=(0.0,))
    marks = [Mark(0.0, "zero", "no difference")]
    drawn = tuple(
        Row(
            name,
            words.percent(one.value, digits=1, signed=True),
            words.interval(one, digits=1, signed=True),
            strip(one, scale=scale, role="model", marks=marks, true=sober.value if sober else None),
            truth=f"expect {words.percent(sober.value, digits=1, signed=True)}" if sober else "",
        )
        for name, one, sober in rows
    )
    ticks = axis(scale, write=lambda tick: words.percent(tick, signed=True), count=3)
    return Chart(title, note, "Variant", noun, drawn, mark_labels(scale, marks), ticks)


def _environment() -> Environment:
    return Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                       lstrip_blocks=True)  # fmt: skip
