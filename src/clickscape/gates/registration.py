"""Find where in a delivered picture an approved one lies: two scales, a shift and whether it is mirrored.

Platforms resize, crop and extend pictures, they do not turn them, so four numbers suffice.  Hypotheses are the usual
ones (the whole frame, filled and cut, fitted and extended) and one from features (SIFT: Lowe 2004, its patent expired
in 2020); the most similar one is refined by least squares on the pixels (Lucas and Kanade 1981) with Tukey's weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from jaxtyping import UInt8

_SIDE = 480  # pixels of the longer side at which pictures are registered
_SURE = 0.99  # similarity of the whole frame from which no other hypothesis is tried
_LEAST_OVERLAP = 0.1  # share of the delivered picture that a hypothesis must explain
_FEATURES, _RATIO = 1_500, 0.8  # SIFT features of a picture; how much nearer the best match is than the second
_STEPS, _PIXELS = 12, 15_000  # steps of refinement, and how many pixels each looks at
_INLIER = 3.0  # pixels
Size = tuple[int, int]
Gray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Registration:
    """A point (x, y) of the approved picture, mirrored first if `mirrored`, lies at (scale_x x + shift_x, …).

    Coordinates are continuous: a picture reaches from 0 to its width.  similarity: correlation of the gray values where
    both are, −1 to 1.
    """

    scale_x: float
    scale_y: float
    shift_x: float
    shift_y: float
    mirrored: bool = False
    similarity: float = 0.0

    def scaled(self, *, approved: float, delivered: float) -> Registration:
        """The same for pictures that are enlarged by these factors."""
        factor = delivered / approved
        return replace(
            self,
            scale_x=self.scale_x * factor,
            scale_y=self.scale_y * factor,
            shift_x=self.shift_x * delivered,
            shift_y=self.shift_y * delivered,
        )

    def frame(self, approved: Size) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the approved picture, of that (width, height), in the delivered one."""
        right, bottom = self.shift_x + self.scale_x * approved[0], self.shift_y + self.scale_y * approved[1]
        return self.shift_x, self.shift_y, right, bottom

    def warp(self, picture: npt.NDArray[Any], size: Size) -> npt.NDArray[Any]:
        """The approved picture as it would lie in a delivered one of (width, height); beyond it, its border goes on."""
        source = picture[:, ::-1] if self.mirrored else picture
        near = (
            max(1, round(source.shape[1] * min(1.0, self.scale_x))),
            max(1, round(source.shape[0] * min(1.0, self.scale_y))),
        )
        if near != (source.shape[1], source.shape[0]):  # averages first: interpolation alone would skip pixels
            source = cv2.resize(source, near, interpolation=cv2.INTER_AREA)
        scale_x = self.scale_x * picture.shape[1] / near[0]
        scale_y = self.scale_y * picture.shape[0] / near[1]
        matrix = np.array(
            [[scale_x, 0, self.shift_x + scale_x / 2 - 0.5], [0, scale_y, self.shift_y + scale_y / 2 - 0.5]], np.float64
        )
        return cv2.warpAffine(
            np.ascontiguousarray(source), matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )


def register(
    delivered: UInt8[np.ndarray, "height width 3"], approved: UInt8[np.ndarray, "rows columns 3"]
) -> Registration:
    """Return where the approved picture lies in the delivered one; look at its `similarity` before using it."""
    there, delivered_factor = _gray(delivered)
    here, approved_factor = _gray(approved)
    whole = _refined(_whole(there, here), there, here)
    best = whole if whole.similarity >= _SURE else _best(there, here, whole)
    return best.scaled(approved=1 / approved_factor, delivered=1 / delivered_factor)


