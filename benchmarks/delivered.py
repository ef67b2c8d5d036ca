"""Does `gates.delivered` leave alone what was only encoded and resized again, and find what a platform changed?

    python benchmarks/delivered.py [--objects 55] [--workers 1] [--page docs/experiments/delivered.md]

One studio ad of every object of the sample catalog, delivered encoded in six ways at two of four sizes, and once with
every defect, which is encoded again as well.  The limits were set on every second object (`--explore`); the figures are
those of the other half, with 95 % intervals by bootstrap over objects.  Prints Markdown and appends one JSON row to
benchmarks/results/delivered.jsonl.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from _results import append_row, write_part
from clickscape.catalog import sample
from clickscape.gates import delivered
from clickscape.gates.delivered import Comparison
from clickscape.render import scene as scenes
from clickscape.render.scene import Scene
from clickscape.render.studio.engine import StudioRenderer
from clickscape.stats.bootstrap import ClusterBootstrap

Pixels = npt.NDArray[np.uint8]
SIZES = ((1080, 1080), (1080, 1350), (1200, 628))
"""Width and height of the approved picture, in turn: square, portrait and landscape of the placements."""
FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX)
FACTORS = (1.0, 0.75, 0.5, 0.3)
FORMATS = (("JPEG", 40), ("JPEG", 60), ("JPEG", 80), ("JPEG", 95), ("WEBP", 50), ("WEBP", 80))
RESAMPLES = 1_000


@dataclass(frozen=True, slots=True)
class Ad:
    """An approved picture, its product's mask, and how the same product looks in another color and in another scene."""

    picture: Pixels
    mask: npt.NDArray[np.bool_]
    recolored: Pixels
    other: Pixels


def random_scene(rng: np.random.Generator) -> Scene:
    """A scene of which every part is drawn by chance."""
    pick = lambda words: str(rng.choice(words))  # noqa: E731
    props = tuple(str(prop) for prop in rng.permutation(scenes.PROPS)[: rng.integers(0, 3)])
    return Scene(
        setting=pick(scenes.SETTINGS),
        surface=pick(scenes.SURFACES),
        light=pick(scenes.LIGHTS),
        stand=pick(scenes.STANDS),
        palette=pick(scenes.PALETTES),
        props=props,
    )


def draw(number: int, studio: StudioRenderer) -> Ad:
    """The ad of one object of the sample catalog, by its number."""
    rng = np.random.default_rng([0, number])
    item, size = sample.objects()[number], SIZES[number % len(SIZES)]
    first, second = rng.permutation(sample.VARIANTS)[:2]
    scene, other = random_scene(rng), random_scene(rng)
    cutouts = [sample.cutout(f"{item.object_id}-{color}", 512) for color in (first, second)]
    right = studio.compose(cutouts[0], scene, size=size, seed=number)
    return Ad(
        right.image,
        right.product_mask > 128,
        studio.compose(cutouts[1], scene, size=size, seed=number).image,
        studio.compose(cutouts[0], other, size=size, seed=number + 1).image,
    )


def encode(picture: Pixels, kind: str, quality: int) -> Pixels:
    """The picture through a lossy format, with the usual halved color resolution of a JPEG."""
    stream = io.BytesIO()
    options = {"subsampling": 2} if kind == "JPEG" else {"method": 4}
    Image.fromarray(picture).save(stream, kind, quality=quality, **options)
    return np.asarray(Image.open(stream).convert("RGB"))


def resize(picture: Pixels, factor: float, method: Image.Resampling) -> Pixels:
    """The picture at a share of its size."""
    size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
    return np.asarray(Image.fromarray(picture).resize(size, method))


