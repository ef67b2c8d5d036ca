"""Figures and tables of `reward.py`: variants pooled over seeds, with intervals over seeds × objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clickscape.stats.bootstrap import crossed_draws

RESAMPLES = 2_000


def pool_runs(
    runs: Sequence[Mapping[str, Any]], *, others: Mapping[str, str], standard: str, rng: np.random.Generator
) -> dict[str, Any]:
    """Accuracies, normalized accuracies and paired differences, with intervals.

    others: variant → the one that it is compared with. standard: the one whose report is pooled as well.
    """
    cells = {name: np.array([list(one[name]["cells"].values()) for one in runs]) for name in runs[0]}
    seeds, objects, _ = cells[standard].shape
    draws = list(crossed_draws(seeds, objects, rng=rng, resamples=RESAMPLES))

    def figures(sums: np.ndarray) -> np.ndarray:
        """(…, 4) sums → accuracy, normalized accuracy, accuracy on the true order."""
        accuracy, ceiling = sums[..., 1] / sums[..., 0], sums[..., 2] / sums[..., 0]
        return np.stack([accuracy, (accuracy - 0.5) / (ceiling - 0.5), sums[..., 3] / sums[..., 0]], -1)

    def resampled(values: np.ndarray) -> np.ndarray:
        return np.stack([figures(values[by_seed][:, by_object].sum((0, 1))) for by_seed, by_object in draws])

    resamples = {name: resampled(values) for name, values in cells.items()}
    rows = {}
    for name, values in cells.items():
        whole, drawn = figures(values.sum((0, 1))), resamples[name]
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        below, above = np.quantile(drawn - resamples[others[name]], [0.025, 0.975], axis=0)
        change = whole - figures(cells[others[name]].sum((0, 1)))
        rows[name] = {
            "accuracy": [whole[0], low[0], high[0]], "share": [whole[1], low[1], high[1]],
            "true": [whole[2], low[2], high[2]], "change": [change[2], below[2], above[2]],
            "pairs": float(np.mean([one[name]["pairs"] for one in runs])),
            "cpu_seconds": float(np.mean([one[name]["cpu_seconds"] for one in runs])),
        }  # fmt: skip
    reports = [one[standard]["report"] for one in runs]
    lefts = [one["left_share"] for own in runs for one in own.values() if one["left_share"] is not None]
    left_share = [float(np.mean(lefts)), min(lefts), max(lefts)] if lefts else None
    return {"rows": rows, "standard": _means(reports), "left_share": left_share}


def _means(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over seeds of the standard model's report: single figures, baselines, and accuracy by part."""

    def mean(values: Sequence[float]) -> list[float]:
        return [float(np.mean(values)), float(min(values)), float(max(values))]

    singles = ("ceiling", "calibration", "ndcg", "regret", "random_regret")
    found: dict[str, Any] = {key: mean([one[key]["value"] for one in reports]) for key in singles}
    names = sorted(set.intersection(*(set(one["baselines"]) for one in reports)))
    found["baselines"] = {name: mean([one["baselines"][name]["value"] for one in reports]) for name in names}
    for kind in ("by_gap", "evidence", "parts"):
        found[kind] = {
            name: {
                "pairs": mean([one[kind][name]["pairs"] for one in reports if name in one[kind]]),
                "accuracy": mean([one[kind][name]["accuracy"]["value"] for one in reports if name in one[kind]]),
                "ceiling": mean([one[kind][name]["ceiling"]["value"] for one in reports if name in one[kind]]),
            }
            for name in dict.fromkeys(name for one in reports for name in one[kind])
        }
    return found


HEADER = """# The reward model, judged

Simulated clicks of two frozen worlds at the pinned traffic (median 1,500 impressions a creative). Products are held
out by object; all variants learn from the same log and are judged on the same held-out pairs. *Normalized*
is (accuracy − ½) / (ceiling − ½); the ceiling is an oracle that knows the true CTRs, on the same noisy pairs. *Change*
is the paired difference of the accuracy on the true order, in points: of the first rows to the standard model,
of those below "effects from pairs alone" to that one, for they differ from it in one thing each, of those below the
effects of fewer pairs to that one. 95 % intervals: bootstrap over seeds × objects. CPU-seconds: training and
evaluation. Written by
`python benchmarks/reward.py --page docs/experiments/reward.md`.

"""


def table(world: str, row: Mapping[str, Any], *, standard: str) -> str:
    """A Markdown section of one world."""
    lines = [f"## {world}, {row['seeds']} seeds", ""]
    lines += ["| model | pairs | accuracy | normalized | true order | change | CPU-s |"]
    lines += ["| --- | ---: | --- | --- | --- | --- | ---: |"]
    for name, one in row["rows"].items():
        change = "" if name == standard else _interval(one["change"], signed=True)
        lines.append(
            f"| {name} | {one['pairs']:,.0f} | {_interval(one['accuracy'])} | {_interval(one['share'])} "
            f"| {_interval(one['true'])} | {change} | {one['cpu_seconds']:.0f} |"
        )
    pooled = row["standard"]
    spread = "mean over seeds (least, most)"
    baselines = ", ".join(f"{name} {_spread(value)}" for name, value in pooled["baselines"].items())
    about = (
        f"The standard model, {spread}: noise ceiling {_spread(pooled['ceiling'])}; baselines: {baselines}; "
        f"calibration error {_spread(pooled['calibration'])}; NDCG {_spread(pooled['ndcg'])}; "
        f"its first choice loses {_spread(pooled['regret'])} of the best CTR, "
        f"a random one {_spread(pooled['random_regret'])}. "
    )
    if row["left_share"]:
        about += f"The two branches take the left picture in {_spread(row['left_share'])} of single orders."
    lines += ["", about, ""]
    lines += ["| pairs of the standard model | number | accuracy | ceiling |", "| --- | ---: | --- | --- |"]
    for kind in ("by_gap", "evidence", "parts"):
        for name, part in pooled[kind].items():
            lines.append(
                f"| {name} | {part['pairs'][0]:,.0f} | {_spread(part['accuracy'])} | {_spread(part['ceiling'])} |"
            )
    return "\n".join([*lines, ""])


def _interval(values: Sequence[float], *, signed: bool = False) -> str:
    value, low, high = (100 * value for value in values)
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]" if signed else f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def _spread(values: Sequence[float]) -> str:
    value, low, high = (100 * value for value in values)
    return f"{value:.1f} % ({low:.1f}, {high:.1f})"
