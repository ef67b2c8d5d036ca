"""Does the reward model learn from ads that nobody here drew?  Drawn worlds whose creatives have another look.

The copywriter's creatives of a world are made over as an agency might have made them, saved as JPEG at quality 60 and
brought in by `ingest --creatives`, so that their scenes are hidden:

- retouched: another crop, words in a corner, grain; the scene is still to be seen;
- photographs: the product before a crop of a photographed panorama, blurred, and then retouched. Of the scene its
  setting is left, so the world's shoppers care for no other slot.

Shoppers click what is shown: the world measures the picture as it was made over. Beside them the studio's own pictures,
with hidden and with recorded scenes. The default reward model learns from each world's counts by position and is judged
on held-out objects by the true order; a model that knows nothing has the normalized accuracy 0.

    python benchmarks/own_creatives.py --worlds 1000 14 --page docs/experiments/own-creatives.md
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw

from _results import measure_each, write_part
from clickscape.catalog.images import open_image
from clickscape.config import ClicksConfig, RewardConfig, SimulateConfig
from clickscape.render.color import to_display
from clickscape.render.scene import Scene
from clickscape.render.studio.backdrop import VIEWS, panorama
from clickscape.render.typeset import open_face
from clickscape.simulator import drawn_traffic
from clickscape.simulator.creatives import segment_log_ctrs
from clickscape.simulator.family import DrawnWorld, draw_structure, draw_world
from clickscape.stages.clicks import clicks
from clickscape.stages.own_ads import ingest_own_ads
from clickscape.stages.progress import run
from clickscape.stages.reward import reward
from clickscape.stages.simulate import draw
from clickscape.types import Creative
from clickscape.workspace import Workspace
from family import write_catalog

LOOKS = ("studio", "retouched", "photographs")
RECORDED = "studio, scenes recorded"
SIZE, _MARGIN = 128, 8  # pixels of a picture's side, and between its edge and words
WORDS = ("Now 20 % off", "New in", "Made to last", "Free returns", "Only this week", "Best of spring")
FIGURES = {
    "normalized accuracy": "normalized_accuracy",
    "accuracy on the true order": "true_accuracy",
    "noise ceiling": "ceiling",
}
Ad = tuple[np.ndarray, np.ndarray, Scene]
"""A picture, its product's alpha, and what of a scene is to be seen."""


