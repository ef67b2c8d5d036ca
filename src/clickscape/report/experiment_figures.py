"""Plots of an experiment as hand-made SVG: differences over time, shares of each day, all differences at once.

Readable without color: variants differ by pattern and are named where they are drawn. The same drawing stands in the
page, whose style sheet colors it, and alone in a file, which carries `STANDALONE`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from markupsafe import Markup

from clickscape.report import words
from clickscape.report.figures import Scale, element
from clickscape.types import Estimate

_PLOTS = (Path(__file__).parent / "plots.css").read_text(encoding="utf-8")  # which the page includes as well

STANDALONE = f"""
svg {{ --ink: #15181e; --soft: #4a505a; --line: #b9bec7; --grid: #e6e8ec; --tone: #1d56c9;
  --paper: #fff; background: #fff; }}
{_PLOTS}"""
"""Style of a drawing that stands alone."""

_LEFT, _TOP, _BOTTOM = 52, 18, 30
_MOST_ROWS = 24  # of a forest plot
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Course:
    """How one variant's difference from control was known on each day; estimates: relative, None where unknown."""

    name: str
    days: tuple[date, ...]
    estimates: tuple[Estimate | None, ...]


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One row of a forest plot."""

    name: str
    estimate: Estimate


def course_plot(course: Course, *, key: str, title: str, scale: Scale, width: int, height: int) -> Markup:
    """Return a difference over time with its band; what is wider than the scale is cut off at its edge."""
    right = 74
    across = _days_across(len(course.days), width - _LEFT - right)
    plot_height = height - _TOP - _BOTTOM

    def level(value: float) -> float:
        return _TOP + plot_height * (1 - scale.share(value))

    parts = [*_horizontal(scale, level, width=width - right), *_dates(course.days, across, height=height)]
    known = [(across(place), one) for place, one in enumerate(course.estimates) if one is not None]
    zero = level(0.0)
    parts.append(element("line", x1=_LEFT, x2=width - right, y1=zero, y2=zero, class_="zero"))
    if known:
        upper = [(x, level(one.high)) for x, one in known]
        lower = [(x, level(one.low)) for x, one in known]
        parts.append(element("polygon", points=_points([*upper, *reversed(lower)]), class_="band"))
        parts += [element("polyline", points=_points(edge), class_="edge") for edge in (upper, lower)]
        parts.append(element("polyline", points=_points([(x, level(one.value)) for x, one in known]), class_="middle"))
        x, last = known[-1]
        parts.append(element("circle", cx=x, cy=level(last.value), r=4, class_="dot"))
        places = _apart(
            [level(last.high), level(last.value), level(last.low)], least=14, low=_TOP, high=height - _BOTTOM
        )
        for value, place, kind in zip((last.high, last.value, last.low), places, ("", "name", ""), strict=True):
            text = words.percent(value, digits=1, signed=True)
            parts.append(element("text", text, x=x + 9, y=place + 4, class_=kind))
        if (since := clear_since(course)) is not None:
            at = across(course.days.index(since))
            parts.append(element("line", x1=at, x2=at, y1=_TOP, y2=height - _BOTTOM, class_="since"))
            anchor = "end" if at > (width - right) / 2 else "start"
            shift = -4.0 if anchor == "end" else 4.0
            parts.append(
                element(
                    "text", f"clear since {short(since)}", x=at + shift, y=_TOP - 5, text_anchor=anchor, class_="name"
                )
            )
    told = _told(course)
    return _svg(parts, key=key, title=title, description=told, width=width, height=height)


def clear_since(course: Course) -> date | None:
    """Return the day since which the interval leaves out no difference, None where it does not today."""
    since = None
    for day, one in zip(course.days, course.estimates, strict=True):
        clear = one is not None and not one.low <= 0 <= one.high
        since = (since or day) if clear else None
    return since


def shares_plot(
    names: Sequence[str],
    daily: Sequence[Sequence[int]],
    days: Sequence[date],
    *,
    planned: Sequence[float],
    key: str,
    title: str,
    width: int,
    height: int,
) -> Markup:
    """Return bars of each day's shares, the first variant at the bottom; daily: (variant, day) counts of units.

    Dashed lines: where the planned shares end.
    """
    right = 110
    plot_height, room = height - _TOP - _BOTTOM, width - _LEFT - right
    step = room / max(len(days), 1)

    def across(place: int) -> float:
        return _LEFT + step * (place + 0.5)

    def level(value: float) -> float:
        return _TOP + plot_height * (1 - value)

    parts = [_patterns(key), *_horizontal(Scale(0, 1), level, width=width - right, signed=False)]
    parts += _dates(days, across, height=height)
    for place in range(len(days)):
        total, below = sum(one[place] for one in daily), 0.0
        for number, one in enumerate(daily):
            if not total or not one[place]:
                continue
            share = one[place] / total
            box = {"x": _LEFT + step * place + step * 0.08, "width": step * 0.84, "y": level(below + share),
                   "height": plot_height * share}  # fmt: skip
            parts.append(element("rect", fill=_fill(number, key), class_="share", **box))
            below += share
    edge = 0.0
    middles = []
    for share in planned:
        middles.append(level(edge + share / 2))
        edge += share
        if edge < 0.999:
            parts.append(element("line", x1=_LEFT, x2=width - right, y1=level(edge), y2=level(edge), class_="planned"))
    places = _apart(middles, least=34, low=_TOP + 8, high=height - _BOTTOM - 16)
    for number, (name, share, y) in enumerate(zip(names, planned, places, strict=True)):
        x = width - right + 10
        parts.append(element("rect", x=x, y=y - 10, width=12, height=12, fill=_fill(number, key), class_="key"))
        parts.append(element("text", _cut(name, 10), x=x + 18, y=y, class_="name"))
        parts.append(element("text", f"planned {words.percent(share)}", x=x + 18, y=y + 14))
    told = "; ".join(f"{name}: {words.number(sum(one))} in all" for name, one in zip(names, daily, strict=True))
    return _svg(parts, key=key, title=title, description=f"{told}.", width=width, height=height)


def forest_plot(rows: Sequence[ForestRow], *, key: str, title: str, width: int = 760) -> Markup:
    """Return all differences with their intervals, one under the other; the first rows where there are many."""
    shown, line = rows[:_MOST_ROWS], 30
    left, right, height = 190, 190, _TOP + line * max(len(shown), 1) + _BOTTOM
    ends = [end for row in shown for end in (row.estimate.low, row.estimate.high)]
    scale = Scale.around(ends, include=(0.0,))
    room = width - left - right

    def across(value: float) -> float:
        return left + room * scale.share(value)

    parts = []
    for tick in scale.ticks(4):
        parts.append(element("line", x1=across(tick), x2=across(tick), y1=_TOP, y2=height - _BOTTOM, class_="grid"))
        text = words.percent(tick, signed=True)
        parts.append(element("text", text, x=across(tick), y=height - 10, text_anchor="middle"))
    parts.append(element("line", x1=across(0), x2=across(0), y1=_TOP, y2=height - _BOTTOM, class_="zero"))
    for number, row in enumerate(shown):
        y, one = _TOP + line * (number + 0.5), row.estimate
        parts.append(element("text", _cut(row.name, 22), x=left - 12, y=y + 4, text_anchor="end", class_="name"))
        parts.append(element("line", x1=across(one.low), x2=across(one.high), y1=y, y2=y, class_="whisker"))
        parts.append(element("circle", cx=across(one.value), cy=y, r=5, class_="dot"))
        text = f"{words.percent(one.value, digits=1, signed=True)} ({words.interval(one, digits=1, signed=True)})"
        parts.append(element("text", text, x=width - right + 12, y=y + 4))
    told = "; ".join(
        f"{row.name} {words.percent(row.estimate.value, digits=1, signed=True)}, "
        f"{words.interval(row.estimate, digits=1, signed=True)}" for row in shown
    )  # fmt: skip
    return _svg(parts, key=key, title=title, description=f"{told}.", width=width, height=height)


def standalone(drawing: Markup) -> str:
    """Return a drawing as the text of an SVG file."""
    opening, _, rest = str(drawing).partition(">")
    return f'{opening} xmlns="http://www.w3.org/2000/svg"><style>{STANDALONE}</style>{rest}\n'


def short(day: date) -> str:
    """As in "5 Jan"."""
    return f"{day.day}{words.NO_BREAK}{_MONTHS[day.month - 1]}"


def _svg(parts: Sequence[Markup], *, key: str, title: str, description: str, width: int, height: int) -> Markup:
    heads = element("title", title, id=f"{key}-title"), element("desc", description, id=f"{key}-desc")
    return element(
        "svg", *heads, *parts, class_="plot", viewBox=f"0 0 {width} {height}", role="img",
        aria_labelledby=f"{key}-title {key}-desc", width=width, height=height,
    )  # fmt: skip


def _days_across(count: int, room: float) -> Callable[[int], float]:
    return lambda place: _LEFT + room * (place / (count - 1) if count > 1 else 0.5)


def _horizontal(scale: Scale, level: Callable[[float], float], *, width: int, signed: bool = True) -> list[Markup]:
    parts = []
    for tick in scale.ticks(4):
        y = level(tick)
        parts.append(element("line", x1=_LEFT, x2=width, y1=y, y2=y, class_="grid"))
        text = words.percent(tick, signed=signed)
        parts.append(element("text", text, x=_LEFT - 8, y=y + 4, text_anchor="end"))
    return parts


def _dates(days: Sequence[date], across: Callable[[int], float], *, height: int) -> list[Markup]:
    """The first date, and others at even distances of at least 64 pixels."""
    gap = across(1) - across(0) if len(days) > 1 else 64.0
    step = max(math.ceil(64 / max(gap, 1e-9)), 1)
    return [
        element("text", short(days[place]), x=across(place), y=height - 10, text_anchor="middle")
        for place in range(0, len(days), step)
    ]


def _patterns(key: str) -> Markup:
    """Fills that differ without color: hatched one way and the other, dotted, and blank."""

    def pattern(name: str, side: int, *parts: Markup) -> Markup:
        blank = element("rect", width=side, height=side, class_="blank")
        return element("pattern", blank, *parts, id=f"{key}-{name}", width=side, height=side,
                       patternUnits="userSpaceOnUse")  # fmt: skip

    rising = element("path", d="M-2 2L2 -2M0 8L8 0M6 10L10 6", class_="stroke")
    falling = element("path", d="M-2 6L2 10M0 0L8 8M6 -2L10 2", class_="stroke")
    dots = element("circle", cx=3, cy=3, r=1.4, class_="ink")
    return element("defs", pattern("solid", 8, element("rect", width=8, height=8, class_="soft")),
                   pattern("rising", 8, rising), pattern("dots", 6, dots), pattern("falling", 8, falling),
                   pattern("blank", 8))  # fmt: skip


def _fill(number: int, key: str) -> str:
    return f"url(#{key}-{('solid', 'rising', 'dots', 'falling', 'blank')[number % 5]})"


def _apart(places: Sequence[float], *, least: float, low: float, high: float) -> list[float]:
    """The places in their order, moved so that neighbors are `least` apart, between low and high where they fit."""
    order = sorted(range(len(places)), key=lambda number: places[number])
    moved = list(places)
    free = low
    for number in order:
        moved[number] = max(moved[number], free)
        free = moved[number] + least
    limit = high
    for number in reversed(order):
        moved[number] = min(moved[number], limit)
        limit = moved[number] - least
    return moved


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _told(course: Course) -> str:
    last = next((one for one in reversed(course.estimates) if one is not None), None)
    if last is None:
        return "Too few clicks for an interval."
    end = f"{words.percent(last.value, digits=1, signed=True)}, {words.interval(last, digits=1, signed=True)}"
    since = clear_since(course)
    return f"Last day: {end}. " + (f"Clear since {short(since)}." if since else "The interval includes no difference.")