def _gray(picture: UInt8[np.ndarray, "height width 3"]) -> tuple[Gray, float]:
    """Gray values, 0–1, at working size, and by what the picture was scaled to get there."""
    factor = min(1.0, _SIDE / max(picture.shape[:2]))
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    if factor < 1:
        size = (max(1, round(gray.shape[1] * factor)), max(1, round(gray.shape[0] * factor)))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return gray.astype(np.float32) / 255, gray.shape[1] / picture.shape[1]


def _whole(there: Gray, here: Gray) -> Registration:
    return Registration(there.shape[1] / here.shape[1], there.shape[0] / here.shape[0], 0.0, 0.0)


def _best(there: Gray, here: Gray, whole: Registration) -> Registration:
    """The most similar of all hypotheses after refining the three that look best."""
    guesses = list(_hypotheses(there, here))
    rated = sorted((_rated(one, there, here) for one in guesses), key=lambda one: -one.similarity)
    best = whole
    for guess in rated[:3]:
        best = max(best, _refined(guess, there, here), key=lambda one: one.similarity)
        if best.similarity >= _SURE:
            break
    return best


def _hypotheses(there: Gray, here: Gray) -> Iterator[Registration]:
    height, width = there.shape
    rows, columns = here.shape
    yield replace(_whole(there, here), mirrored=True)
    for mirrored in (False, True):
        for scale in (max(width / columns, height / rows), min(width / columns, height / rows)):
            left, top = (width - scale * columns) / 2, (height - scale * rows) / 2
            yield Registration(scale, scale, left, top, mirrored)
    points, descriptors = _features(there)
    for mirrored in (False, True):
        found = _from_features(points, descriptors, *_features(here[:, ::-1] if mirrored else here))
        if found is not None:
            yield replace(found, mirrored=mirrored)


def _features(gray: Gray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32] | None]:
    """Places (feature, xy), continuous coordinates, and descriptors (feature, 128) of a picture."""
    picture = np.ascontiguousarray(np.rint(gray * 255).astype(np.uint8))
    points, descriptors = cv2.SIFT.create(_FEATURES, contrastThreshold=0.02).detectAndCompute(picture, None)
    return np.array([point.pt for point in points], np.float64).reshape(-1, 2) + 0.5, descriptors


def _from_features(
    there: npt.NDArray[np.float64],
    there_descriptors: npt.NDArray[np.float32] | None,
    here: npt.NDArray[np.float64],
    here_descriptors: npt.NDArray[np.float32] | None,
) -> Registration | None:
    """One scale and a shift on which most matches of features agree; None when fewer than four do."""
    if there_descriptors is None or here_descriptors is None or min(len(there), len(here)) < 4:
        return None
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(there_descriptors, here_descriptors, k=2)
    good = [first for first, second in pairs if first.distance < _RATIO * second.distance]
    if len(good) < 4:
        return None
    target = there[[one.queryIdx for one in good]]
    source = here[[one.trainIdx for one in good]]
    first, second = np.triu_indices(len(good), 1)
    if len(first) > 4_000:
        kept = np.linspace(0, len(first) - 1, 4_000).astype(int)
        first, second = first[kept], second[kept]
    lengths = np.linalg.norm(source[first] - source[second], axis=1)
    usable = lengths > 8
    if not usable.any():
        return None
    first, second, lengths = first[usable], second[usable], lengths[usable]
    scales = np.sum((target[first] - target[second]) * (source[first] - source[second]), 1) / lengths**2
    best, members = 0, np.zeros(len(good), bool)
    for scale, index in zip(scales, first, strict=True):
        if not 0.05 < scale < 20:
            continue
        shift = target[index] - scale * source[index]
        near = np.abs(scale * source + shift - target).max(1) < _INLIER
        if near.sum() > best:
            best, members = int(near.sum()), near
    if best < 4:
        return None
    centered = source[members] - source[members].mean(0)
    if not (spread := float(np.sum(centered**2))):  # many matches of one and the same place
        return None
    scale = float(np.sum(centered * target[members])) / spread
    shift_x, shift_y = target[members].mean(0) - scale * source[members].mean(0)
    return Registration(scale, scale, float(shift_x), float(shift_y)) if scale > 0.05 else None