def main() -> None:
    """Measure each world, print, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs=2, type=int, default=(1_000, 8), metavar=("FIRST", "COUNT"))
    parser.add_argument("--creatives", type=int, default=360, help="creatives of a world, at most")
    parser.add_argument("--impressions", type=int, default=1_500_000, help="impressions of a log, at most")
    parser.add_argument("--workers", type=int, default=1, help="worlds at once")
    parser.add_argument("--page", type=Path, help="Markdown page with the markers")
    parser.add_argument("--pictures", type=Path, help="only save some pictures of the first world into this folder")
    asked = parser.parse_args()
    if asked.pictures:
        save_pictures(asked.worlds[0], asked.pictures)
        return
    numbers = range(asked.worlds[0], asked.worlds[0] + asked.worlds[1])
    jobs = [(number, asked.creatives, asked.impressions) for number in numbers]
    rows = measure_each(measure, jobs, workers=asked.workers, by="own_creatives")
    part = table(rows)
    print(part)
    if asked.page:
        write_part(asked.page, part, by="own_creatives")


def measure(number: int, most_creatives: int, most_impressions: int) -> dict[str, Any]:
    """Train and judge the default reward model on every look of one world's creatives."""
    torch.set_num_threads(1)
    started = time.process_time()
    structure, world = draw_structure(number), draw_world(number)
    folder = Path(tempfile.mkdtemp(prefix=f"own-{number}-"))
    try:
        drawn = Workspace.create(folder / "drawn")
        count = write_catalog(drawn, number, min(structure.products, most_creatives // structure.creatives))
        median = min(structure.median_impressions, most_impressions // (count * structure.creatives))
        asked = SimulateConfig(creatives_per_product=structure.creatives, size=SIZE, seed=number, hold_out_scenes=False)
        run(draw(drawn, asked))
        row: dict[str, Any] = {"world": number, "products": count, "creatives": count * structure.creatives}
        row["median_impressions"] = median
        for look in LOOKS:
            shop = _shop(drawn, world, look, folder=folder / look, median_impressions=median)
            row[look] = _judged(shop, "predicted", seed=number)
            if look == "studio":
                scenes = {one.creative_id: one.scene for one in drawn.creatives()}
                shop.update_creatives([replace(one, scene=scenes[one.creative_id]) for one in shop.creatives()])
                row[RECORDED] = _judged(shop, "given", seed=number)
        return {**row, "cpu_seconds": round(time.process_time() - started, 1)}
    finally:
        shutil.rmtree(folder)


def _shop(drawn: Workspace, world: DrawnWorld, look: str, *, folder: Path, median_impressions: int) -> Workspace:
    """A workspace with the catalog, ads of one look, their clicks, and truth.csv beside the ads."""
    shop = Workspace.create(folder / "shop")
    shutil.copytree(drawn.catalog, shop.catalog, dirs_exist_ok=True)
    creatives, ads, figures = drawn.creatives(), [], []
    for one in creatives:
        picture, mask, scene = made_over(one, drawn, look)
        saved, seen = (picture, ".png") if look == "studio" else (_jpeg(picture), ".jpg")
        content = saved if isinstance(saved, bytes) else _png(saved)
        (folder / f"{one.creative_id}{seen}").write_bytes(content)
        figures.append(world.measure(open_image(folder / f"{one.creative_id}{seen}")[..., :3], mask))
        ads.append(replace(one, scene=asdict(scene), image=f"{one.creative_id}{seen}"))
    lines = [json.dumps({"product_id": one.product_id, "image": one.image}) for one in ads]
    (folder / "ads.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    run(ingest_own_ads(shop, folder / "ads.jsonl"))
    products = {product.product_id: product for product in shop.products()}
    log_ctrs = segment_log_ctrs(world, ads, figures, products=products)
    rng = np.random.default_rng([world.number, 1])
    days = drawn_traffic.traffic_by_day(world, ads, log_ctrs, rng=rng, median_impressions=median_impressions)
    shop.write_counts(drawn_traffic.counts(days))
    run(clicks(shop, ClicksConfig()))
    with (folder / "truth.csv").open("w", encoding="utf-8", newline="") as stream:
        known = np.exp(log_ctrs) @ np.array(list(world.segments.values()))
        csv.writer(stream).writerows(
            [("creative_id", "ctr"), *zip((one.creative_id for one in ads), known, strict=True)]
        )
    return shop


def _judged(shop: Workspace, scene: str, *, seed: int) -> dict[str, float | None]:
    made = run(
        reward(
            shop, RewardConfig.model_validate({"scene": scene, "seed": seed}), true_ctrs=shop.path.parent / "truth.csv"
        )
    )
    return {name: made.result[key] and made.result[key]["value"] for name, key in FIGURES.items()}


def made_over(creative: Creative, drawn: Workspace, look: str) -> Ad:
    """Return a creative in another look; what is chosen by chance follows from its seed."""
    picture = open_image(creative.image)[..., :3]
    mask = np.asarray(Image.open(drawn.mask_path(creative.creative_id)))
    scene = Scene.of(creative.scene)
    rng = np.random.default_rng([creative.seed, 7])
    if look == "studio":
        return picture, mask, scene
    if look == "photographs":
        place = list(VIEWS)[int(rng.integers(len(VIEWS)))]
        alpha = mask[..., None] / 255
        picture = np.rint(alpha * picture + (1 - alpha) * photograph(place, rng)).astype(np.uint8)
        scene = Scene(setting=place)
    return *retouched(picture, mask, rng), scene


def photograph(place: str, rng: np.random.Generator) -> np.ndarray:
    """Return a crop of the place's panorama from any direction, blurred, (SIZE, SIZE, 3) sRGB."""
    whole = _panorama(VIEWS[place].panorama)
    rows, columns = whole.shape[:2]
    side = int(rows * rng.uniform(0.5, 0.95))
    top, left = int(rng.integers(rows - side + 1)), int(rng.integers(columns))
    piece = np.roll(whole, -left, axis=1)[top : top + side, :side]
    if rng.random() < 0.5:
        piece = piece[:, ::-1]
    return cv2.GaussianBlur(cv2.resize(piece, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), (0, 0), rng.uniform(0.8, 3))


@cache
def _panorama(name: str) -> np.ndarray:
    return np.rint(255 * np.clip(to_display(np.clip(panorama(name), 0, 1)), 0, 1)).astype(np.uint8)


def retouched(picture: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return picture and alpha cropped, the picture with words on it and with grain."""
    side = int(SIZE * rng.uniform(0.84, 1))
    top, left = rng.integers(SIZE - side + 1, size=2)
    part = (slice(top, top + side), slice(left, left + side))
    picture, mask = (cv2.resize(one[part], (SIZE, SIZE), interpolation=cv2.INTER_LINEAR) for one in (picture, mask))
    picture = _with_words(picture, mask, WORDS[int(rng.integers(len(WORDS)))])
    grain = cv2.GaussianBlur(rng.normal(0, 14, (SIZE, SIZE)), (0, 0), 0.7)[..., None]
    return np.clip(np.rint(picture + grain), 0, 255).astype(np.uint8), mask


def _with_words(picture: np.ndarray, mask: np.ndarray, words: str) -> np.ndarray:
    """Set words into the corner that shows least of the product, black or white, whichever is seen better."""
    font = open_face().at(SIZE // 9)
    left, top, right, bottom = (int(value) for value in font.getbbox(words))
    width, height = right - left, bottom - top
    corners = [(x, y) for y in (_MARGIN, SIZE - _MARGIN - height) for x in (_MARGIN, SIZE - _MARGIN - width)]
    x, y = min(corners, key=lambda corner: int(mask[corner[1] :, corner[0] :][:height, :width].sum()))
    ink = (20, 20, 20) if picture[y : y + height, x : x + width].mean() > 110 else (250, 250, 250)
    canvas = Image.fromarray(picture)
    ImageDraw.Draw(canvas).text((x - left, y - top), words, font=font, fill=ink)
    return np.asarray(canvas)


def _jpeg(picture: np.ndarray) -> bytes:
    return _encoded(picture, "JPEG", quality=60)


def _png(picture: np.ndarray) -> bytes:
    return _encoded(picture, "PNG", compress_level=1)


def _encoded(picture: np.ndarray, kind: str, **options: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind, **options)
    return stream.getvalue()


def save_pictures(number: int, folder: Path) -> None:
    """Save six creatives in each look, a row each, to be looked at."""
    shop = Workspace.create(folder / "drawn", exist_ok=True)
    write_catalog(shop, number, 24)
    run(draw(shop, SimulateConfig(creatives_per_product=1, size=SIZE, seed=number, hold_out_scenes=False)))
    for look in LOOKS:
        rows = [made_over(one, shop, look)[0] for one in shop.creatives()[::4]]
        (folder / f"{look}.jpg").write_bytes(_jpeg(np.hstack(rows)))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Figures over worlds, and each world's normalized accuracies, as Markdown."""
    counts = [row["creatives"] for row in rows]
    seconds = np.median([row["cpu_seconds"] for row in rows])
    measured = (
        f"{len(rows)} worlds, {rows[0]['world']} to {rows[-1]['world']}; {min(counts)} to {max(counts)} creatives"
    )
    lines = [
        f"{measured}; {seconds:.0f} CPU-seconds a world in the median.",
        "",
        "| pictures | figure | median | quartiles | worst tenth | worlds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    forms = (RECORDED, *LOOKS)
    for form in forms:
        for name in FIGURES:
            values = np.array([row[form][name] for row in rows if row[form][name] is not None], float)
            if values.size:
                low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
                worst = np.quantile(values, 0.1)
                lines.append(
                    f"| {form} | {name} | {middle:.3f} | {low:.3f} to {high:.3f} | {worst:.3f} | {len(values)} |"
                )
    lines += [
        "",
        "Normalized accuracy against *studio* in the same world, mean and 95 % interval (bootstrap over worlds):",
        "",
    ]
    lines += [_difference(rows, form) for form in forms if form != "studio"]
    lines += ["", f"| world | {' | '.join(forms)} |", f"| --- |{' --- |' * len(forms)}"]
    for row in rows:
        cells = [row[form]["normalized accuracy"] for form in forms]
        lines.append(f"| {row['world']} | {' | '.join('–' if one is None else f'{one:.2f}' for one in cells)} |")
    return "\n".join(lines) + "\n"


def _difference(rows: Sequence[dict[str, Any]], form: str) -> str:
    """Mean difference of a form's normalized accuracy to that of the studio's pictures, over worlds that have both."""
    pairs = [[row[name]["normalized accuracy"] for name in (form, "studio")] for row in rows]
    changes = np.array([one - two for one, two in pairs if one is not None and two is not None])
    draws = np.random.default_rng(0).integers(len(changes), size=(4_000, len(changes)))
    low, high = np.quantile(changes[draws].mean(1), [0.025, 0.975])
    return f"- {form}: {changes.mean():+.2f} [{low:+.2f}, {high:+.2f}], {len(changes)} worlds"


if __name__ == "__main__":
    main()
