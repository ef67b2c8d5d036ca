"""Product photographs with known mattes, for benchmarks/cutouts.py: drawn, so that the truth is exact.

The objects of the sample catalog, in their own color, in others and in a near-white, stand on the backgrounds that
shops use, with contact shadows, cast shadows and reflections, saved as PNG or JPEG.  Thin things and glass are drawn
here.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clickscape.catalog import sample
from clickscape.catalog.recolor import recolor

Half = Literal["tune", "report"]
Floats = NDArray[np.float32]

BACKGROUNDS = ("white", "off-white", "light gray", "colored", "gradient", "texture")
SPECIAL = ("mottled", "pure color", "touching", "holes", "thin", "glass")
KINDS = (*BACKGROUNDS, *SPECIAL)
LIGHTS = ("none", "contact", "cast", "reflection")
PALE = (246, 245, 242)
THIN_OBJECTS = frozenset({"bicycle"})  # the catalog's other slim things are drawn stout, and its glasses opaque
HOLES = ("amphora_vase", "coffee_mug", "g_clamp", "handbag", "headphones", "ladder", "scissors", "teapot", "yo_yo")
_COLORS = ("original", "original", "pale", "pale", "charcoal", "crimson", "lemon", "navy", "sky")
_SIDES = (300, 500, 800, 1200)
_PURE = ((255, 255, 0), (255, 0, 0), (0, 255, 255), (255, 0, 255), (0, 255, 0), (0, 0, 255), (255, 128, 0), (0, 0, 0))


@dataclass(frozen=True, eq=False)
class Thing:
    """What is photographed, each (height, width): its silhouette, how much it hides, and its color (…, 3) 0..255."""

    cover: Floats
    opacity: Floats
    color: Floats


@dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph uint8 (height, width, 3), its true matte 0..1, and the shade 0..1 that lies beside the product.

    ``color``: the product's own, uint8 (height, width, 3), where the matte is above 0: what a perfect cut-out shows.

    ``group`` is the object: photographs of one object are not independent.
    """

    name: str
    group: str
    kind: str
    light: str
    pixels: NDArray[np.uint8]
    alpha: Floats
    shade: Floats
    color: NDArray[np.uint8]
    thin: bool
    glass: bool


