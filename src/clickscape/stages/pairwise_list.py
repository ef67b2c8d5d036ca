"""Stage `reward evaluate`: any reward model on the left/right test list of the paper's code."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clickscape import reward as reward_room
from clickscape.compute.device import best_device
from clickscape.reward import pairwise_list
from clickscape.stages.progress import Progress, Stage

STAGE = "reward evaluate"
CHUNK = 16
"""Rows whose pictures are open at a time."""


def evaluate(
    path: Path, *, model: Path, image_dir: Path | None = None, seed: int = 0
) -> Stage[pairwise_list.PairwiseListReport]:
    """Read and check the whole list, open the model, ask it about every row in both orders."""
    rows = pairwise_list.read(path, image_dir=image_dir)
    loaded = reward_room.load(model, device=best_device())
    odds = []
    for start in range(0, len(rows), CHUNK):
        yield Progress(STAGE, start, len(rows))
        odds.append(pairwise_list.left_log_odds(loaded, rows[start : start + CHUNK]))
    yield Progress(STAGE, len(rows), len(rows))
    return pairwise_list.evaluate(
        rows, np.concatenate(odds), orders=loaded.reads_sides, rng=np.random.default_rng(seed)
    )


def summary(report: pairwise_list.PairwiseListReport) -> list[str]:
    """The evaluation in lines for people."""
    named = [
        ("pair accuracy, both orders" if report.as_shown else "pair accuracy", report.accuracy),
        ("pair accuracy, as shown", report.as_shown),
        ("takes the left (0.5: unbiased)", report.takes_left),
    ]
    return [
        f"{report.rows} pairs of {report.products} products; the list says left for {report.left_targets:.1%}",
        *(f"{name:34s} {one.value:.3f} [{one.low:.3f}, {one.high:.3f}]" for name, one in named if one is not None),
    ]
