"""Charts as hand-made SVG: real text, theme colors from the page's style sheet, the same bytes for the same numbers.

Two kinds. A *strip* is one interval on a horizontal scale; it lives in a table cell and is placed in percent, so that
a phone and a poster get the same sharp text. A *panel* is a small line chart of fixed proportions, one of a grid.
Every text and attribute goes through `element`, which escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from clickscape.types import Estimate

PANEL_WIDTH, PANEL_HEIGHT = 340, 214
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 74, 14, 34
_LABEL_LINE = 12.5


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear scale from `low` to `high`."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"a scale needs low < high, got {self.low} and {self.high}")

    @classmethod
    def around(cls, values: Sequence[float], *, include: Sequence[float] = (), room: float = 0.06) -> Scale:
        """A scale that shows all values, with `room` (share of the span) at either end."""
        everything = [*values, *include]
        low, high = (min(everything), max(everything)) if everything else (0.0, 1.0)
        span = (high - low) or max(abs(high), 1.0)
        return cls(low - room * span, high + room * span)

    def share(self, value: float) -> float:
        """Where a value lies, 0 to 1; what lies outside is put on the edge."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round values inside the scale."""
        rough = (self.high - self.low) / max(count, 1)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(index * step, 12) for index in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line through a column of strips, and the name over it; kind is "chance", "ceiling" or "zero"."""

    value: float
    kind: str
    name: str


def strip(
    estimate: Estimate | None, *, scale: Scale, role: str, marks: Sequence[Mark] = (), true: float | None = None
) -> Markup:
    """One interval as a dot on a line; `true` adds an open diamond at the known truth. The table says it in numbers."""
    parts = [
        element(
            "line", x1=_at(scale, mark.value), x2=_at(scale, mark.value), y1=0, y2="100%", class_=f"mark {mark.kind}"
        )
        for mark in marks
    ]
    if estimate is not None:
        low, high = _at(scale, estimate.low), _at(scale, estimate.high)
        parts.append(element("line", x1=low, x2=high, y1="50%", y2="50%", class_="whisker"))
        parts.append(element("circle", cx=_at(scale, estimate.value), cy="50%", r=5, class_="dot"))
    if true is not None:
        diamond = element("path", d="M0 -9.5L9.5 0L0 9.5L-9.5 0Z", class_="truth")
        parts.append(element("svg", diamond, x=_at(scale, true), y="50%", overflow="visible"))
    return element("svg", *parts, class_=f"strip {role}", aria_hidden="true", focusable="false")


def mark_labels(scale: Scale, marks: Sequence[Mark]) -> Markup:
    """The names of the marks, over a column of strips."""
    parts = [
        element("text", mark.name, x=_at(scale, mark.value), y=13, text_anchor=_anchor(scale, mark.value))
        for mark in marks
    ]
    return element("svg", *parts, class_="axis", aria_hidden="true", focusable="false")


def bar(share: float) -> Markup:
    """A bar from the left, `share` of the width long."""
    length = f"{100 * min(max(share, 0.0), 1.0):.2f}%"
    return element(
        "svg", element("rect", width=length, height="100%", rx=2), class_="bar", aria_hidden="true", focusable="false"
    )


def axis(scale: Scale, *, write: Callable[[float], str], count: int = 4) -> Markup:
    """The tick labels of a column of strips."""
    ticks = scale.ticks(count)
    parts = [element("text", write(tick), x=_at(scale, tick), y=13, text_anchor="middle") for tick in ticks]
    return element("svg", *parts, class_="axis", aria_hidden="true", focusable="false")


@dataclass(frozen=True, slots=True)
class Line:
    """One curve; role sets its color, dash is "", "dashed" or "dotted"."""

    name: str
    role: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    dash: str = ""

    def __post_init__(self) -> None:
        if not self.x or len(self.x) != len(self.y):
            sizes = f"{len(self.x)} x and {len(self.y)} y"
            raise ValueError(f"line {self.name!r} needs as many x as y, at least one; got {sizes}")


def panel(
    lines: Sequence[Line],
    *,
    label: str,
    x_label: str,
    write: Callable[[float], str],
    zero: bool = False,
    whole_x: bool = False,
    breaks: Sequence[tuple[float, str]] = (),
    smooth: int = 1,
) -> Markup:
    """A line chart with names at the line ends; `smooth` > 1: thin raw lines, thick means of so many neighbors."""
    y_scale = Scale.around([value for line in lines for value in line.y], include=(0.0,) if zero else ())
    every_x = [x for line in lines for x in line.x]
    first, last = min(every_x), max(every_x)
    x_scale = Scale(first, last if last > first else first + 1)

    def place(x: float, y: float) -> tuple[float, float]:
        width, height = PANEL_WIDTH - _LEFT - _RIGHT, PANEL_HEIGHT - _TOP - _BOTTOM
        return _LEFT + width * x_scale.share(x), _TOP + height * (1 - y_scale.share(y))

    parts = [*_grid(x_scale, y_scale, place, write=write, whole_x=whole_x, x_label=x_label)]
    for x, name in breaks:
        across = place(x, 0)[0]
        parts.append(element("line", x1=across, x2=across, y1=_TOP, y2=PANEL_HEIGHT - _BOTTOM, class_="break"))
        parts.append(element("text", name, x=across + 3, y=_TOP - 3, class_="tick"))
    if zero:
        level = place(first, 0.0)[1]
        parts.append(element("line", x1=_LEFT, x2=PANEL_WIDTH - _RIGHT, y1=level, y2=level, class_="mark zero"))
    ends = []
    for line in lines:
        drawn = moving_average(line.y, smooth)
        parts.append(_curve(line, drawn, place, smooth=smooth))
        ends.append((line, place(line.x[-1], drawn[-1])[1]))
    parts.extend(_end_labels(ends))
    return element(
        "svg", *parts, class_="panel", viewBox=f"0 0 {PANEL_WIDTH} {PANEL_HEIGHT}", role="img", aria_label=label
    )


def moving_average(values: Sequence[float], window: int) -> list[float]:
    """Centered mean of up to `window` neighbors; at the ends, of those that exist."""
    half = max(window, 1) // 2
    smoothed = []
    for index in range(len(values)):
        near = values[max(index - half, 0) : index + half + 1]
        smoothed.append(sum(near) / len(near))
    return smoothed


def _grid(
    x_scale: Scale,
    y_scale: Scale,
    place: Callable[[float, float], tuple[float, float]],
    *,
    write: Callable[[float], str],
    whole_x: bool,
    x_label: str,
) -> list[Markup]:
    parts = []
    for tick in y_scale.ticks(4):
        level = place(x_scale.low, tick)[1]
        parts.append(element("line", x1=_LEFT, x2=PANEL_WIDTH - _RIGHT, y1=level, y2=level, class_="grid"))
        parts.append(element("text", write(tick), x=_LEFT - 6, y=level + 4, text_anchor="end", class_="tick"))
    ticks = x_scale.ticks(4)
    if whole_x:
        ticks = sorted({float(math.floor(tick)) for tick in ticks})
    for tick in ticks:
        across = place(tick, y_scale.low)[0]
        text = f"{tick:,.10g}"
        parts.append(
            element("text", text, x=across, y=PANEL_HEIGHT - _BOTTOM + 15, text_anchor="middle", class_="tick")
        )
    middle = _LEFT + (PANEL_WIDTH - _LEFT - _RIGHT) / 2
    parts.append(element("text", x_label, x=middle, y=PANEL_HEIGHT - 5, text_anchor="middle", class_="tick"))
    return parts


def _curve(
    line: Line, drawn: Sequence[float], place: Callable[[float, float], tuple[float, float]], *, smooth: int
) -> Markup:
    parts = []
    if smooth > 1:
        parts.append(element("polyline", points=_points(line.x, line.y, place), class_="raw"))
    parts.append(element("polyline", points=_points(line.x, drawn, place), class_=f"curve {line.dash}".strip()))
    if len(line.x) == 1:
        across, level = place(line.x[0], drawn[0])
        parts.append(element("circle", cx=across, cy=level, r=3.5, class_="dot"))
    return element("g", *parts, class_=line.role)


def _end_labels(ends: Sequence[tuple[Line, float]]) -> list[Markup]:
    """Names at the right end, pushed apart where lines end close together."""
    placed: list[Markup] = []
    words = {id(line): line.name.replace("-", "-\n").replace(" ", "\n", 1).split("\n") for line, _ in ends}
    heights = [
        (line, level, _LABEL_LINE * len(words[id(line)])) for line, level in sorted(ends, key=lambda end: end[1])
    ]
    free = 0.0
    tops = []
    for _, level, height in heights:
        top = max(level - height / 2, free)
        tops.append(top)
        free = top + height + 3
    below = max(free - 3 - (PANEL_HEIGHT - _BOTTOM + 8), 0.0)  # what sticks out at the bottom moves all labels up
    for (line, _, _), top in zip(heights, tops, strict=True):
        for row, word in enumerate(words[id(line)]):
            level = max(top - below, 0.0) + _LABEL_LINE * (row + 0.8)
            placed.append(element("text", word, x=PANEL_WIDTH - _RIGHT + 9, y=level, class_=f"name {line.role}"))
    return placed


def _points(xs: Sequence[float], ys: Sequence[float], place: Callable[[float, float], tuple[float, float]]) -> str:
    return " ".join(f"{across:.1f},{level:.1f}" for across, level in (place(x, y) for x, y in zip(xs, ys, strict=True)))


def _anchor(scale: Scale, value: float) -> str:
    where, edge = scale.share(value), 0.2
    return "start" if where < edge else "end" if where > 1 - edge else "middle"


def _at(scale: Scale, value: float) -> str:
    return f"{100 * scale.share(value):.2f}%"


def element(name: str, *children: Markup | str, **attributes: str | float) -> Markup:
    """One SVG element: `class_` becomes class, `aria_label` aria-label, floats get one decimal, all is escaped."""
    pairs = []
    for key, value in attributes.items():
        text = f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
        attribute = key if key == "viewBox" else key.rstrip("_").replace("_", "-")
        pairs.append(f'{attribute}="{escape(text)}"')
    opening = " ".join([name, *pairs])
    inside = "".join(str(escape(child)) for child in children)
    return Markup(f"<{opening}>{inside}</{name}>")  # noqa: S704  (built from escaped parts only)