def photographs(half: Half, *, backgrounds: int = 2) -> Iterator[Photograph]:
    """Every object of one half before so many of the six backgrounds, and what is special about products.

    The halves share no object and no random number.
    """
    names = sorted(item.object_id for item in sample.objects())[0 if half == "tune" else 1 :: 2]
    seed = {"tune": 1, "report": 2}[half]
    for index, name in enumerate(names):
        for turn in range(backgrounds):
            number = (index + 3 * turn + turn // 2) % len(BACKGROUNDS)
            rng = np.random.default_rng([seed, index, number])
            yield _of_object(name, BACKGROUNDS[number], BACKGROUNDS[number], rng)
        if index % 2 == 0:
            yield _of_object(name, "touching", "white", np.random.default_rng([seed, index, 90]), touching=True)
        for number in range(3 if name in HOLES else 0):
            yield _of_object(name, "holes", BACKGROUNDS[number], np.random.default_rng([seed, index, 91 + number]))
    for index, color in enumerate(_PURE):
        for form in ("square", "disc"):
            rng = np.random.default_rng([seed, 1000 + index])
            thing = _plain(form, color)
            yield _draw(thing, f"{form} {color}", f"pure {index}", "pure color", "white", rng, light="none")
    for index in range(24):
        rng = np.random.default_rng([seed, 2000 + index])
        drawn = list(_THIN)[index % len(_THIN)]
        yield _draw(_THIN[drawn](rng), drawn, f"thin {index}", "thin", BACKGROUNDS[index % 6], rng, thin=True)
    for index in range(24):
        rng = np.random.default_rng([seed, 3000 + index])
        drawn = list(_PROFILES)[index % len(_PROFILES)]
        background = BACKGROUNDS[index % 6]
        yield _draw(_glass(drawn, rng), f"glass {drawn}", f"glass {index}", "glass", background, rng, glass=True)


def composites(half: Half, folder: Path) -> Iterator[Photograph]:
    """Transparent product photos of a folder before eleven backgrounds each; the halves share no product.

    A soft shadow in a photo's alpha is left out: the product is where alpha is near 1 and connected.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix in (".webp", ".png"))
    groups = sorted({_product_of(file) for file in files})
    for index, file in enumerate(files):
        if groups.index(_product_of(file)) % 2 == (half == "report"):
            thing = _photographed(file)
            for turn, background in enumerate((*BACKGROUNDS, "white", "off-white", "white", "light gray", "mottled")):
                rng = np.random.default_rng([5, index, turn])
                kind, touching = ("touching", True) if 8 <= turn < 10 else (background, False)
                yield _draw(thing, file.stem, _product_of(file), kind, background, rng, touching=touching)


def _product_of(file: Path) -> str:
    """The product that a file shows: its name without the number of the view."""
    return file.stem.rstrip("-_0123456789")


def _photographed(file: Path) -> Thing:
    with Image.open(file) as picture:
        pixels = np.asarray(picture.convert("RGBA"))
    alpha = pixels[..., 3].astype(np.float32) / 255
    count, labels, statistics, _ = cv2.connectedComponentsWithStats((alpha > 0.75).astype(np.uint8))
    areas = statistics[1:, cv2.CC_STAT_AREA]
    parts = [part for part in range(1, count) if areas[part - 1] > 0.02 * areas.max()]
    near = cv2.dilate(np.isin(labels, parts).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    cover = np.where(near, alpha, 0).astype(np.float32)
    rows, columns = np.flatnonzero((cover > 0.5).any(1)), np.flatnonzero((cover > 0.5).any(0))
    inside = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return Thing(cover[inside], cover[inside], pixels[inside][..., :3].astype(np.float32))


def _of_object(
    name: str, kind: str, background: str, rng: np.random.Generator, *, touching: bool = False
) -> Photograph:
    color = str(rng.choice(_COLORS))
    if color == "pale":
        picture = recolor(
            sample.cutout(f"{name}-original", 640), source=sample.object_of(f"{name}-original").hero_rgb, target=PALE
        )
    else:
        picture = sample.cutout(f"{name}-{color}", 640)
    cover = picture[..., 3].astype(np.float32) / 255
    thing = Thing(cover, cover, picture[..., :3].astype(np.float32))
    return _draw(
        thing, f"{name}-{color}", name, kind, background, rng, touching=touching, thin=name in THIN_OBJECTS
    )  # fmt: skip


def _draw(
    thing: Thing,
    name: str,
    group: str,
    kind: str,
    background: str,
    rng: np.random.Generator,
    *,
    light: str | None = None,
    touching: bool = False,
    thin: bool = False,
    glass: bool = False,
) -> Photograph:
    """The thing photographed: placed, lit, put on its background, and saved as a shop would."""
    side = int(rng.choice(_SIDES))
    aspect = float(rng.choice((0.8, 1.0, 1.0, 1.25)))
    width, height = round(side * min(1, aspect)), round(side * min(1, 1 / aspect))
    light = light or str(rng.choice(LIGHTS))
    fill = float(rng.uniform(0.5, 0.74 if light in ("cast", "reflection") else 0.88))
    scale = fill * min(width / thing.cover.shape[1], height / thing.cover.shape[0])
    size = (max(1, round(thing.cover.shape[1] * scale)), max(1, round(thing.cover.shape[0] * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    covers = cv2.resize(np.dstack([thing.cover, thing.opacity]), size, interpolation=way)
    layers = np.dstack([covers, cv2.resize(thing.color * thing.cover[..., None], size, interpolation=way)])
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    if light in ("cast", "reflection"):
        top = max(0, top - round(0.06 * height))
    if touching:
        shift = round(size[0] * 0.2)
        left = -shift if rng.random() < 0.5 else width - size[0] + shift
    canvas = np.zeros((height, width, 5), np.float32)
    shown = slice(max(0, -left), min(size[0], width - left))
    canvas[top : top + size[1], max(0, left) : left + shown.stop] = layers[:, shown]
    cover, opacity, color = canvas[..., 0], canvas[..., 1], canvas[..., 2:]

    ground = _background(background, (height, width), rng)
    foot = top + size[1]
    shade = _shadow(cover * (0.35 if glass else 1), light, foot, size, rng)
    ground = ground * (1 - shade[..., None])
    beside = shade
    if light == "reflection":
        mirrored, strength = _reflection(opacity, color, foot, rng)
        ground = ground * (1 - strength[..., None]) + mirrored
        beside = np.maximum(shade, strength)
    solid = np.divide(color, np.maximum(cover, 1e-3)[..., None])
    picture = ground * (1 - opacity[..., None]) + solid * opacity[..., None]
    if background != "white":
        picture = picture + rng.normal(0, rng.uniform(0.3, 1.8), picture.shape[:2]).astype(np.float32)[..., None]
    pixels = _saved(np.clip(np.rint(picture), 0, 255).astype(np.uint8), background, rng)
    own = np.clip(np.rint(solid), 0, 255).astype(np.uint8)
    return Photograph(name, group, kind, light, pixels, cover, beside, own, thin, glass)


def _background(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    height, width = shape
    if kind == "white":
        return np.full((height, width, 3), 255, np.float32)
    level = rng.uniform(*{"off-white": (242, 253), "light gray": (200, 236)}.get(kind, (205, 248)))
    color = np.clip(level + rng.uniform(-3, 3, 3), 0, 254)
    if kind == "colored":
        hsv = np.float32([[[rng.uniform(0, 360), rng.uniform(0.12, 0.65), rng.uniform(0.35, 0.95)]]])
        color = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0] * 255
    plain = np.broadcast_to(np.float32(color), (height, width, 3)).copy()
    down, across = np.linspace(-0.5, 0.5, height, dtype=np.float32), np.linspace(-0.5, 0.5, width, dtype=np.float32)
    if kind == "gradient":
        angle, amount = rng.uniform(0, 2 * np.pi), rng.uniform(12, 55)
        ramp = amount * (np.sin(angle) * down[:, None] + np.cos(angle) * across[None])
        vignette = rng.uniform(0, 45) * (down[:, None] ** 2 + across[None] ** 2) * 2
        plain += (ramp - vignette)[..., None]
    elif kind == "texture":
        coarse = cv2.resize(rng.normal(0, 1, (9, 9)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        weave = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 1.2)
        plain += (rng.uniform(1, 4) * coarse + rng.uniform(3, 9) * weave)[..., None]
    elif kind == "mottled":  # dark stone, slate, a painted canvas
        stone = np.full((height, width), rng.uniform(45, 110), np.float32)
        for cells, amount in ((5, 12), (12, 8), (40, 6)):
            spots = rng.normal(0, amount, (cells, cells)).astype(np.float32)
            stone += cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC)
        plain = stone[..., None] * (1 + rng.uniform(-0.05, 0.05, 3).astype(np.float32))
    return np.clip(plain, 0, 255)


def _shadow(cover: Floats, light: str, foot: int, size: tuple[int, int], rng: np.random.Generator) -> Floats:
    """How much light the product takes from the ground, 0..1."""
    shade = np.zeros_like(cover)
    if light == "none":
        return shade
    flat = rng.uniform(0.03, 0.07)  # the product pressed flat on the ground: its contact
    matrix = np.float32([[1, 0, 0], [0, flat, foot * (1 - flat)]])
    contact = cv2.warpAffine(cover, matrix, cover.shape[::-1], flags=cv2.INTER_AREA)
    contact = cv2.GaussianBlur(contact, (0, 0), max(1.0, 0.018 * max(size)))
    shade = contact * np.float32(rng.uniform(0.25, 0.6) * (0.5 if light == "reflection" else 1))
    if light == "cast":
        lean, length = rng.uniform(-0.9, 0.9), rng.uniform(0.18, 0.4)
        matrix = np.float32([[1, -lean * length, lean * length * foot], [0, length, foot * (1 - length)]])
        cast = cv2.warpAffine(cover, matrix, cover.shape[::-1], flags=cv2.INTER_LINEAR)
        cast = cv2.GaussianBlur(cast, (0, 0), rng.uniform(0.015, 0.05) * max(size))
        shade = 1 - (1 - shade) * (1 - cast * np.float32(rng.uniform(0.15, 0.42)))
    return shade


def _reflection(opacity: Floats, color: Floats, foot: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The product upside down below its foot, fading: color already multiplied, and its strength 0..1."""
    matrix = np.float32([[1, 0, 0], [0, -1, 2 * foot - 1]])
    upside = cv2.warpAffine(np.dstack([opacity, color]), matrix, opacity.shape[::-1])
    below = (np.arange(opacity.shape[0], dtype=np.float32) - foot) / max(1, opacity.shape[0])
    fade = np.where(below >= 0, rng.uniform(0.12, 0.35) * np.clip(1 - below / rng.uniform(0.1, 0.25), 0, 1), 0)
    upside = cv2.GaussianBlur(upside, (0, 0), 1.0) * fade.astype(np.float32)[:, None, None]
    return upside[..., 1:], upside[..., 0]


def _saved(pixels: NDArray[np.uint8], background: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture as it comes back from its file: PNG, or JPEG of quality 75 to 95."""
    if rng.random() < (0.5 if background == "white" else 0.25):
        return pixels
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=int(rng.integers(75, 91 if background != "white" else 96)))
    return np.asarray(Image.open(buffer).convert("RGB"))


def _plain(form: str, color: tuple[int, int, int]) -> Thing:
    cover = np.ones((400, 400), np.float32)
    if form == "disc":
        cover = cv2.circle(np.zeros((1600, 1600), np.uint8), (800, 800), 798, 255, -1).astype(np.float32) / 255
        cover = cv2.resize(cover, (400, 400), interpolation=cv2.INTER_AREA)
    return Thing(cover, cover, np.broadcast_to(np.float32(color), (400, 400, 3)))


def _lines(strokes: list[NDArray[np.float64]], thickness: float, rng: np.random.Generator, *, beads: bool) -> Thing:
    """Open or closed strokes (points in the unit square) in metal or dark plastic, lit from above."""
    side, fine = 600, 1800
    big = np.zeros((fine, fine), np.uint8)
    width = max(3, round(thickness * fine))
    for stroke in strokes:
        points = np.rint(stroke * fine).astype(np.int32)
        if beads:
            for x, y in points:
                cv2.circle(big, (int(x), int(y)), width // 2, 255, -1, cv2.LINE_AA)
        else:
            cv2.polylines(big, [points], False, 255, width, cv2.LINE_AA)
    cover = cv2.resize(big, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
    cover = np.ascontiguousarray(cover[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    base = np.float32([(212, 175, 55), (170, 172, 178), (40, 36, 34), (150, 40, 60)][int(rng.integers(4))])
    shine = cv2.GaussianBlur(cover, (0, 0), 3)[..., None]
    return Thing(cover, cover, np.clip(base * (0.65 + 0.5 * shine), 0, 255))


def _ring(x: float, y: float, radius: float, *, squeeze: float = 1.0) -> NDArray[np.float64]:
    turn = np.linspace(0, 2 * np.pi, 180)
    return np.stack([x + radius * np.cos(turn), y + radius * squeeze * np.sin(turn)], 1)


def _spectacles(rng: np.random.Generator) -> Thing:
    strokes = [_ring(0.28, 0.5, 0.17, squeeze=0.8), _ring(0.72, 0.5, 0.17, squeeze=0.8)]
    strokes += [np.array([[0.45, 0.47], [0.5, 0.45], [0.55, 0.47]]), np.array([[0.11, 0.47], [0.04, 0.42]])]
    return _lines([*strokes, np.array([[0.89, 0.47], [0.96, 0.42]])], rng.uniform(0.008, 0.016), rng, beads=False)


def _necklace(rng: np.random.Generator) -> Thing:
    across = np.linspace(0.12, 0.88, int(rng.integers(50, 90)))
    chain = np.stack([across, 0.1 + 0.7 * (1 - ((across - 0.5) / 0.38) ** 2)], 1)
    return _lines([chain, _ring(0.5, 0.85, 0.04)], rng.uniform(0.010, 0.016), rng, beads=True)


def _hanger(rng: np.random.Generator) -> Thing:
    bow = np.array([[0.5, 0.4], [0.1, 0.62], [0.9, 0.62], [0.5, 0.4], [0.5, 0.32]])
    hook = _ring(0.5, 0.27, 0.05)[:135]
    return _lines([bow, hook], rng.uniform(0.009, 0.018), rng, beads=False)


def _bangle(rng: np.random.Generator) -> Thing:
    return _lines([_ring(0.5, 0.5, 0.38, squeeze=rng.uniform(0.5, 1))], rng.uniform(0.012, 0.022), rng, beads=False)


_THIN = {"spectacles": _spectacles, "necklace": _necklace, "hanger": _hanger, "bangle": _bangle}
# half widths of glass vessels from their rim to their foot
_PROFILES = {
    "tumbler": [(0, 0.30), (1, 0.24)],
    "wine glass": [(0, 0.22), (0.25, 0.28), (0.5, 0.16), (0.56, 0.03), (0.93, 0.03), (0.96, 0.22), (1, 0.24)],
    "vase": [(0, 0.16), (0.2, 0.1), (0.6, 0.28), (1, 0.18)],
    "bottle": [(0, 0.07), (0.3, 0.07), (0.45, 0.2), (1, 0.2)],
}


def _glass(name: str, rng: np.random.Generator) -> Thing:
    """A glass vessel: the background shows through; rim and foot are gray, and a window shines in it."""
    side = 600
    profile = np.array(_PROFILES[name])
    down = np.linspace(0, 1, side)
    half = np.interp(down, profile[:, 0], profile[:, 1])[:, None] * side
    across = np.abs(np.arange(side)[None] - side / 2 + 0.5)
    cover = np.clip(half - across + 0.5, 0, 1).astype(np.float32)
    depth = cv2.distanceTransform((cover > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    rim = np.exp(-((depth / (0.012 * side)) ** 2)) * rng.uniform(0.35, 0.75)
    foot = np.clip((down[:, None] - 0.93) / 0.07, 0, 1) * 0.25
    streak = np.exp(-(((np.arange(side)[None] - side / 2) / np.maximum(half, 1) + 0.5) ** 2) / 0.006)
    streak = streak * (0.35 + 0.25 * np.sin(down * 9))[:, None]
    dark = np.clip(rim + foot + rng.uniform(0.02, 0.08), 0, 1)
    opacity = np.clip(dark + streak, 0, 1)
    color = (dark[..., None] * np.float32([112, 120, 124]) + streak[..., None] * 255) / np.maximum(
        dark + streak, 1e-3
    )[..., None]  # fmt: skip
    columns = np.flatnonzero(cover.any(0))
    inside = (slice(None), slice(columns[0], columns[-1] + 1))
    return Thing(
        cover[inside].copy(), (opacity * cover)[inside].astype(np.float32), color[inside].astype(np.float32)
    )  # fmt: skip
