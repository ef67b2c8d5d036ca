"""Format numbers and sentences of the report: an estimate comes with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clickscape.report.records import Comparison, ComparisonRow, ElementEffect, Report, RewardAccuracy
from clickscape.types import Estimate

MINUS = "\N{MINUS SIGN}"
NO_BREAK = "\N{NO-BREAK SPACE}"


def number(value: float, *, digits: int = 0, signed: bool = False) -> str:
    """1234.5 → "1,234.5", with a true minus sign; `signed` writes the plus, too."""
    text = f"{value:{'+' if signed else ''},.{digits}f}"
    if not any(digit in text for digit in "123456789"):
        text = text.lstrip("+-")  # there is no "−0"
    return text.replace("-", MINUS)


def percent(value: float, *, digits: int = 0, signed: bool = False) -> str:
    """0.412 → "41%"; a share or a relative change."""
    return number(100 * value, digits=digits, signed=signed) + "%"


def interval(estimate: Estimate, *, digits: int = 0, signed: bool = False, share: bool = True) -> str:
    """The interval alone: "33 to 49%", never broken over two lines."""
    factor, unit = (100, "%") if share else (1, "")
    low, high = (number(factor * end, digits=digits, signed=signed) for end in (estimate.low, estimate.high))
    return f"{low}{NO_BREAK}to{NO_BREAK}{high}{unit}"


def level(estimates: Iterable[Estimate | None]) -> str:
    """As in "95%", or "90% and 95%" when a table mixes levels; "" when nothing is known."""
    return " and ".join(percent(value) for value in sorted({one.level for one in estimates if one is not None}))


def duration(seconds: float) -> str:
    """4.2 → "4.2 s", 372 → "6 min 12 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def row_name(row: ComparisonRow) -> str:
    """The name of a row of the comparison as people read it."""
    return "best possible (knows every true CTR)" if row.role == "oracle" else row.name


def listed(effects: Sequence[ElementEffect]) -> str:
    """As in "setting: bathroom (+18%, +7 to +31%), light: soft (+6%, +1 to +11%)"."""
    return ", ".join(
        f"{one.slot}: {one.element} ({percent(one.effect.value, signed=True)}, {interval(one.effect, signed=True)})"
        for one in effects
    )


def held_out(products: int, objects: int) -> str:
    """As in "312 held-out products (26 objects)"."""
    things = f"{number(products)} held-out product{'s' if products != 1 else ''}"
    return f"{things} ({number(objects)} object{'s' if objects != 1 else ''})"


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One number of the strip under the headline: the number, its interval, what it is."""

    value: str
    interval: str
    meaning: str


def headline(report: Report) -> str:
    """Return the main result in one sentence, hedged where the interval includes no change."""
    comparison = report.comparison
    best = comparison and (comparison.row("product_centric") or comparison.row("preference_only"))
    if best and best.true_uplift:
        name = "Product-centric" if best.role == "product_centric" else "Preference"
        return f"{name} optimization {_change(best.true_uplift)} in the simulated world {report.world}."
    if report.accuracy:
        accuracy = report.accuracy.observed
        return (
            f"The reward model orders {percent(accuracy.value)} of held-out pairs as the clicks do "
            f"({percent(accuracy.level)} interval {interval(accuracy)})."
        )
    return report.title


def _change(uplift: Estimate) -> str:
    digits = 0 if abs(uplift.value) >= 0.1 else 1
    span = f"{percent(uplift.level)} interval"
    if uplift.low <= 0 <= uplift.high:
        change = percent(uplift.value, digits=digits, signed=True)
        return f"shows no clear change of true CTR, {change} ({span} {interval(uplift, digits=digits)}),"
    if uplift.low > 0:
        return f"raises true CTR by {percent(uplift.value, digits=digits)} ({span} {interval(uplift, digits=digits)})"
    fall = Estimate(-uplift.value, -uplift.high, -uplift.low, uplift.level)
    return f"lowers true CTR by {percent(fall.value, digits=digits)} ({span} {interval(fall, digits=digits)})"


def key_figures(report: Report) -> list[KeyFigure]:
    """Return at most four numbers with intervals for the top of the page."""
    return [*_arm_figures(report.comparison), *_accuracy_figures(report.accuracy)]


def _arm_figures(comparison: Comparison | None) -> list[KeyFigure]:
    best = comparison and comparison.row("product_centric")
    if comparison is None or not best:
        return []
    figures = []
    if estimate := best.true_uplift:
        meaning = f"true CTR against the pre-trained model, {held_out(comparison.products, comparison.objects)}"
        figures.append(_figure(estimate, meaning, signed=True))
    if estimate := best.win_rate:
        figures.append(
            _figure(estimate, "of contests won against the pre-trained model's ads, scored by the reward model")
        )
    if estimate := best.matching_share:
        before = comparison.row("pretrained")
        was = before and before.matching_share
        against = f", {percent(was.value)} ({interval(was)}) before" if was else ""
        figures.append(_figure(estimate, f"of scenes match their product{against}"))
    return figures


def _accuracy_figures(accuracy: RewardAccuracy | None) -> list[KeyFigure]:
    if accuracy is None:
        return []
    if way := accuracy.normalized:
        return [
            _figure(
                way, "normalized accuracy of the reward model on held-out pairs: 0 is a coin toss, 1 the noise ceiling"
            )
        ]
    return [_figure(accuracy.observed, "of held-out pairs ordered as the clicks do by the reward model")]


def _figure(estimate: Estimate, meaning: str, *, signed: bool = False) -> KeyFigure:
    digits = 0 if abs(estimate.value) >= 0.1 else 1
    return KeyFigure(
        percent(estimate.value, digits=digits, signed=signed),
        f"{interval(estimate, digits=digits)}, {percent(estimate.level)} interval",
        meaning,
    )
