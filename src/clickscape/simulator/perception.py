"""What shoppers of drawn worlds see in a picture: nine figures of product and surround, in OKLab.

No function here stands on the side that learns: other color space, other scales, other definitions (a test compares the
bodies). Each figure is standardized by a fixed center and spread, measured once on 400 studio renders of the
copywriter's scenes, so that 0 is an average picture. OKLab: Ottosson 2020, "A perceptual color space".
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

FIGURES: Mapping[str, tuple[float, float]] = {
    "separation": (0.25, 0.08),
    "hue agreement": (-0.03, 0.63),
    "warmth": (0.024, 0.038),
    "key": (0.61, 0.20),
    "texture": (0.011, 0.005),
    "gaze": (0.41, 0.20),
    "balance": (0.084, 0.053),
    "symmetry": (0.46, 0.29),
    "space": (0.80, 0.06),
}
"""Figure → center and spread; see `perceive` for what each is."""

_LIMIT = 3.0  # spreads beyond which more of the same changes nothing
_WIDE = 96  # pixels of a picture's width at which it is looked at
_TO_LMS = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929],
     [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
_TO_OKLAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468],
     [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]]
)  # fmt: skip


def perceive(
    image: UInt8[np.ndarray, "height width 3"], mask: UInt8[np.ndarray, "height width"]
) -> Float64[np.ndarray, " figure"]:
    """Return the standardized figures of a picture and its product's alpha, in the order of FIGURES, within ±3.

    separation: OKLab distance across the product's outline. hue agreement: cosine between the hues of product and
    surround, weighed by chroma. warmth: yellow minus blue around. key: median lightness around. texture: fine detail
    around. gaze: share of what draws the eye that lies on the product. balance: how far that is from the middle.
    symmetry: likeness of left and right. space: share of the frame without product.
    """
    raw = perceive_raw(image, mask)
    scaled = [(raw[name] - center) / spread for name, (center, spread) in FIGURES.items()]
    return np.clip(np.array(scaled), -_LIMIT, _LIMIT)


def perceive_raw(
    image: UInt8[np.ndarray, "height width 3"], mask: UInt8[np.ndarray, "height width"]
) -> dict[str, float]:
    """Return the figures in their own units. ValueError where the shapes differ."""
    if image.shape[:2] != mask.shape:
        raise ValueError(f"expected an image and a mask of one size, got {image.shape} and {mask.shape}")
    height = max(8, round(_WIDE * image.shape[0] / image.shape[1]))
    seen = _oklab(cv2.resize(image, (_WIDE, height), interpolation=cv2.INTER_AREA))
    inside = cv2.resize(mask.astype(np.float64) / 255, (_WIDE, height), interpolation=cv2.INTER_AREA)
    product, around = inside > 0.85, inside < 0.08
    if not product.any() or not around.any():
        product, around = inside >= np.median(inside), inside <= np.median(inside)
    eye = _conspicuity(seen)
    middle = np.array([(_WIDE - 1) / 2, (height - 1) / 2])
    rows, columns = np.mgrid[:height, :_WIDE]
    center = np.array([(eye * columns).sum(), (eye * rows).sum()]) / eye.sum()
    surround = seen[around].mean(0)
    light = seen[..., 0]
    mirrored = light[:, ::-1]
    spread = float(light.std() ** 2)
    return {
        "separation": _across(seen, product, around),
        "hue agreement": _hue_agreement(seen[product].mean(0), surround),
        "warmth": float(surround[2]),
        "key": float(np.median(light[around])),
        "texture": float(np.abs(light - cv2.blur(light, (3, 3)))[around].mean()),
        "gaze": float(eye[inside > 0.5].sum() / eye.sum()),
        "balance": float(np.linalg.norm((center - middle) / (_WIDE, height))),
        "symmetry": float(((light - light.mean()) * (mirrored - light.mean())).mean() / spread) if spread else 1.0,
        "space": float(1 - inside.mean()),
    }


def _oklab(picture: UInt8[np.ndarray, "height width 3"]) -> Float64[np.ndarray, "height width 3"]:
    coded = picture / 255.0
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(linear @ _TO_LMS.T) @ _TO_OKLAB.T)


def _across(seen: np.ndarray, product: np.ndarray, around: np.ndarray) -> float:
    """Mean distance of the colors just inside and just outside of the outline, place by place."""
    kernel = (9, 9)
    weights = [cv2.blur(part.astype(np.float64), kernel) for part in (product, around)]
    colors = [
        cv2.blur(seen * part[..., None], kernel) / np.maximum(weight, 1e-9)[..., None]
        for part, weight in zip((product, around), weights, strict=True)
    ]
    near = (weights[0] > 0.15) & (weights[1] > 0.15)
    return float(np.linalg.norm(colors[0] - colors[1], axis=2)[near].mean()) if near.any() else 0.0


def _hue_agreement(first: np.ndarray, second: np.ndarray) -> float:
    chromas = float(np.hypot(*first[1:]) * np.hypot(*second[1:]))
    return float(first[1:] @ second[1:]) / (chromas + 4e-4)


def _conspicuity(seen: np.ndarray) -> np.ndarray:
    """How much each place draws the eye: what differs from its wider surround, over three sizes (height, width)."""
    total = np.full(seen.shape[:2], 1e-6)
    for size in (2.0, 4.0, 8.0):
        center = cv2.GaussianBlur(seen, (0, 0), size / 2)
        wide = cv2.GaussianBlur(seen, (0, 0), 2 * size)
        total += np.linalg.norm(center - wide, axis=2)
    return np.asarray(total**2)
