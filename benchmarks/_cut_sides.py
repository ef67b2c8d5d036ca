"""The two sides of `cutouts.py`: code of today and of another revision cuts out one photograph, judged by its matte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from _revision import unpack
from clickscape.catalog import cutout as today
from clickscape.errors import ImageError
from photographs import Photograph

GOOD = 0.9  # IoU from which a cut-out counts as right


@dataclass(frozen=True)
class Judged:
    """One photograph cut out by one side; the figures are None where it refused."""

    photo: Photograph
    cpu_ms: float
    overlap: float | None = None
    edge_error: float | None = None
    fringe: float | None = None
    shadow: float | None = None
    sure: bool = True
    thin: bool = False
    glass: bool = False

    @property
    def wrong(self) -> bool:
        """Whether a cut-out came back that is not right."""
        return self.overlap is not None and self.overlap < GOOD


def judge(photo: Photograph, found: NDArray[np.uint8], *, cpu_ms: float, **known: bool) -> Judged:
    """IoU at half alpha; shadow that is kept ÷ product area; and within 0.6 % of the side of the edge:

    mean alpha error; fringe, the mean difference (0..255) of the shown color from the product's own, weighted by alpha.
    """
    alpha = found[..., 3].astype(np.float32) / 255
    truth, mask = photo.alpha > 0.5, alpha > 0.5
    brush = np.ones((2 * max(2, round(0.006 * max(truth.shape))) + 1,) * 2, np.uint8)
    solid = truth.astype(np.uint8)
    band = (cv2.dilate(solid, brush) > 0) & (cv2.erode(solid, brush, borderValue=1) == 0)
    shown = np.where(photo.alpha > 0.1, alpha, 0)[band]
    strange = np.abs(found[..., :3].astype(np.float32) - photo.color)[band].mean(1)
    beside = (photo.alpha < 0.02) & (photo.shade > 0.06)
    return Judged(
        photo,
        cpu_ms,
        overlap=float((truth & mask).sum() / max(1, (truth | mask).sum())),
        edge_error=float(np.abs(alpha - photo.alpha)[band].mean()),
        fringe=float((strange * shown).sum() / max(1e-6, float(shown.sum()))),
        shadow=float((mask & beside).sum() / max(1, truth.sum())),
        **known,
    )


class Before:
    """The code of another revision in a process of its own, which cuts out one picture after the other."""

    def __init__(self, revision: str, folder: Path) -> None:
        source = unpack(revision, folder)
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BEFORE],
            env={**os.environ, "PYTHONPATH": str(source)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def cut(self, photo: Photograph) -> Judged:
        """What that code makes of a photograph."""
        picture, found = self._folder / "picture.npy", self._folder / "found.npy"
        np.save(picture, photo.pixels)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(picture, found, file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        if answer["refused"]:
            return Judged(photo, answer["cpu ms"])
        flags = {name: answer[name] for name in ("sure", "thin", "glass")}
        return judge(photo, np.load(found), cpu_ms=answer["cpu ms"], **flags)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


_BEFORE = """
import json, sys, time
import cv2, numpy as np
from clickscape.catalog.cutout import examine
from clickscape.errors import ImageError
cv2.setNumThreads(1)
for line in sys.stdin:
    picture, found = line.split()
    pixels, start = np.load(picture), time.process_time()
    try:
        made = examine(pixels)
    except ImageError:
        made = None
    answer = {"refused": made is None, "cpu ms": 1000 * (time.process_time() - start)}
    if made is not None:
        np.save(found, made.pixels)
        answer |= {"sure": not made.doubtful, "thin": made.flags.thin, "glass": made.flags.glass}
    print(json.dumps(answer), flush=True)
"""


def cut_today(photo: Photograph) -> Judged:
    start = time.process_time()
    try:
        found = today.examine(photo.pixels)
    except ImageError:
        return Judged(photo, 1000 * (time.process_time() - start))
    spent, flags = 1000 * (time.process_time() - start), found.flags
    return judge(
        photo, found.pixels, cpu_ms=spent, sure=not found.doubtful, thin=flags.thin, glass=flags.glass
    )  # fmt: skip