def as_platform(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """Resized and encoded in one of the usual ways."""
    small = resize(picture, float(rng.choice(FACTORS[:3])), FILTERS[rng.integers(len(FILTERS))])
    return encode(small, *(("JPEG", int(rng.integers(60, 96))) if rng.random() < 0.7 else ("WEBP", 80)))


def _filtered(name: str, low: float, high: float) -> Callable[[Ad, np.random.Generator], Pixels]:
    def apply(ad: Ad, rng: np.random.Generator) -> Pixels:
        return np.asarray(getattr(ImageEnhance, name)(Image.fromarray(ad.picture)).enhance(rng.uniform(low, high)))

    return apply


def _enhanced(ad: Ad, rng: np.random.Generator) -> Pixels:  # noqa: ARG001
    return np.asarray(ImageOps.autocontrast(Image.fromarray(ad.picture), cutoff=1.0))


def _warmer(ad: Ad, rng: np.random.Generator) -> Pixels:
    gain = rng.uniform(0.05, 0.12)
    return np.clip(ad.picture * np.array([1 + gain, 1, 1 - gain]), 0, 255).astype(np.uint8)


def _text(ad: Ad, rng: np.random.Generator) -> Pixels:
    picture = Image.fromarray(ad.picture)
    width, height = picture.size
    font = ImageFont.load_default(size=round(height * rng.uniform(0.035, 0.08)))
    place = (width * rng.uniform(0.03, 0.4), height * rng.choice([rng.uniform(0.02, 0.2), rng.uniform(0.75, 0.9)]))
    color = [(255, 255, 255), (20, 20, 20), (210, 30, 40)][rng.integers(3)]
    ImageDraw.Draw(picture).text(place, "Shop now  -20%", font=font, fill=color)
    return np.asarray(picture)


def _sticker(ad: Ad, rng: np.random.Generator) -> Pixels:
    picture = Image.fromarray(ad.picture)
    width, height = picture.size
    radius = min(width, height) * rng.uniform(0.04, 0.09)
    x, y = rng.uniform(0.12, 0.88) * width, rng.uniform(0.12, 0.88) * height
    color = tuple(int(value) for value in rng.integers(0, 256, 3))
    ImageDraw.Draw(picture).ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    return np.asarray(picture)


def crop_box(ad: Ad, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Left, top, width and height of a part that lacks 5–30 % of the area, of the same or of another shape."""
    height, width = ad.picture.shape[:2]
    kept, shape = 1 - rng.uniform(0.05, 0.3), rng.uniform(0, 1)
    wide = max(kept, kept**shape)
    columns, rows = round(width * wide), round(height * kept / wide)
    left, top = rng.integers(0, width - columns + 1), rng.integers(0, height - rows + 1)
    return int(left), int(top), columns, rows


def _cropped(ad: Ad, rng: np.random.Generator) -> Pixels:
    left, top, width, height = crop_box(ad, rng)
    return ad.picture[top : top + height, left : left + width]


def _expanded(ad: Ad, rng: np.random.Generator) -> Pixels:
    height, width = ad.picture.shape[:2]
    more = rng.uniform(0.05, 0.3)
    rows, columns = (round(height * more), 0) if rng.random() < 0.5 else (0, round(width * more))
    mode = cv2.BORDER_REFLECT if rng.random() < 0.5 else cv2.BORDER_REPLICATE
    return cv2.copyMakeBorder(ad.picture, rows, rows, columns, columns, mode)


def _background(ad: Ad, rng: np.random.Generator) -> Pixels:  # noqa: ARG001
    soft = cv2.GaussianBlur(ad.mask.astype(np.float32), (0, 0), 3)[..., None]
    return np.rint(ad.picture * soft + ad.other * (1 - soft)).astype(np.uint8)


def _patched(ad: Ad, rng: np.random.Generator) -> Pixels:
    """Something of another scene beside the product, at most a tenth of the picture."""
    height, width = ad.picture.shape[:2]
    rows, columns = round(height * rng.uniform(0.12, 0.3)), round(width * rng.uniform(0.12, 0.3))
    part = (slice(0, rows), slice(0, columns))
    for _ in range(100):  # a part that lies on the product alone would change nothing
        top, left = rng.integers(0, height - rows), rng.integers(0, width - columns)
        part = (slice(top, top + rows), slice(left, left + columns))
        if ad.mask[part].mean() < 0.5:
            break
    made = ad.picture.copy()
    soft = (~ad.mask[part]).astype(np.float32)[..., None]
    made[part] = np.rint(ad.other[part] * soft + ad.picture[part] * (1 - soft)).astype(np.uint8)
    return made


def _stretched(ad: Ad, rng: np.random.Generator) -> Pixels:
    height, width = ad.picture.shape[:2]
    return np.asarray(Image.fromarray(ad.picture).resize((width, round(height * rng.uniform(0.85, 0.95)))))


DEFECTS: dict[str, tuple[Callable[[Ad, np.random.Generator], Pixels], frozenset[str]]] = {
    "brightness +8 to 20 %": (_filtered("Brightness", 1.08, 1.2), frozenset({"colors"})),
    "brightness −8 to 20 %": (_filtered("Brightness", 0.8, 0.92), frozenset({"colors"})),
    "contrast +10 to 30 %": (_filtered("Contrast", 1.1, 1.3), frozenset({"colors"})),
    "saturation +20 to 40 %": (_filtered("Color", 1.2, 1.4), frozenset({"colors"})),
    "automatic contrast": (_enhanced, frozenset({"colors"})),
    "warmer": (_warmer, frozenset({"colors"})),
    "text over it": (_text, frozenset({"product", "background"})),
    "sticker on it": (_sticker, frozenset({"product", "background"})),
    "5 to 30 % cut away": (_cropped, frozenset({"cropped"})),
    "extended": (_expanded, frozenset({"extended"})),
    "mirrored": (lambda ad, rng: np.ascontiguousarray(ad.picture[:, ::-1]), frozenset({"mirrored"})),  # noqa: ARG005
    "stretched by 5 to 15 %": (_stretched, frozenset({"stretched"})),
    "product in another color": (lambda ad, rng: ad.recolored, frozenset({"product"})),  # noqa: ARG005
    "another background": (_background, frozenset({"background", "other"})),
    "part of the background": (_patched, frozenset({"background"})),
    "another ad of the product": (lambda ad, rng: ad.other, frozenset({"other"})),  # noqa: ARG005
}
"""How each is made, and which changes name it rightly."""


@dataclass(frozen=True, slots=True)
class Row:
    """What was said of one delivered picture of an object; `named`: whether a right kind of change is among it."""

    object_id: str
    case: str
    approved: bool
    named: bool
    color: float
    largest: float
    overlap: float
    seconds: float


def measure(number: int) -> list[Row]:
    """All deliveries of one object's ad."""
    cv2.setNumThreads(1)
    ad, rows = draw(number, StudioRenderer()), []
    rng = np.random.default_rng([1, number])

    def add(case: str, picture: Pixels, right: frozenset[str], box: tuple[int, int, int, int] | None = None) -> None:
        began = time.process_time()
        found = delivered.compare(picture, ad.picture, product=ad.mask)
        took = time.process_time() - began
        named = bool(right & set(found.changes)) if right else found.approved
        overlap = np.nan if box is None else _overlap(found, box)
        largest = max((one.share for one in found.regions), default=0.0)
        item = sample.objects()[number].object_id
        rows.append(Row(item, case, found.approved, named, found.color, largest, overlap, took))

    for turn, (kind, quality) in enumerate(FORMATS):
        for factor in (FACTORS[(number // 2 + turn) % 4], FACTORS[(number // 2 + turn + 2) % 4]):
            small = resize(ad.picture, factor, FILTERS[rng.integers(len(FILTERS))]) if factor < 1 else ad.picture
            add(f"{kind} {quality}, {factor:.0%}", encode(small, kind, quality), frozenset())
    twice = encode(encode(ad.picture, "JPEG", 75), "JPEG", 60)
    add("JPEG 75, then 50 % and JPEG 60", resize(twice, 0.5, Image.Resampling.LANCZOS), frozenset())
    for case, (make, right) in DEFECTS.items():
        state = np.random.default_rng([2, number])
        box = crop_box(ad, np.random.default_rng([2, number])) if make is _cropped else None
        add(case, as_platform(make(ad, state), rng), right, box)
    return rows


def _overlap(found: Comparison, box: tuple[int, int, int, int]) -> float:
    """Intersection over union of the box that was found and the one that was cut."""
    left, top = max(found.crop[0], box[0]), max(found.crop[1], box[1])
    right = min(found.crop[0] + found.crop[2], box[0] + box[2])
    bottom = min(found.crop[1] + found.crop[3], box[1] + box[3])
    shared = max(0, right - left) * max(0, bottom - top)
    return shared / (found.crop[2] * found.crop[3] + box[2] * box[3] - shared)


def share(rows: Sequence[Row], values: Sequence[bool]) -> tuple[float, float, float]:
    """Mean with its 95 % interval by bootstrap over objects."""
    bootstrap = ClusterBootstrap.draw(
        [row.object_id for row in rows], rng=np.random.default_rng(0), resamples=RESAMPLES
    )
    clusters = bootstrap.of([row.object_id for row in rows])
    sums, counts = clusters.sums(np.array(values, float)), clusters.sums(np.ones(len(rows)))
    low, high = np.percentile(sums / np.maximum(counts, 1), (2.5, 97.5))
    return float(np.mean(values)), float(low), float(high)


def percent(value: tuple[float, float, float]) -> str:
    return "{:.1f} % [{:.1f}, {:.1f}]".format(*(100 * one for one in value))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=len(sample.objects()) // 2, help="of the half, evenly spread")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--explore", action="store_true", help="the half on which limits are chosen; writes nothing")
    parser.add_argument("--page", type=Path, help="Markdown page whose tables are to be replaced")
    arguments = parser.parse_args()
    half = range(0 if arguments.explore else 1, len(sample.objects()), 2)
    numbers = [half[place * len(half) // arguments.objects] for place in range(min(arguments.objects, len(half)))]
    with ProcessPoolExecutor(arguments.workers) as pool:
        rows = [row for some in pool.map(measure, numbers) for row in some]
    right = [row for row in rows if row.case not in DEFECTS]
    lines = ["| delivered | pictures | said to be altered |", "| --- | --- | --- |"]
    ways = [f"{kind} {quality}" for kind, quality in FORMATS]
    groups = {f"{way}, all sizes": [row for row in right if row.case.startswith(f"{way},")] for way in ways}
    sizes = [f"{factor:.0%}" for factor in FACTORS]
    groups |= {f"at {size}, all formats": [row for row in right if row.case.endswith(f", {size}")] for size in sizes}
    groups |= {"JPEG 75, then 60, at 50 %": [row for row in right if "then" in row.case], "all": right}
    made: dict[str, object] = {}
    for name, some in groups.items():
        made[name] = share(some, [not row.approved for row in some])
        lines.append(f"| {name} | {len(some)} | {percent(made[name])} |")  # type: ignore[arg-type]
    lines += ["", "| changed | pictures | found | and rightly named |", "| --- | --- | --- | --- |"]
    for case in DEFECTS:
        some = [row for row in rows if row.case == case]
        found = share(some, [not row.approved for row in some])
        named = share(some, [row.named for row in some])
        made[case] = {"found": found, "named": named}
        lines.append(f"| {case} | {len(some)} | {percent(found)} | {percent(named)} |")
    overlaps = [row.overlap for row in rows if np.isfinite(row.overlap)]
    seconds = [row.seconds for row in rows]
    made |= {"crop overlap": [float(np.median(overlaps)), float(min(overlaps))], "seconds": float(np.mean(seconds))}
    lines += [
        "",
        f"The box of a crop overlaps the true one by {np.median(overlaps):.1%} (median; worst: {min(overlaps):.1%}).",
        f"A comparison takes {np.mean(seconds):.2f} CPU-seconds (longest: {max(seconds):.2f}).",
    ]
    print("\n".join(lines))
    if arguments.explore:
        for case in sorted({row.case for row in right}) + list(DEFECTS):
            some = [row for row in rows if row.case == case]
            color, largest = (
                np.quantile(values, [0, 0.5, 0.9, 1]).round(5)
                for values in ([row.color for row in some], [row.largest for row in some])
            )
            print(f"{case:34} color {color} largest region {largest} approved {sum(row.approved for row in some)}")
        return
    append_row({"objects": len(numbers), **made}, by="delivered")
    if arguments.page:
        write_part(arguments.page, "\n".join(lines), by="delivered")


if __name__ == "__main__":
    main()
