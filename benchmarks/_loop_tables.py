"""Figures and tables of `loop.py`: rows pooled over seeds, with intervals over seeds × objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clickscape.reward.evaluate import KNOWN_SCENES, NEW_ELEMENT, NEW_TOGETHER
from clickscape.stats.bootstrap import crossed_draws
from clickscape.types import Estimate

RESAMPLES = 2_000
PARTS = (KNOWN_SCENES, NEW_TOGETHER, NEW_ELEMENT)
SHARES = ("true CTR uplift", "of the oracle's", "wins, reward model", "wins, judge", "matching share", "parsed")
COUNTS = ("distinct scenes", "self-BLEU")
CHANGED = ("true CTR uplift", "matching share", "parsed")

HEADER = """# The loop over seeds and worlds

Simulated clicks of two frozen worlds; held-out products, held out by object. Uplift is of the true CTR over the
pre-trained model. Wins: how often an ad beats one of the pre-trained model for the same product, by the reward model
that the run optimized and by one of another architecture that learned from the held-out products' own clicks (judge).
Self-BLEU: of the descriptions of a department, mean over departments; 1 means all alike. 95 % intervals: bootstrap
over seeds × objects; counts with their least and most. Written by `{command}`.

Every row chooses ads for the same products, drawn with the same seeds. Objectives are DPO, with the reward's order
taken as certain or with its probability (margin-weighted), with or without the product-centric term, with an anchor on
log π(y+) unless they say otherwise; three descriptions are sampled per product, and "best of 3" keeps the one with the
highest reward. "Best scene per category" is read from the reward of training creatives; the oracle knows the world.
GRPO renders as many candidates as an objective does (`benchmarks/grpo.py`). A row that not all seeds have says so, and
so does one that learned from an earlier reward model than the others.

"""


def pool(
    runs: Sequence[dict[str, Any]],
    *,
    order: Sequence[str],
    search: str,
    changes: Mapping[str, tuple[str, str]],
    seed: int = 0,
) -> dict[str, Any]:
    """All figures over runs of one world, one per seed; a row that some of them lack is pooled over the others.

    order: rows as the tables have them. search: what a row's name ends with that keeps the best of another's draws; it
    goes by the other's name among `searched`. changes: name → (row after, row before), on the seeds that have both.
    """
    order = (order[0], search, *order[1:])
    names = sorted({name for one in runs for name in one["rows"]}, key=lambda name: _place(name, order))
    found: dict[str, dict[str, Any]] = {"rows": {}, "searched": {}}
    for name in names:
        own = [one["rows"][name] for one in runs if name in one["rows"]]
        figures = _figures(np.stack([np.array(one["cells"]) for one in own]), seed=seed)
        figures |= {metric: _spread([one[metric] for one in own]) for metric in COUNTS}
        kind, short = (
            ("searched", name.removesuffix(search).removesuffix(", ")) if name.endswith(search) else ("rows", name)
        )
        found[kind][short or order[0]] = {"seeds": len(own), **figures}
    changed = {}
    for name, pair in changes.items():
        if both := [one["rows"] for one in runs if all(row in one["rows"] for row in pair)]:
            cells = np.stack([np.stack([one[row]["cells"] for row in pair], axis=1) for one in both])
            changed[name] = {"seeds": len(both), **_changes(cells, seed=seed)}
    reward = {key: _spread([one["reward"][key] for one in runs]) for key in runs[0]["reward"]}
    parts = {
        name: {key: _spread([one["parts"][name][key] for one in runs]) for key in ("accuracy", "ceiling")}
        for name in PARTS
        if all(name in one["parts"] for one in runs)
    }
    return {"seeds": len(runs), **found, "changes": changed, "reward": reward, "parts": parts}


def table(world: str, pooled: dict[str, Any], *, search: str) -> str:
    """Markdown of one world: its rows, those that keep the best of another's draws, and what a change is worth."""
    seeds = pooled["seeds"]
    told = [f"{key.replace('_', ' ')} {v[0]:.3f} ({v[1]:.3f}–{v[2]:.3f})" for key, v in pooled["reward"].items()]
    lines = [f"## {world} (simulated clicks, {seeds} seeds)", ""]
    lines += [f"Reward model on held-out products: {', '.join(told)}.", ""]
    told = [f"{name} {one['accuracy'][0]:.3f} of {one['ceiling'][0]:.3f}" for name, one in pooled["parts"].items()]
    lines += [f"By what training showed (accuracy of ceiling): {'; '.join(told)}.", ""]
    metrics = (*SHARES, *COUNTS)
    for title, kind in (("", "rows"), (search, "searched")):
        shown = {
            name: [_show(metric, Estimate(*row[metric])) for metric in metrics] for name, row in pooled[kind].items()
        }
        lines += [*_markdown(title, metrics, shown, few=_few(pooled[kind], seeds)), ""]
    if changes := pooled["changes"]:
        shown = {name: [_points(Estimate(*one[metric])) for metric in CHANGED] for name, one in changes.items()}
        lines += ["What a change gains on the same seeds and objects, in points:", ""]
        lines += [*_markdown("", CHANGED, shown, few=_few(changes, seeds)), ""]
    return "\n".join(lines)


