"""Confidence that a cut-out mask is right: a logistic regression on features of `mask.find`.

Fitted by `python benchmarks/cutouts.py --fit --photos FOLDER` on one half of the sample catalog's objects and of 40
real product photos; docs/experiments/cutouts.md has the results on the other half.
"""

from __future__ import annotations

import math

import numpy as np

from clickscape.catalog.background import Mask
from clickscape.catalog.flags import thinness
from clickscape.catalog.mask import Found

SURE = 0.9  # a cut-out below this confidence is doubtful
LEAST = 0.05  # and below this one it is refused

FEATURES = ("sure", "supported", "undecided", "kept", "blank", "noise", "area", "thin", "touching", "agreed")
_WEIGHTS = (2.67, 5.48, -1.12, 4.90, -7.52, 0.83, 2.51, 0.49, -1.12, 2.31)
_OFFSET = -11.26


def confidence(found: Found) -> float:
    """Probability that the mask agrees with the product in at least nine tenths (IoU ≥ 0.9)."""
    score = _OFFSET + float(np.dot(_WEIGHTS, features(found)))
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))


def features(found: Found) -> tuple[float, ...]:
    """What the confidence is made of, in the order of `FEATURES`, each about 0..1."""
    mask = found.mask
    return (
        found.sure,
        found.supported,
        found.undecided,
        found.kept,
        found.blank,
        min(1.0, found.ground.noise / 10),
        math.sqrt(float(mask.mean())),
        thinness(_trimmed(mask)),
        max(float(line.mean()) for line in (mask[0], mask[-1], mask[:, 0], mask[:, -1])),
        found.agreed,
    )


def _trimmed(mask: Mask) -> Mask:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
