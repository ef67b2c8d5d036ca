"""Report of a reward model's evaluation, as records and as lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from clickscape.stats.accuracy import not_measurable
from clickscape.types import Estimate

_NORMALIZED = "normalized accuracy"


@dataclass(frozen=True, slots=True)
class Part:
    """Accuracy on some of the pairs, beside the ceiling on the same ones (None if unknown)."""

    pairs: int
    accuracy: Estimate
    ceiling: Estimate | None = None


@dataclass(frozen=True)
class RewardReport:
    """Pair accuracy on held-out products and what to compare it with; intervals are over clusters.

    accuracy: order that the clicks show. ceiling: what an oracle would reach on the same noisy pairs, None if unknown;
    it comes from the truth of a simulated world, or from the posterior of the clicks. true_accuracy: order of the true
    CTRs. normalized_accuracy: see `stats.accuracy`, None where it cannot be measured. left_share: pair form, how often
    it takes the left picture (½ is unbiased). parts: the pairs by what of their scenes the training data showed; see
    `evaluate.by_novelty`. by_gap: the pairs by how far the CTRs lie apart (the true ones where they are known).
    evidence: the pairs that the model decides, and those whose interval spans a tie. calibration: expected calibration
    error of P(first better), by calibration_source: against the true order; or by counts, with their noise removed
    (`calibrate.error_of_counts`); or, of pairs alone, against their noisy labels, which a perfect model would not have
    at 0 either. ndcg, regret, random_regret: see `ranking.Ranking`.
    """

    pairs: int
    products: int
    clusters: int
    accuracy: Estimate
    ceiling: Estimate | None = None
    ceiling_source: str = "unknown"
    true_accuracy: Estimate | None = None
    normalized_accuracy: Estimate | None = None
    left_share: float | None = None
    baselines: Mapping[str, Estimate] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)
    by_gap: Mapping[str, Part] = field(default_factory=dict)
    evidence: Mapping[str, Part] = field(default_factory=dict)
    calibration: Estimate | None = None
    calibration_source: str = "unknown"
    ndcg: Estimate | None = None
    regret: Estimate | None = None
    random_regret: Estimate | None = None

    def lines(self) -> list[str]:
        """Return a table for people: every accuracy with its interval, beside its ceiling and its baselines.

        A baseline that is level with the model, or above it, is a warning in the last line.
        """
        lines = [f"held out: {self.pairs} pairs of {self.products} products ({self.clusters} groups)"]
        rows: list[tuple[str, Estimate | None]] = [
            ("pair accuracy", self.accuracy),
            (f"noise ceiling ({self.ceiling_source})", self.ceiling),
            (_NORMALIZED, self.normalized_accuracy),
            ("accuracy on the true order", self.true_accuracy),
            *self.baselines.items(),
            (f"calibration error ({self.calibration_source})", self.calibration),
            ("NDCG within products", self.ndcg),
            ("CTR lost by its first choice", self.regret),
            ("CTR lost by a random choice", self.random_regret),
        ]
        for name, value in rows:
            if value is not None:
                lines.append(_line(name, value))
            elif name == _NORMALIZED and self.ceiling is not None:
                lines.append(f"{name:34s} {not_measurable(self.ceiling)}")
        for name, part in {**self.parts, **self.by_gap, **self.evidence}.items():
            known = "" if part.ceiling is None else f" of {part.ceiling.value:.3f}"
            lines.append(f"{_line(name, part.accuracy)}{known}, {part.pairs} pairs")
        level = [
            f"{name} ({one.value:.3f})" for name, one in self.baselines.items() if one.value >= self.accuracy.value
        ]
        if level:
            lines.append(
                f"warning: {', '.join(level)} is as accurate as the model ({self.accuracy.value:.3f}) or more: it "
                "learned little beyond that. Give it more clicks and products before you optimize for it."
            )
        return lines

    def judge_lines(self, *, form: str, groups: int) -> list[str]:
        """Return what is printed of a judge of this form, trained on so many groups, below the reward model's table."""
        rows = [("judge, pair accuracy", self.accuracy), ("judge, on the true order", self.true_accuracy)]
        return [
            f"judge: form {form}, {groups} groups that the reward model never sees",
            *(_line(name, value) for name, value in rows if value is not None),
        ]


def _line(name: str, value: Estimate) -> str:
    return f"{name:34s} {value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"
