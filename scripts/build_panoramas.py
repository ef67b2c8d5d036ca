"""Make the studio's backdrops from HDR panoramas of Poly Haven (CC0): the band that is seen, leveled, 8 bits, WebP.

    python scripts/build_panoramas.py FOLDER

FOLDER holds the .hdr files named in SOURCES, 360° wide at 1,024 pixels or more, as polyhaven.com/a/NAME offers them;
those called "band" are the band alone, as this project's first version kept it. Light is stored as the cube root of its
share of `backdrop.BRIGHTEST`: backdrops are only ever seen blurred, which hides the steps of eight bits and keeps
highlights brighter than white.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from clickscape.render.color import Floats, hex_to_linear
from clickscape.render.studio.backdrop import BAND, BRIGHTEST, TOP

ASSETS = Path(__file__).parent.parent / "src/clickscape/render/studio/assets/panoramas"
COLUMNS = 1024
LEVEL = 0.45  # light of the 60th percentile of the band without its lowest tenth
QUALITY = 86  # of the WebP


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    folder = arguments.parse_args().folder
    ASSETS.mkdir(exist_ok=True)
    for name, (source, change) in SOURCES.items():
        light = change(_band(folder / f"{source}.hdr"))
        stored = np.cbrt(np.clip(light / BRIGHTEST, 0, 1)) * 255
        cv2.imwrite(
            str(ASSETS / f"{name}.webp"),
            np.rint(stored[..., ::-1]).astype(np.uint8),
            [cv2.IMWRITE_WEBP_QUALITY, QUALITY],
        )


def _band(path: Path) -> Floats:
    """Linear light (row, COLUMNS, 3), RGB, from TOP degrees down; well-lit parts are about LEVEL."""
    picture = cv2.imread(str(path), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    if picture is None:
        raise SystemExit(f"{path}: no such panorama. Download it from polyhaven.com/a/{path.stem} as HDR.")
    rows, columns = picture.shape[:2]
    if rows * 2 == columns:
        picture = picture[round(rows * (90 - TOP) / 180) : round(rows * (90 - TOP + BAND) / 180)]
    size = (COLUMNS, round(COLUMNS * BAND / 360))
    light = cv2.resize(picture[..., ::-1], size, interpolation=cv2.INTER_AREA if columns > COLUMNS else cv2.INTER_CUBIC)
    level = float(np.percentile(light[: int(len(light) * 0.9)].mean(2), 60))
    return np.maximum(light * np.float32(LEVEL / level), 0)


def _elevation(light: Floats) -> Floats:
    """Degrees above the horizon of each row, (row, 1)."""
    return np.asarray(TOP - (np.arange(len(light), dtype=np.float32)[:, None] + 0.5) * BAND / len(light), np.float32)


def _snowed_in(light: Floats) -> Floats:
    """Winter: what is green and yellow on the ground turns white, the trees lose their color, the sky turns pale."""
    gray = light.mean(2, keepdims=True)
    ground = np.clip((1.5 - _elevation(light)) / 3, 0, 1)[..., None] * np.clip((gray - 0.07) / 0.1, 0, 1)
    relief = gray / np.maximum(cv2.GaussianBlur(gray, (0, 0), 12)[..., None], 1e-3)
    snow = hex_to_linear("#eef3fa") * np.float32(0.86) * np.clip(relief, 0.8, 1.15) ** 0.6
    pale = (gray + (light - gray) * 0.3) * hex_to_linear("#eef4ff")
    pale = np.minimum(pale, 1.2) * 0.95 + 0.12 * hex_to_linear("#dce8f8")
    return np.asarray(pale * (1 - ground) + snow * ground, np.float32)


def _at_night(light: Floats) -> Floats:
    """Deep night with what lamps light kept; lamps, signs and cars far off become discs once the lens is open."""
    rng = np.random.default_rng(12)
    light = light * hex_to_linear("#ffd9ae") * np.float32(0.55)
    sky = np.clip((_elevation(light) - 6) / 12, 0, 1)[..., None]
    light = light * (1 - 0.8 * sky) + hex_to_linear("#10142c") * sky
    colors = ("#ffb45c", "#ffcf8a", "#ffd9a8", "#ff5a3c", "#58c8ff", "#ff5fae")
    return _with_lamps(light, rng, colors, count=420, low=-5.0, high=16.0)


def _festive(light: Floats) -> Floats:
    """An evening room: warm and dim, with garlands of bulbs on its walls."""
    warm = np.minimum(light, 1.4) * hex_to_linear("#ffb27a") * np.float32(0.42)
    return _with_lamps(
        warm, np.random.default_rng(13), ("#ffcf7a", "#ffd9a0", "#ffe6bc"), count=520, low=-8.0, high=34.0
    )


def _with_lamps(
    light: Floats, rng: np.random.Generator, colors: tuple[str, ...], *, count: int, low: float, high: float
) -> Floats:
    rows, columns = light.shape[:2]
    for _ in range(count):
        up = low + (high - low) * rng.beta(1.1, 1.9)
        place = (int(rng.integers(columns)), round((TOP - up) / BAND * rows))
        color = hex_to_linear(colors[rng.integers(len(colors))]) * rng.uniform(3, BRIGHTEST)
        cv2.circle(light, place, 1, color.tolist(), -1, cv2.LINE_AA)
    return light


def _unchanged(light: Floats) -> Floats:
    return light


SOURCES: dict[str, tuple[str, Callable[[Floats], Floats]]] = {
    "beach": ("beach_band", _unchanged),
    "cafe": ("leadenhall_market_1k", _unchanged),
    "city": ("potsdamer_platz_1k", _unchanged),
    "courtyard": ("courtyard_band", _unchanged),
    "desert": ("kiara_1_dawn_1k", _unchanged),
    "festive": ("christmas_photo_studio_07_1k", _festive),
    "forest": ("forest_slope_1k", _unchanged),
    "kitchen": ("brown_photostudio_02_1k", _unchanged),
    "living-room": ("brown_photostudio_01_1k", _unchanged),
    "meadow": ("rooitou_park_1k", _unchanged),
    "night-city": ("st_peters_square_night_1k", _at_night),
    "pond": ("chinese_garden_1k", _unchanged),
    "snow": ("immenstadter_horn_1k", _snowed_in),
    "workshop": ("aerodynamics_workshop_1k", _unchanged),
}
"""Panorama → the file that it comes from, and what becomes of its light."""


if __name__ == "__main__":
    main()
