"""The learning-rate schedule of every training loop: a linear rise, then half a cosine down to a floor."""

from __future__ import annotations

import math


def warmup_cosine(step: int, steps: int, *, warmup_share: float, floor: float) -> float:
    """Return the share of the peak learning rate at a step (0 … steps − 1), in (0, 1].

    The rise takes ``warmup_share`` of the run, never a fixed number of steps: a run of one step has the full rate.
    ``floor``: share of the peak at the end; 1 keeps the rate constant after the rise.
    """
    rise = int(warmup_share * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    progress = (step - rise) / max(steps - rise, 1)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
