"""Which pixels of a photograph on a plain background are the product: evidence, a least boundary, a confidence.

The choice made here: no single threshold decides.  Color that no shadow can explain is product; what a flood of
background color reaches without crossing an edge is background; what lies between (shadows, pale products, holes) goes
where the boundary between both is cheapest, and a boundary is cheap along edges.  A shadow ends softly against the
background and a product sharply, which tells a pale product from a shadow of its own gray.  The weights below are in
units of that boundary's cost: 1 per pixel of a picture of 200.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clickscape.catalog.background import Floats, Ground, Mask, cleaned, disc, fit, length, reached

Pixels = NDArray[np.uint8]

BUSY = 10.0  # spread, LAB units, above which a background is not plain
_COARSE = 200  # longest side, pixels, on which the least boundary is found
_LEAKED = 0.6  # share of what stands out that a shadow cannot be: the flood has leaked into a gray product
_CHEAPEST = 0.03  # cost of a boundary along the clearest edge
_NOISELESS = 0.2  # LAB units; backgrounds below it are clipped or drawn
_HALF = 0.45  # share of the largest distance nearby from which a pixel is more product than background
_SALIENT = np.float32(0.45)  # weight of the saliency where it is certain
_UNSEEN = 0.05  # saliency of what the network is sure is nothing
_SEEN = 0.5  # mean saliency of what is surely product, below which the network does not know such products
_RINGING = 9  # pixels from an edge that JPEG's blocks carry its color
_STEPS = 110  # of the primal-dual iteration; more change no mask


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A mask, and what speaks for it and against it, each a share 0..1.

    ``sure``: of the mask, color that is no shadow's; ``supported``: of its boundary, edges; ``undecided``: pixels that
    the least boundary runs through, relative to the mask; ``kept``: of what stands out from the background, the mask;
    ``blank``: of the mask, what looks like the background; ``agreed``: IoU of the mask and what is salient.
    """

    mask: Mask
    ground: Ground
    sure: float
    supported: float
    undecided: float
    kept: float
    blank: float
    agreed: float


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """What is measured at every pixel: distance and lightness difference to the background in LAB, and more.

    ``tint``: what of it a shadow does not explain; ``peak``: the largest distance nearby, to which ringing of JPEG is
    in proportion; ``edge``: sharp contrast, LAB units, none on gradual slopes; ``sharp``: what an edge exceeds.
    """

    difference: Floats
    distance: Floats
    tint: Floats
    peak: Floats
    edge: Floats
    sharp: float
    noise: float
    white: bool

    @property
    def lightness(self) -> Floats:
        return self.difference[..., 0]


def find(image: Pixels, saliency: Floats) -> list[Found]:
    """What may be the product in a picture (height, width, 3) sRGB; nothing when its background is not plain.

    By color and edges, to which the shape that a network sees is a weight; and by that shape alone, its outline moved
    to the nearest edge: right where a pale product or one on a textured ground has no color of its own.

    ``saliency``: probability 0..1 (height, width) that a pixel is product, as that network sees it.
    """
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    smooth = cv2.GaussianBlur(lab, (0, 0), 0.8)
    ground = fit(lab, smooth, product=saliency > 0.5)
    if ground.spread >= BUSY:
        return []
    view = _look(lab, smooth, ground)
    weight, sure, faint, outside = _evidence(view, saliency)
    foot = _foot(view.difference, ~outside)
    if foot is not None:
        weight[foot:], sure[foot:] = np.maximum(weight[foot:], 0.4), False
    share = _least_boundary(weight, view.edge, sharp=view.sharp)
    mask = _sharpened(image, share, background=(weight > 0.3) | faint, sure=sure)
    thin = (_thin(smooth[..., 0]) > max(5, 2.5 * view.noise)) & (view.distance > _HALF * view.peak) & (weight <= 0.3)
    seen = cv2.resize(saliency, share.shape[::-1], interpolation=cv2.INTER_AREA)
    nothing = np.zeros_like(sure)
    background = outside | (weight > 0.3)
    return [
        _judged(found, ground, view, product, saliency, sure=sure, background=background)
        for found, product in (
            (cleaned(mask | thin | sure), share),
            (cleaned(_sharpened(image, seen, background=nothing, sure=nothing)), seen),
        )
        if found.any() and not found.all()
    ]


