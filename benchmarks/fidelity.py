"""Does the fidelity gate find what is wrong, and leave alone what is right?  Precision and recall by defect.

    python benchmarks/fidelity.py [--scenes 80] [--side 512]
        [--page docs/experiments/fidelity.md --picture docs/pictures/fidelity.webp]

Five studio pictures of every scene are right, three of them are made wrong in every way. Half of the objects choose the
limits; the figures are those of the gate's own limits on the other half, with 95 % intervals by bootstrap over objects.
Prints a table and appends one JSON row to benchmarks/results/fidelity.jsonl.
"""

from __future__ import annotations

import argparse
import io
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

import _defects as defects
from _defects import DEFECTS, Picture, Right
from _results import append_row
from clickscape.catalog import sample
from clickscape.gates import contact_shadow, edge, extension, fidelity, outline, surround
from clickscape.gates.fidelity import Limits, Measures
from clickscape.gates.result import Kind
from clickscape.render import scene as scenes
from clickscape.render.scene import Scene
from clickscape.render.studio.engine import StudioRenderer
from clickscape.stats.bootstrap import ClusterBootstrap

RIGHT_PER_SCENE, SPOILED_PER_SCENE = 5, 3
FALSE_ALARMS = {"edge": 0.01, "seam": 0.01, "extension": 0.01, "contact_shadow": 0.03,
                "lost": 0.01, "clutter": 0.01}  # fmt: skip