def _seen(one: Registration, size: Size, approved: Size) -> npt.NDArray[np.bool_]:
    """Where in a picture of (width, height) the approved one lies, half a pixel off its border."""
    left, top, right, bottom = one.frame(approved)
    columns, rows = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    inside_x = (columns > left + 0.5) & (columns < right - 0.5)
    inside_y = (rows > top + 0.5) & (rows < bottom - 0.5)
    return inside_y[:, None] & inside_x[None, :]


def _rated(one: Registration, there: Gray, here: Gray) -> Registration:
    """With its similarity; −1 where too little of the delivered picture is explained."""
    size, approved = (there.shape[1], there.shape[0]), (here.shape[1], here.shape[0])
    seen = _seen(one, size, approved)
    if seen.mean() < _LEAST_OVERLAP:
        return replace(one, similarity=-1.0)
    a, b = there[seen], one.warp(here, size)[seen]
    spread = float(a.std() * b.std())
    if spread < 1e-6:
        return replace(one, similarity=float(abs(float(a.mean() - b.mean())) < 0.02))
    similarity = float(np.mean((a - a.mean()) * (b - b.mean()))) / spread
    return replace(one, similarity=min(1.0, similarity))


def _refined(start: Registration, there: Gray, here: Gray) -> Registration:
    """Least squares over two scales, a shift, a gain and an offset of gray; never less similar than `start`."""
    size, approved = (there.shape[1], there.shape[0]), (here.shape[1], here.shape[0])
    best = one = _rated(start, there, here)
    smooth = cv2.GaussianBlur(there, (0, 0), 1.0)
    rows, columns = (axis.astype(np.float32) + 0.5 for axis in np.indices(there.shape))
    for _ in range(_STEPS):
        seen = _seen(one, size, approved)
        if seen.mean() < _LEAST_OVERLAP:
            break
        warped = cv2.GaussianBlur(one.warp(here, size), (0, 0), 1.0)
        used = np.flatnonzero(seen)
        used = used[:: max(1, len(used) // _PIXELS)]
        slope_x, slope_y = (
            cv2.Sobel(warped, cv2.CV_32F, *order, ksize=3).ravel()[used] / 8 for order in ((1, 0), (0, 1))
        )
        x = (columns.ravel()[used] - one.shift_x) / one.scale_x
        y = (rows.ravel()[used] - one.shift_y) / one.scale_y
        value, target = warped.ravel()[used], smooth.ravel()[used]
        design = np.stack([-slope_x * x, -slope_y * y, -slope_x, -slope_y, value, np.ones_like(value)], 1)
        residual = target - value
        middle = np.median(residual)
        spread = 1.4826 * float(np.median(np.abs(residual - middle))) + 2e-3
        weights = np.clip(1 - ((residual - middle) / (4.7 * spread)) ** 2, 0, None) ** 2
        scaling = np.array([x.max() + 1, y.max() + 1, 1, 1, 1, 1], np.float32)
        weighted = (design / scaling) * weights[:, None]
        normal = (weighted.T @ (design / scaling)).astype(np.float64)
        normal[np.diag_indices(6)] += 1e-6 * np.trace(normal) / 6
        change = np.linalg.solve(normal, (weighted.T @ residual).astype(np.float64)) / scaling
        one = Registration(
            one.scale_x + float(change[0]),
            one.scale_y + float(change[1]),
            one.shift_x + float(change[2]),
            one.shift_y + float(change[3]),
            one.mirrored,
        )
        if min(one.scale_x, one.scale_y) < 0.02:
            break
        one = _rated(one, there, here)
        if one.similarity > best.similarity:
            best = one
        if abs(change[2]) + abs(change[3]) + (abs(change[:2]) * scaling[:2]).sum() < 0.01:
            break
    return best