def _look(lab: Floats, smooth: Floats, ground: Ground) -> _View:
    difference = smooth - ground.color
    # in LAB, light dimmed by a factor scales L + 16, a and b by its cube root: what is left is no shadow
    dimmed = ((smooth[..., 0] + 16) / (ground.color[..., 0] + 16))[..., None]
    tint = length(smooth[..., 1:] - ground.color[..., 1:] * dimmed)
    distance = np.sqrt(difference[..., 0] ** 2 + tint**2)
    peak = cv2.blur(cv2.dilate(distance, np.ones((17, 17), np.uint8)), (5, 5))
    wide = cv2.GaussianBlur(lab, (0, 0), 3)
    detail = length(smooth - wide)
    slope = np.hypot(*(length(cv2.Sobel(wide, cv2.CV_32F, x, 1 - x, scale=1 / 8)) for x in (0, 1)))
    flat = reached(distance < _tolerance(peak, ground.noise), gap=0)
    usual = float(np.quantile(detail[flat][::7], 0.9)) if flat.any() else 1.0
    white = float(np.median(ground.color[..., 0])) > 99.5
    edge = cv2.dilate(detail - 0.9 * slope - 0.03 * peak, np.ones((3, 3), np.uint8))
    return _View(difference, distance, tint, peak, np.maximum(edge, 0), max(0.25, 1.3 * usual), ground.noise, white)


def _tolerance(peak: Floats, noise: float) -> Floats:
    """Distance below which a pixel may be background: its noise, and the ringing that JPEG leaves near contrast."""
    return np.asarray(max(0.5, 1.35 * noise) + 0.09 * peak, np.float32)


