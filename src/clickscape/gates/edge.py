"""The product's edge against a clean composite: halos and fringes by ΔE2000, seams by a step that follows the outline.

The clean composite takes the background from a little farther out. How far that guess may stray by itself is measured
in the same picture on outlines drawn out in the background, and only what goes beyond that counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from clickscape.gates.outline import INNER, OUTER, Floats, Outline, smooth
from clickscape.render.color import LUMINANCE, to_display, to_linear

RIM = (-1, 0, 1, 2, 3)  # depths, pixels, that are compared with the clean composite
GUESS = range(6, 10)  # depths from which the background behind the rim is guessed
CONTROLS = (8, 16)  # how far out the same comparison is made where there is only background
SEAMS = range(4, 23)  # depths at which a step may lie
SHARE = 75.0  # percentile of each side that must be clean: a rim on a quarter of it is seen at once
_SHADE_FROM = 2  # depth, pixels, from which a shadow is seen without the product's soft rim
_SMOOTH = 5.0  # points along the outline over which grain and texture average out
_FEWEST = 12  # points below which a mean or a percentile says nothing
_LARGEST_STEP = 20.0  # lightness units beyond which a step counts no more: one prop's edge is no seam


def edge_difference(outlines: Sequence[Outline], *, shaded: bool = False) -> float:
    """How far the edge is from a clean composite, ΔE2000, beyond what the background strays by itself; 0 without edge.

    Composites in display values and in linear light are both clean, so the nearer of the two counts. Left of the
    product, right of it and above it are looked at apart, and the middle one of the three counts. `shaded`: the product
    lies or hangs, so that a shadow all around it is right: the background may be darker there, though not another hue.
    """
    if not outlines:
        return 0.0
    rims = [[_differences(outline, offset, shaded=shaded) for outline in outlines] for offset in (0, *CONTROLS)]
    beyond = [_beyond([_strays(rim, outlines, side) for rim in rims]) for side in range(3)]
    known = [value for value in beyond if value is not None]
    return float(np.median(known)) if known else 0.0


def _beyond(strays: Sequence[npt.NDArray[np.float64]]) -> float | None:
    """What the rim strays beyond the controls, at the worst of its depths; None where nothing can be said."""
    usual = np.fmax.reduce([np.zeros(len(RIM)), *strays[1:]])
    rest = strays[0] - usual
    return max(0.0, float(np.nanmax(rest))) if np.isfinite(rest).any() else None


def seam_step(outlines: Sequence[Outline], *, shaded: bool = False) -> float:
    """The largest step in lightness (CIELAB) that follows the outline at one distance from it; 0 without outline.

    `shaded`: a shadow all around is right, so only steps to a darker background count.

    Left of the product, right of it and above it are looked at apart; the smallest of three steps of one sign counts:
    a tile's joint beside a straight side is no seam.
    """
    sides = [_lightness(outlines, side) for side in range(3)]
    found = np.array([[_step(values, depth - INNER) for values in sides] for depth in SEAMS])
    smallest = np.where((found > 0).all(1), found.min(1), np.where((found < 0).all(1), found.max(1), 0))
    if shaded:
        smallest = np.minimum(smallest, 0)
    return float(np.abs(smallest - np.median(smallest)).max())


def _lightness(outlines: Sequence[Outline], side: int) -> Floats:
    """Lightness (point, depth) of the background that the outlines show to one side (left, right, up); else NaN."""
    shown = [
        np.where(
            outline.clear & (outline.checked & (outline.side == side))[:, None],
            cv2.cvtColor(outline.image, cv2.COLOR_RGB2LAB)[..., 0],
            np.float32(np.nan),
        )
        for outline in outlines
    ]
    return np.concatenate(shown) if shown else np.zeros((0, OUTER - INNER + 1), np.float32)


def _step(lightness: Floats, index: int) -> float:
    """Mean step of lightness from three depths up to `index` to the three after it; 0 where too little is shown."""
    within, beyond = lightness[:, index - 2 : index + 1], lightness[:, index + 1 : index + 4]
    step = (beyond.sum(1) - within.sum(1)) / 3
    step = step[np.isfinite(step)]
    return float(np.clip(step, -_LARGEST_STEP, _LARGEST_STEP).mean()) if step.size >= _FEWEST else 0.0


def _strays(rim: Sequence[Floats], outlines: Sequence[Outline], side: int) -> npt.NDArray[np.float64]:
    """For each depth of a rim, the ΔE2000 that SHARE of the outlines that look to one side stay below; NaN: unknown."""
    together = np.concatenate([each[:, outline.side == side] for each, outline in zip(rim, outlines, strict=True)], 1)
    return np.array([np.percentile(row, SHARE) if row.size >= _FEWEST else np.nan for row in map(_finite, together)])


def _finite(row: Floats) -> Floats:
    return row[np.isfinite(row)]


def _differences(outline: Outline, offset: int, *, shaded: bool) -> Floats:
    """ΔE2000 between the picture and the clean composite, (rim depth, point); NaN where nothing can be said."""
    if offset + GUESS[-1] > OUTER:
        raise ValueError(f"an offset of {offset} leaves the unrolled outline, which ends at {OUTER} pixels")
    guess = slice(outline.at(offset + GUESS[0]), outline.at(offset + GUESS[-1]) + 1)
    weight = outline.clear[:, guess].astype(np.float32)
    known = weight.sum(1)
    background = smooth((outline.image[:, guess] * weight[..., None]).sum(1), _SMOOTH)
    background /= np.maximum(smooth(known[:, None], _SMOOTH), 1e-3)
    seen, clean, usable = [], [], []
    for depth in RIM:
        index = outline.at(offset + depth)
        valid = (known >= 2) & outline.checked
        if offset or depth > 2:
            valid &= outline.clear[:, index]
        share = valid.astype(np.float32)[:, None]
        total = np.maximum(smooth(share, _SMOOTH), 1e-3)
        behind = _darkened(background, outline, depth, offset=offset) if shaded else background
        made = [behind] if offset else _composites(outline.product[:, index], outline.alpha[:, index, None], behind)
        seen.append(smooth(outline.image[:, index] * share, _SMOOTH) / total)
        clean.append([smooth(each * share, _SMOOTH) / total for each in made])
        usable.append(valid)
    return np.where(np.array(usable), _nearest(np.array(seen), np.array(clean)), np.float32(np.nan))


def _darkened(background: Floats, outline: Outline, depth: int, *, offset: int) -> Floats:
    """The guessed background (point, 3) in the shadow at `depth`: as dark as the picture, in the background's own hue.

    Nearer than _SHADE_FROM the product's soft rim lies over the shadow, which is taken to grow on as it did before.
    """
    light = to_linear(np.clip(background, 0, 1))
    usual = np.maximum(smooth(light @ LUMINANCE, _SMOOTH), np.float32(1e-4))

    def shade(where: int) -> Floats:
        seen = to_linear(outline.image[:, outline.at(offset + where)]) @ LUMINANCE
        return np.clip(smooth(seen, _SMOOTH) / usual, np.float32(1e-3), 1)

    share = shade(max(depth, _SHADE_FROM))
    if depth < _SHADE_FROM:
        share = share * np.clip(share / shade(_SHADE_FROM + 1), 0.5, 1) ** (_SHADE_FROM - depth)
    return to_display(light * share[:, None])


def _composites(covered: Floats, alpha: Floats, background: Floats) -> list[Floats]:
    """The product over the background (point, 3), mixed in display values and in linear light."""
    own = covered / np.maximum(alpha, np.float32(1e-3))
    light = to_linear(np.clip(own, 0, 1)) * alpha + to_linear(background) * (1 - alpha)
    return [covered + background * (1 - alpha), to_display(light)]


def _nearest(seen: Floats, clean: Floats) -> Floats:
    """ΔE2000 (depth, point) of display colors (depth, point, 3) to the nearest of some (depth, some, point, 3)."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    mine, theirs = rgb2lab(np.clip(seen, 0, 1)), rgb2lab(np.clip(clean, 0, 1))
    return np.asarray(deltaE_ciede2000(mine[:, None], theirs).min(1), np.float32)
