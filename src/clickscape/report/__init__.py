"""The report: one page that shows what a run achieved, every number with its interval, rebuilt from a saved record."""

from __future__ import annotations

from clickscape.report.html import compose, render
from clickscape.report.records import (
    AccuracyPart,
    AccuracyRow,
    Ad,
    ClickStatistics,
    Comparison,
    ComparisonRow,
    Gallery,
    GalleryItem,
    LearningCurve,
    PositionBias,
    Provenance,
    Report,
    RewardAccuracy,
    Role,
    RoundResult,
    StageTiming,
    TrainingStep,
    load,
    save,
)

__all__ = [
    "AccuracyPart",
    "AccuracyRow",
    "Ad",
    "ClickStatistics",
    "Comparison",
    "ComparisonRow",
    "Gallery",
    "GalleryItem",
    "LearningCurve",
    "PositionBias",
    "Provenance",
    "Report",
    "RewardAccuracy",
    "Role",
    "RoundResult",
    "StageTiming",
    "TrainingStep",
    "compose",
    "load",
    "render",
    "save",
]