def _evidence(view: _View, saliency: Floats) -> tuple[Floats, Mask, Mask, Mask]:
    """Weight for the background (negative: for the product), and what is surely product, faint beside it, outside."""
    noise, gap = view.noise, max(2, max(view.distance.shape) // 130)
    near = view.distance < _tolerance(view.peak, noise)
    soft = length(cv2.GaussianBlur(view.difference, (0, 0), 4))
    exact = soft < 0.3 + 0.4 * noise + 0.05 * view.peak
    flooded = reached(near, gap=0)
    outside = reached(near & (view.edge < 2 * view.sharp), gap=gap)
    printed = _printed(~outside, view)
    outside, flooded = outside & ~printed, flooded & ~printed

    gray = max(4.0, 1.5 * noise) + 0.12 * view.peak
    darker = (view.lightness < max(1, noise)) & (view.lightness > -50)
    shadow = darker & (view.tint < gray + 0.06 * np.maximum(0, -view.lightness))
    through = reached(near & (view.edge < 2 * view.sharp) | shadow & (view.edge < view.sharp), gap=gap)

    clear = np.maximum(
        np.clip((view.tint - gray) / max(3, noise), 0, 1),
        np.clip((view.lightness - 1.3 * noise - 0.8) / max(2, noise), 0, 1),
    )
    clear = np.maximum(clear, np.clip((-view.lightness - 45) / 10, 0, 1))
    clear[flooded] = 0

    weight = np.where(near, -0.05, -0.08).astype(np.float32)
    between = through & ~outside & ~printed
    soft_ended = _ends_softly(between, outside, view)
    standing_out = max(1, int((~outside).sum()))
    if (clear > 0.9).sum() < 0.1 * standing_out and soft_ended.sum() > _LEAKED * standing_out:
        soft_ended[:] = False
    weight[between] = np.where(soft_ended[between], 0.06, -0.02)
    squeezed = flooded & ~outside
    weight[squeezed] = np.where(exact[squeezed], 0.08, -0.02)
    weight[outside] = np.where(exact[outside], 0.35, 0.12)
    weight = weight * (1 - clear) - clear
    opened = np.zeros_like(near)
    if noise > _NOISELESS or not view.white:  # there, a hole looks like a white label: the product stays whole
        opened = _open_holes(weight, near & ~outside, view)
    # the edge of something clear runs at half its contrast; what is fainter beside it is ringing or shadow
    strong = view.distance > _HALF * view.peak
    sure = (clear > 0.9) & strong & (weight < 0)
    faint = (cv2.dilate(sure.astype(np.uint8), disc(_RINGING)) > 0) & ~strong
    beyond = weight > 0
    faint &= reached(beyond | faint, gap=0) & (cv2.dilate(beyond.astype(np.uint8), disc(_RINGING)) > 0)
    weight[faint] = np.maximum(weight[faint], 0.03)
    if not clear.any() or np.average(saliency, weights=clear) > _SEEN:
        pull = _SALIENT * (1 - 2 * saliency)
        # a white label is faint to the network where a hole is nothing, and an opened hole needs no second opinion
        pull[printed & (saliency > _UNSEEN)] = np.minimum(pull[printed & (saliency > _UNSEEN)], 0)
        weight += np.where(opened, 0, pull)
    return weight, sure, faint, outside


def _printed(standing_out: Mask, view: _View) -> Mask:
    """The inside of a broken outline that has print in it: a white product on white; empty where there is none."""
    strong = (standing_out & (view.distance > 15)).astype(np.uint8)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(strong, connectivity=8)
    side, best = max(standing_out.shape), np.zeros_like(standing_out)
    if (statistics[1:, cv2.CC_STAT_AREA] >= 6).sum() < 3:
        return best
    for radius in (side // 40, side // 20, side // 12):
        filled = ~reached(~_closed(standing_out, radius), gap=0)
        if (filled & ~standing_out & ~best).sum() < 0.15 * standing_out.sum():
            continue
        deep = cv2.erode(filled.astype(np.uint8), disc(max(3, side // 60)), borderValue=0) == 0
        islands = np.setdiff1d(np.arange(1, count), labels[deep & (labels > 0)])
        if (statistics[islands, cv2.CC_STAT_AREA] >= 6).sum() >= 3:
            best = filled
    return best


def _closed(mask: Mask, radius: int) -> Mask:
    """The mask with its gaps closed up to twice a radius; distances are faster than a large brush."""
    wide = np.pad(mask, radius + 1)
    grown = cv2.distanceTransform((~wide).astype(np.uint8), cv2.DIST_L2, 5) <= radius
    shrunk = cv2.distanceTransform(grown.astype(np.uint8), cv2.DIST_L2, 5) > radius
    return np.asarray(shrunk[radius + 1 : -radius - 1, radius + 1 : -radius - 1]) | mask


def _ends_softly(region: Mask, outside: Mask, view: _View) -> Mask:
    """The parts of a region whose border with the background is no edge, as that of a shadow."""
    count, labels = cv2.connectedComponents(region.astype(np.uint8), connectivity=4)
    border = region & (cv2.dilate(outside.astype(np.uint8), disc(2)) > 0)
    length = np.bincount(labels[border], minlength=count)
    sharp = np.bincount(labels[border], weights=view.edge[border] > 0.5 * view.sharp, minlength=count)
    softly = sharp < 0.15 * length
    softly[0] = False
    return np.asarray(softly[labels])


def _open_holes(weight: Floats, enclosed: Mask, view: _View) -> Mask:
    """Give to the background what is enclosed by the product but is the background, color and noise (in place)."""
    opened = np.zeros_like(enclosed)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(enclosed.astype(np.uint8), connectivity=4)
    for part in range(1, count):
        left, top, width, height, area = statistics[part]
        if area < max(12, 2e-5 * weight.size):
            continue
        window = (slice(top, top + height), slice(left, left + width))
        inside = labels[window] == part
        core = cv2.erode(inside.astype(np.uint8), disc(1), borderValue=0) > 0
        if core.sum() < 6:
            continue
        colors = view.difference[window][core]
        offset, stray = np.linalg.norm(np.median(colors, 0)), np.linalg.norm(colors.std(0))
        if offset > 0.3 + 0.4 * view.noise or stray > 0.4 + view.noise:
            continue
        weight[window][inside], opened[window][inside] = 0.35, True
    return opened


def _foot(difference: Floats, found: Mask) -> int | None:
    """The row below which the picture is a fading reflection of what stands above; None without one."""
    height, width = found.shape
    scale = min(1.0, _COARSE / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(difference, size, interpolation=cv2.INTER_AREA)
    rows = np.flatnonzero((cv2.resize(found.astype(np.uint8), size, interpolation=cv2.INTER_AREA) > 0).any(1))
    if not rows.size:
        return None
    energy = length(small).mean(1)
    tall, best, foot = rows[-1] - rows[0] + 1, 0.85, None
    for row in range(rows[0] + tall // 3, rows[-1] - 2):
        reach = min(row - rows[0], size[1] - row, max(6, tall // 3))
        if reach < 5:
            continue
        above, below = energy[row - reach : row][::-1], energy[row : row + reach]
        if below[:3].mean() > 0.6 * above[:3].mean() or below[-2:].mean() > 0.35 * below[:3].mean() + 0.3:
            continue
        likeness = _likeness(small[row - reach : row][::-1], small[row : row + reach])
        if likeness > best:
            best, foot = likeness, row
    return None if foot is None else round((foot + 1) / scale)


def _likeness(above: Floats, below: Floats) -> float:
    """Correlation 0..1 of a piece with the mirrored piece above it, of which each row may keep another share."""
    gain = float((below * above).sum() / max(1e-6, (above * above).sum()))
    if not 0.02 < gain < 0.5 or np.abs(below).max() > 0.6 * np.abs(above).max():
        return 0.0
    below, above = below - below.mean(1, keepdims=True), above - above.mean(1, keepdims=True)
    if np.sqrt((below * below).mean()) < 0.4:
        return 0.0
    kept = np.clip((below * above).sum((1, 2)) / np.maximum(1e-6, (above * above).sum((1, 2))), 0, 0.6)
    above = above * cv2.blur(kept.astype(np.float32)[:, None], (1, 5))[..., None]
    return float((below * above).sum() / max(1e-6, np.sqrt((below * below).sum() * (above * above).sum())))


def _least_boundary(weight: Floats, edge: Floats, *, sharp: float) -> Floats:
    """Share of product, (coarse height, coarse width): minimum of Σ weight · share + Σ cost · |∇ share|.

    Total variation by the primal-dual iteration of Chambolle and Pock (2011, algorithm 1).
    """
    height, width = weight.shape
    scale = min(1.0, _COARSE / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    pull = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    cost = np.maximum(_CHEAPEST, 1 / (1 + (cv2.resize(edge, size, interpolation=cv2.INTER_AREA) / sharp) ** 2))
    across, down = cost.copy(), cost.copy()
    across[:, :-1] = np.minimum(cost[:, 1:], cost[:, :-1])
    down[:-1] = np.minimum(cost[1:], cost[:-1])
    share = (pull < 0).astype(np.float32)
    ahead, step = share, np.float32(0.35)
    flow_x, flow_y, slope, divergence = (np.zeros_like(pull) for _ in range(4))
    for _ in range(_STEPS):
        slope[:, :-1] = ahead[:, 1:] - ahead[:, :-1]
        slope[:, -1] = 0
        np.clip(flow_x + step * slope, -across, across, out=flow_x)
        slope[:-1] = ahead[1:] - ahead[:-1]
        slope[-1] = 0
        np.clip(flow_y + step * slope, -down, down, out=flow_y)
        np.add(flow_x, flow_y, out=divergence)
        divergence[:, 1:] -= flow_x[:, :-1]
        divergence[1:] -= flow_y[:-1]
        new = np.clip(share + step * (divergence - pull), 0, 1)
        ahead, share = 2 * new - share, new
    return share


def _sharpened(image: Pixels, share: Floats, *, background: Mask, sure: Mask) -> Mask:
    """The coarse mask at full size, its boundary moved to the strongest edge nearby (watershed)."""
    height, width = image.shape[:2]
    mask = (cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5).astype(np.uint8)
    reach = max(4, round(1.3 * max(height, width) / max(share.shape)))
    markers = np.zeros((height, width), np.int32)
    markers[cv2.dilate(mask, disc(reach)) == 0] = 1
    markers[cv2.erode(mask, disc(reach), borderValue=1) > 0] = 2
    markers[background & (markers == 0)] = 1
    markers[sure & (markers == 0)] = 2
    # the watershed leaves the outermost pixels out: give it some to spare
    wide = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    return np.asarray(cv2.watershed(wide, np.pad(markers, 1, mode="edge"))[1:-1, 1:-1] == 2)


def _thin(lightness: Floats) -> Floats:
    """How much a pixel stands out from what lies on both sides of it: chains and wires do, wide things do not."""
    reach = max(3, round(0.012 * max(lightness.shape)))
    brush = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    dark = cv2.morphologyEx(lightness, cv2.MORPH_BLACKHAT, brush)
    return np.asarray(np.maximum(dark, cv2.morphologyEx(lightness, cv2.MORPH_TOPHAT, brush)))


def _judged(
    mask: Mask, ground: Ground, view: _View, share: Floats, saliency: Floats, *, sure: Mask, background: Mask
) -> Found:
    """The mask with what a confidence is made of."""
    solid = mask.astype(np.uint8)
    border = mask & (cv2.erode(solid, disc(2), borderValue=1) == 0)
    supported = float((view.edge[border] > view.sharp).mean()) if border.any() else 0.0
    undecided = float(((share > 0.1) & (share < 0.9)).sum() / max(1.0, (share > 0.5).sum()))
    standing_out = max(1, int((~background).sum()))
    return Found(
        mask,
        ground,
        sure=float(sure[mask].mean()),
        supported=supported,
        undecided=min(1.0, undecided),
        kept=min(1.0, float(mask.sum()) / standing_out),
        blank=float((view.distance[mask] < 0.3 + 0.4 * view.noise).mean()),
        agreed=float((mask & (saliency > 0.5)).sum() / (mask | (saliency > 0.5)).sum()),
    )