"""Share of right pictures that each limit may cost, when limits are chosen; the other measures are exact."""
TRIES = 4
TABLE = ("<!-- written by benchmarks/fidelity.py -->", "<!-- until here -->")
CODINGS = (("JPEG", 90), ("JPEG", 95), ("JPEG", 98), ("JPEG", 100), ("WEBP", 90), ("WEBP", 95), ("WEBP", 100))
UPWARD = ("altered", "edge", "seam", "extension", "lost", "clutter")
"""Measures that must stay below their limit; the others must stay above it."""
MEASURE_OF: dict[Kind, str] = {
    "altered": "altered", "edge": "edge", "seam": "seam", "extended": "extension",
    "floating": "contact_shadow", "out_of_frame": "room", "too_small": "extent",
    "blends_in": "lost", "clutter": "clutter",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One judged picture: its object, the defect ("" for a right one), and the measure that should tell."""

    object_id: str
    defect: str
    measures: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One right picture of an object; `again` draws it with another seed; `corruptible` if it is made wrong, too."""

    object_id: str
    number: int
    picture: Picture
    again: Callable[[int], Picture]
    corruptible: Right | None


def chosen_scene(number: int, rng: np.random.Generator) -> Scene:
    """All settings with all lights and stands in turn; the rest by chance."""
    return Scene(
        setting=scenes.SETTINGS[number % len(scenes.SETTINGS)],
        surface=scenes.SURFACES[number % len(scenes.SURFACES)],
        light=scenes.LIGHTS[number % len(scenes.LIGHTS)],
        stand=scenes.STANDS[(number // len(scenes.SETTINGS)) % len(scenes.STANDS)],
        palette=str(rng.choice(scenes.PALETTES)),
        props=tuple(str(prop) for prop in rng.permutation(scenes.PROPS)[: rng.integers(0, 3)]),
    )


def draw(count: int, *, side: int) -> Iterator[Drawn]:
    """`count` scenes with five products each: every object in every department comes up, in changing colors."""
    rng = np.random.default_rng(0)
    studio, objects = StudioRenderer(), sample.objects()
    order = rng.permutation(len(objects))
    for number in range(count * RIGHT_PER_SCENE):
        place, turn = divmod(number, RIGHT_PER_SCENE)
        if turn == 0:
            scene = chosen_scene(place, rng)
        object_id = objects[order[number % len(objects)]].object_id
        color = sample.VARIANTS[(number + number // len(objects)) % len(sample.VARIANTS)]
        cutout = sample.cutout(f"{object_id}-{color}", side)

        def shot(piece: npt.NDArray[np.uint8], *, scene: Scene = scene, seed: int = place) -> Picture:
            made = studio.compose(piece, scene, size=(side, side), seed=seed)
            return Picture(made.image, made.product)

        picture, corruptible = shot(cutout), None
        if turn < SPOILED_PER_SCENE:
            corruptible = Right(
                picture,
                plate=shot(defects.ghost(cutout)).image,
                raised=defects.without_specks(shot(defects.raised(cutout, rng.uniform(0.02, 0.12)))),
            )
        again = partial(lambda seed, piece, where: shot(piece, scene=where, seed=seed), piece=cutout, where=scene)
        yield Drawn(object_id, number, picture, again, corruptible)


def told(kind: str, picture: Picture) -> dict[str, float | None]:
    """Only the measure that should tell a defect of that kind: the whole gate on all would take minutes more."""
    if kind == "altered":
        return {"altered": fidelity.count_differing(picture.image, picture.product)}
    if kind in ("out_of_frame", "too_small"):
        return {"room": fidelity.room(picture.product, Limits().safe_zone), "extent": fidelity.extent(picture.product)}
    shown, placed = fidelity.at_working_size(picture.image, picture.product)
    if kind == "extended":
        return {"extension": extension.extension_share(shown, placed)}
    if kind == "floating":
        return {"contact_shadow": contact_shadow.measure_contact_shadow(shown, placed)}
    outlines = outline.unroll(shown, placed)
    if kind in ("blends_in", "clutter"):
        return asdict(surround.measure_surround(shown, placed, outlines))
    return {"edge": edge.edge_difference(outlines), "seam": edge.seam_step(outlines)}


def caught(kind: Kind, measures: dict[str, npt.NDArray[np.float64]], limits: dict[str, float]) -> npt.NDArray[np.bool_]:
    """Which pictures fail for that kind; a rim and a seam are both an edge that is not clean."""
    names = ("edge", "seam") if kind in ("edge", "seam") else (MEASURE_OF[kind],)
    wrong = [measures[n] > limits[n] if n in UPWARD else measures[n] < limits[n] for n in names if n in measures]
    return np.logical_or.reduce(wrong)


def as_arrays(rows: list[Row]) -> dict[str, npt.NDArray[np.float64]]:
    return {name: np.array([row.measures[name] for row in rows], float) for name in rows[0].measures}


def own_limits() -> dict[str, float]:
    """The gate's limits, by measure."""
    limits = Limits()
    return {
        "altered": 0.0, "edge": limits.edge, "seam": limits.seam, "extension": limits.extension,
        "contact_shadow": limits.contact_shadow, "room": 0.0, "extent": limits.extent,
        "lost": limits.blending, "clutter": limits.clutter,
    }  # fmt: skip


def choose(rows: list[Row], usual: dict[str, float]) -> dict[str, float]:
    """The tightest limits that cost at most FALSE_ALARMS of the right pictures; exact ones stay as they are."""
    measures = as_arrays([row for row in rows if not row.defect])
    shares = {name: 1 - share if name in UPWARD else share for name, share in FALSE_ALARMS.items()}
    return usual | {name: float(np.nanquantile(measures[name], share)) for name, share in shares.items()}


def scores(rows: list[Row], limits: dict[str, float], *, rounds: int = 1000) -> dict[str, dict[str, list[float]]]:
    """Precision and recall, each (value, low, high), of every defect against the right pictures."""
    right = [row for row in rows if not row.defect]
    bootstrap = ClusterBootstrap.draw([row.object_id for row in rows], rng=np.random.default_rng(0), resamples=rounds)

    def summed(some: list[Row], hits: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """The sum itself, then that of every resample."""
        return np.append(hits.sum(), bootstrap.of([row.object_id for row in some]).sums(hits))

    made: dict[str, dict[str, list[float]]] = {}
    for defect, (kind, _) in DEFECTS.items():
        wrong = [row for row in rows if row.defect == defect]
        found = summed(wrong, caught(kind, as_arrays(wrong), limits))
        alarms = summed(right, caught(kind, as_arrays(right), limits))
        everything = summed(wrong, np.ones(len(wrong), bool))
        precision, recall = found / np.maximum(found + alarms, 1), found / np.maximum(everything, 1)
        made[defect] = {
            "count": [float(len(wrong))],
            **{
                name: [float(values[0]), *(float(v) for v in np.percentile(values[1:], (2.5, 97.5)))]
                for name, values in (("precision", precision), ("recall", recall))
            },
        }
    failed = np.logical_or.reduce([caught(kind, as_arrays(right), limits) for kind in MEASURE_OF])
    share = summed(right, failed) / summed(right, np.ones(len(right), bool))
    made["right, yet failed"] = {
        "count": [float(len(right))],
        "share": [float(share[0]), *(float(v) for v in np.percentile(share[1:], (2.5, 97.5)))],
    }
    return made


def after_encoding(pictures: list[Picture]) -> dict[str, list[float]]:
    """By coding: median and largest 99th percentile of ΔE2000 on the product, and the share of pictures at most 1."""
    made = {}
    for name, quality in CODINGS:
        errors = []
        for picture in pictures:
            stream = io.BytesIO()
            options = {"subsampling": 0} if name == "JPEG" else {"method": 4}
            Image.fromarray(picture.image).save(stream, name, quality=quality, **options)
            errors.append(fidelity.color_error(np.asarray(Image.open(stream).convert("RGB")), picture.product))
        made[f"{name} {quality}"] = [
            float(np.median(errors)),
            float(max(errors)),
            float(np.mean(np.array(errors) <= 1)),
        ]
    return made


def montage(examples: dict[str, Picture], path: Path) -> None:
    """One example per defect, a right picture first, at most 200 KB."""
    tiles = []
    for name, picture in examples.items():
        side = 224
        scale = side / max(picture.image.shape[:2])
        size = (round(picture.image.shape[1] * scale), round(picture.image.shape[0] * scale))
        tile = np.full((side + 24, side, 3), 255, np.uint8)
        small = cv2.resize(picture.image, size, interpolation=cv2.INTER_AREA)
        tile[24 : 24 + size[1], : size[0]] = small
        cv2.putText(tile, name, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (20, 20, 20), 1, cv2.LINE_AA)
        tiles.append(cv2.copyMakeBorder(tile, 4, 4, 4, 4, cv2.BORDER_CONSTANT, value=(255, 255, 255)))
    columns = 5
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    sheet = np.vstack([np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)])
    path.parent.mkdir(parents=True, exist_ok=True)
    for quality in range(88, 20, -6):
        Image.fromarray(sheet).save(path, quality=quality, method=6)
        if path.stat().st_size <= 200_000:
            return


@dataclass(frozen=True, slots=True)
class Again:
    """Right pictures and their side, pixels; those that no seed of TRIES let pass; CPU-milliseconds of one judgment."""

    side: int
    pictures: int
    never: int
    milliseconds: float


def percent(estimate: list[float]) -> str:
    value, low, high = (100 * each for each in estimate)
    return f"{value:.0f} % [{low:.0f}, {high:.0f}]"


def table(
    made: dict[str, dict[str, list[float]]], coding: dict[str, list[float]], chosen: dict[str, float], again: Again
) -> list[str]:
    """Everything that a reader wants to know, as Markdown."""
    lines = ["| defect | pictures | precision | recall |", "| --- | --- | --- | --- |"]
    for name in DEFECTS:
        one = made[name]
        lines.append(f"| {name} | {one['count'][0]:.0f} | {percent(one['precision'])} | {percent(one['recall'])} |")
    right = made["right, yet failed"]
    lines += [
        "",
        f"Of {right['count'][0]:.0f} right pictures, {percent(right['share'])} fail for some reason.",
        f"Of all {again.pictures} right pictures, {again.never} fail with {TRIES} seeds in a row.",
        f"The gate takes {again.milliseconds:.0f} CPU-milliseconds for a picture of {again.side} pixels.",
        "",
        "| measure | limit | what the first half of the objects would choose |",
        "| --- | --- | --- |",
        *(f"| {name} | {limit:.3g} | {chosen[name]:.3g} |" for name, limit in own_limits().items()),
        "",
        "| encoding | ΔE2000 on the product, 99th percentile: median picture | worst picture | pictures at most 1 |",
        "| --- | --- | --- | --- |",
        *(f"| {name} | {each[0]:.2f} | {each[1]:.2f} | {100 * each[2]:.0f} % |" for name, each in coding.items()),
    ]
    return lines


def rewrite(page: Path, lines: list[str]) -> None:
    """Put the lines between the page's two marks."""
    before, rest = page.read_text(encoding="utf-8").split(TABLE[0])
    page.write_text(
        "\n".join([before + TABLE[0], "", *lines, "", TABLE[1] + rest.split(TABLE[1])[1]]), encoding="utf-8"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--scenes", type=int, default=80)
    arguments.add_argument("--side", type=int, default=512, help="pixels of the pictures that are judged")
    arguments.add_argument("--page", type=Path, help="Markdown page whose tables are written anew.")
    arguments.add_argument("--picture", type=Path, help="WebP with one example per defect.")
    asked = arguments.parse_args()
    rows: list[Row] = []
    examples: dict[str, Picture] = {}
    encoded: list[Picture] = []
    spent, judged, never = 0.0, 0, 0
    fidelity.check(*next(draw(1, side=asked.side)).picture.both)  # imports and first calls are no part of the cost
    for drawn in draw(asked.scenes, side=asked.side):
        start = time.process_time()
        measured: Measures = fidelity.measure(*drawn.picture.both, safe_zone=Limits().safe_zone)
        spent, judged = spent + time.process_time() - start, judged + 1
        rows.append(Row(drawn.object_id, "", asdict(measured)))
        if not fidelity.check_measures(measured).passed:
            seeds = (10_000 * attempt + drawn.number for attempt in range(1, TRIES))
            never += not any(fidelity.check(*drawn.again(seed).both).passed for seed in seeds)
        if drawn.number % 32 == 0:
            encoded.append(drawn.picture)
        if drawn.corruptible is None:
            continue
        examples.setdefault("right", drawn.picture)
        for index, (name, (kind, _)) in enumerate(DEFECTS.items()):
            made = defects.spoil(name, drawn.corruptible, seed=drawn.number)
            if made is None:
                continue
            rows.append(Row(drawn.object_id, name, told(kind, made)))
            if drawn.number >= 9 * index:
                examples.setdefault(name, made)
    first = {item.object_id for item in sample.objects()[::2]}
    chosen = choose([row for row in rows if row.object_id in first], own_limits())
    found = scores([row for row in rows if row.object_id not in first], own_limits())
    coding, again = after_encoding(encoded), Again(asked.side, judged, never, 1000 * spent / judged)
    lines = table(found, coding, chosen, again)
    print("\n".join(lines))
    if asked.picture:
        montage(examples, asked.picture)
    if asked.page:
        rewrite(asked.page, lines)
    row = {
        "versions": f"Python {platform.python_version()}, NumPy {np.__version__}, OpenCV {cv2.__version__}",
        **asdict(again),
        "spoiled pictures, both halves": {name: sum(each.defect == name for each in rows) for name in DEFECTS},
        "limits": own_limits(),
        "limits that the first half would choose": chosen,
        "other half": found,
        "after encoding": coding,
    }
    append_row(row, by="fidelity")


if __name__ == "__main__":
    main()
