from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clickscape.report import records as reports
from clickscape.types import Estimate


def around(value: float, half: float = 0.03) -> Estimate:
    return Estimate(value, value - half, value + half)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workspace")
    pixels = np.random.default_rng(0).integers(0, 255, (96, 120, 3), dtype=np.uint8)
    for name in ("before", "after"):
        Image.fromarray(pixels).save(folder / f"{name}.webp", lossless=True)
    Image.fromarray(np.dstack([pixels, pixels[..., :1]])).save(folder / "cutout.png")
    return folder


@pytest.fixture(scope="session")
def whole_report() -> Callable[..., reports.Report]:
    """A report with every part, in which `title` stands wherever a text can come from outside."""
    return _whole_report


def _whole_report(*, title: str = "Night cream") -> reports.Report:
    ads = [reports.Ad(image=f"{name}.webp", description=f"{name}: oak table, {title}") for name in ("before", "after")]
    steps = tuple(
        reports.TrainingStep(
            number=n, round=1 + n // 20, loss=1 / n, margin=n / 9, chosen=n / 7, rejected=-n / 5, corrupted=-n
        )
        for n in range(1, 41)
    )
    arm = reports.ComparisonRow
    return reports.Report(
        title=title,
        simulated=True,
        world="harmony",
        created=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        next_steps=reports.NextSteps(
            advice=(
                reports.Advice(
                    department=title,
                    earns=(reports.ElementEffect(slot="setting", element=title, effect=around(0.18)),),
                    costs=(reports.ElementEffect(slot="light", element="neon", effect=around(-0.12)),),
                    product=title,
                    ad=ads[1],
                ),
            ),
            unknown=(title,),
        ),
        gallery=reports.Gallery(
            items=(
                reports.GalleryItem(
                    title=title,
                    category=("Beauty", title),
                    cutout="cutout.png",
                    before=ads[0],
                    after=ads[1],
                    true_change=0.4,
                ),
            ),
            selection=f"The first one. {title}",
        ),
        accuracy=reports.RewardAccuracy(
            observed=Estimate(0.74, 0.71, 0.77),
            ceiling=around(0.9),
            normalized=around(0.6),
            true_order=around(0.8),
            pairs=90,
            products=9,
            objects=3,
            ceiling_source=title,
            baselines=(reports.AccuracyRow(name=f"scene only {title}", accuracy=around(0.55)),),
            parts=(
                reports.AccuracyPart(name=f"new scenes {title}", pairs=30, accuracy=around(0.66), ceiling=around(0.87)),
            ),
        ),
        learning=(
            reports.LearningCurve(role="product_centric", steps=steps),
            reports.LearningCurve(role="preference_only", steps=steps),
        ),
        comparison=reports.Comparison(
            products=9,
            objects=3,
            rows=(
                arm(
                    name="pre-trained",
                    role="pretrained",
                    matching_share=around(0.6),
                    distinct_scenes=Estimate(9, 8, 10),
                ),
                arm(
                    name="product-centric",
                    role="product_centric",
                    true_uplift=around(0.412),
                    win_rate=around(0.8),
                    matching_share=around(0.7),
                    parse_rate=around(0.9),
                ),
                arm(name=f"best of 4 {title}", role="search", true_uplift=around(-0.2)),
                arm(name="oracle", role="oracle", true_uplift=around(0.9)),
            ),
        ),
        clicks=reports.ClickStatistics(
            impressions=12_345,
            clicks=678,
            creatives=36,
            products=9,
            median_impressions=340.0,
            pairs_possible=50,
            pairs_kept=40,
            positions=(
                reports.PositionBias(position=1, estimated=around(1.0), true=1.0),
                reports.PositionBias(position=2, estimated=around(0.61), true=0.6),
            ),
        ),
        timing=(
            reports.StageTiming(stage=title, cpu_seconds=61.0, wall_seconds=75.0),
            reports.StageTiming(stage="reward", cpu_seconds=9.0, wall_seconds=12.0),
        ),
        provenance=reports.Provenance(settings={title: {title: title}}, versions={"torch": "2"}, seeds={title: 7}),
        notes=(f"Nothing about {title}.",),
    )