def _place(name: str, order: Sequence[str]) -> tuple[int, str]:
    """Where a row stands: where the row of `order` does that its name begins with, else behind all."""
    known = [place for place, row in enumerate(order) if name == row or name.startswith((f"{row} ·", f"{row}, best"))]
    return min(known, default=len(order)), name


def _metric(metric: str, sums: np.ndarray) -> np.ndarray:
    """From sums (…, 8) to the metric (…,)."""
    products, after, before, best, reward_model, judge, matching, parsed = np.moveaxis(sums, -1, 0)
    return np.asarray(
        {
            "true CTR uplift": after / before - 1,
            "of the oracle's": (after - before) / (best - before),
            "wins, reward model": reward_model / products,
            "wins, judge": judge / products,
            "matching share": matching / products,
            "parsed": parsed / products,
        }[metric]
    )


def _figures(cells: np.ndarray, *, seed: int) -> dict[str, list[float]]:
    """Value, low and high of every metric; cells: (seed, object, 8)."""
    whole, draws = cells.sum((0, 1)), _resampled(cells, seed=seed)
    return {metric: [float(_metric(metric, whole)), *_ends(_metric(metric, draws))] for metric in SHARES}


def _changes(cells: np.ndarray, *, seed: int) -> dict[str, list[float]]:
    """Change, low and high of every metric that changes are told in; cells: (seed, object, after or before, 8)."""
    whole, draws = cells.sum((0, 1)), _resampled(cells, seed=seed)
    return {
        metric: [float(np.subtract(*_metric(metric, whole))), *_ends(np.subtract(*_metric(metric, draws).T))]
        for metric in CHANGED
    }


def _ends(draws: np.ndarray) -> list[float]:
    return [float(end) for end in np.quantile(draws, [0.025, 0.975])]


def _resampled(cells: np.ndarray, *, seed: int) -> np.ndarray:
    """Sums of cells (seed, object, …) over seeds and objects that are drawn anew, objects alike in all: (draw, …)."""
    draws = crossed_draws(*cells.shape[:2], rng=np.random.default_rng(seed), resamples=RESAMPLES)
    return np.stack([cells[by_seed][:, by_object].sum((0, 1)) for by_seed, by_object in draws])


def _spread(values: Sequence[float]) -> list[float]:
    """Mean, least and most."""
    return [float(np.mean(values)), float(min(values)), float(max(values))]


def _few(rows: Mapping[str, Mapping[str, Any]], seeds: int) -> dict[str, str]:
    """What is said behind the names of rows that not all seeds have."""
    return {name: f" ({row['seeds']} of {seeds} seeds)" for name, row in rows.items() if row["seeds"] < seeds}


def _markdown(
    title: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]], *, few: Mapping[str, str]
) -> list[str]:
    head = [f"| {title} | " + " | ".join(columns) + " |", "| --- " * (len(columns) + 1) + "|"]
    return head + [f"| {name}{few.get(name, '')} | " + " | ".join(cells) + " |" for name, cells in rows.items()]


def _show(metric: str, value: Estimate) -> str:
    if metric in COUNTS:
        digits = 0 if metric == "distinct scenes" else 2
        return f"{value.value:.{digits}f} ({value.low:.{digits}f}–{value.high:.{digits}f})"
    sign = "+" if metric == "true CTR uplift" else ""
    return f"{value.value:{sign}.0%} [{value.low:{sign}.0%}, {value.high:{sign}.0%}]"


def _points(value: Estimate) -> str:
    return "{:+d} [{:+d}, {:+d}]".format(*(round(100 * one) for one in (value.value, value.low, value.high)))
