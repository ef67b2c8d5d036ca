"""Records of a report from the figures that finished stages ended with (the `result` of their manifests, JSON)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clickscape.report.records import (
    AccuracyPart,
    AccuracyRow,
    ClickStatistics,
    Comparison,
    ComparisonRow,
    LearningCurve,
    PositionBias,
    RewardAccuracy,
    Role,
    TrainingStep,
)
from clickscape.types import Estimate, Product

Figures = Mapping[str, Any]

PRETRAINED, PREFERENCE_ONLY, PRODUCT_CENTRIC, ORACLE = "pre-trained", "preference-only", "product-centric", "oracle"
"""Names of what is compared; every other row is a search."""

ROLES: Mapping[str, Role] = {
    PRETRAINED: "pretrained",
    PREFERENCE_ONLY: "preference_only",
    PRODUCT_CENTRIC: "product_centric",
    ORACLE: "oracle",
}
_ORDER: tuple[Role, ...] = ("pretrained", "preference_only", "product_centric", "search", "oracle")


def role(name: str) -> Role:
    """Return what a row or a curve of this name stands for."""
    return ROLES.get(name, "search")


ASSOCIATION = (
    "The log does not say that chance decided who saw which ad, so differences between ads are associations. "
    "`clickscape experiment` plans traffic that can say more."
)
"""The note of a report on a log whose allocation is unknown."""


def reward_accuracy(result: Figures, *, simulated: bool = True) -> RewardAccuracy:
    """Return what stage `reward` measured on held-out pairs; where clicks are real, without the true order."""
    return RewardAccuracy(
        observed=Estimate(**result["accuracy"]),
        ceiling=_estimate(result["ceiling"]),
        ceiling_source=result["ceiling_source"],
        true_order=_estimate(result["true_accuracy"]) if simulated else None,
        normalized=_estimate(result.get("normalized_accuracy", result.get("share"))),  # "share" until 0.1
        baselines=tuple(AccuracyRow(name=name, accuracy=Estimate(**it)) for name, it in result["baselines"].items()),
        parts=tuple(
            AccuracyPart(
                name=name,
                pairs=part["pairs"],
                accuracy=Estimate(**part["accuracy"]),
                ceiling=_estimate(part["ceiling"]),
            )
            for name, part in result["parts"].items()
        ),
        pairs=result["pairs"],
        products=result["products"],
        objects=result["clusters"],
    )


def learning_curves(lines: Iterable[Figures]) -> tuple[LearningCurve, ...]:
    """Return a curve per variant from the steps that stage `variants` logged; of a step logged twice the last counts.

    A round that was killed is learned again from its start.
    """
    steps: dict[str, dict[tuple[int, int], TrainingStep]] = {}
    for line in lines:
        step = TrainingStep(**{key: line[key] for key in TrainingStep.model_fields if key in line})
        steps.setdefault(line["variant"], {})[step.round, step.number] = step
    return tuple(
        LearningCurve(role=role(name), steps=tuple(by_round[key] for key in sorted(by_round)))
        for name, by_round in sorted(steps.items())
    )


def comparison(result: Figures) -> Comparison:
    """Return the rows of stage `compare`: what was learned, then what was searched, then what nobody could know."""

    def row(name: str, figures: Figures) -> ComparisonRow:
        first = name == PRETRAINED
        return ComparisonRow(
            name=name,
            role=role(name),
            true_uplift=None if first else _estimate(figures["uplift"]),
            win_rate=None if first else _estimate(figures["win_rate"]),
            **{key: _estimate(figures[key]) for key in ("matching_share", "parse_rate", "distinct_scenes")},
        )

    rows = sorted(result["rows"].items(), key=lambda pair: (_ORDER.index(role(pair[0])), pair[0]))
    return Comparison(
        rows=tuple(row(*one) for one in rows),
        products=result["products"],
        objects=result["objects"],
    )


def click_statistics(result: Figures, *, truth: Sequence[float] = ()) -> ClickStatistics:
    """Return what stage `clicks` counted; truth: examination of positions 1, 2, … where it is known."""
    positions = []
    rows = (result["positions"], result["examination"], result["examination_log_se"])
    for position, value, error in zip(*rows, strict=True):
        reach = 1.96 * error * value
        known = truth[position - 1] / truth[0] if position <= len(truth) else None
        positions.append(
            PositionBias(position=position, estimated=Estimate(value, value - reach, value + reach), true=known)
        )
    names = ("impressions", "clicks", "creatives", "products", "median_impressions", "pairs_possible", "pairs_kept")
    corrected = result["uncorrected_because"] is None
    return ClickStatistics(
        **{name: result[name] for name in names},
        positions=tuple(positions) if corrected else (),
        allocation=result.get("allocated", {}).get("allocation", "unknown"),  # runs of before did not ask the log
    )


def flat_settings(config: Mapping[str, Any] | None, prefix: str = "") -> dict[str, Any]:
    """Return nested settings as dotted keys; lists as JSON."""
    flat: dict[str, Any] = {}
    for key, value in (config or {}).items():
        if isinstance(value, dict):
            flat |= flat_settings(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str | int | float | bool | None) else json.dumps(value)
    return flat


def gallery_products(products: Sequence[Product], *, groups: Mapping[str, str], most: int) -> list[Product]:
    """Return the first product of every group (groups: of each id), departments in turn, so that none is picked."""
    first: dict[str, Product] = {}
    for product in products:
        first.setdefault(groups[product.product_id], product)
    shelves: dict[str, list[Product]] = {}
    for product in first.values():
        shelves.setdefault(product.department, []).append(product)
    return [shelf[turn] for turn in range(most) for shelf in shelves.values() if turn < len(shelf)][:most]


def notes(*, simulated: bool, clicks: ClickStatistics | None = None) -> tuple[str, ...]:
    """Return what a reader must know about the figures."""
    observed = (ASSOCIATION,) if clicks and clicks.allocation == "unknown" else ()
    if not simulated:
        held_out = "The accuracy is on held-out products of this shop; clicks of new creatives were not measured here."
        return (held_out, *observed)
    return (
        "The clicks come from a simulated world with known click rates; nothing here says how real shoppers click.",
        "Products are color variants of drawn objects; intervals resample objects: variants are not independent.",
        "Every figure is from one seed. benchmarks/loop.py repeats the loop over seeds and both worlds.",
        "Win rates are the reward model's own opinion of what was trained to please it; the true uplift is not.",
        *observed,
    )


def _estimate(values: Mapping[str, float] | None) -> Estimate | None:
    return None if values is None else Estimate(**values)
