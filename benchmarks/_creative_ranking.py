"""Reads the public CreativeRanking data set (Wang et al., WWW 2021), and writes a simulated folder in its layout.

Two layouts of the same counts are read: the published lists, `train_data_list.txt` with a line per day (item, image,
day, impressions, clicks; tabs between), and `train.json` as later papers prepared it (item → its creatives with
`exp_impression_cnt`, `exp_click_cnt`). `val` and `test` likewise; pictures lie in `images/`. Where the data set cannot
be had, a simulated folder stands in: real pictures, small, clicks of a frozen world, splits by object.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import pyarrow as pa
from PIL import Image

from clickscape.catalog import sample
from clickscape.errors import LogError
from clickscape.render.studio.engine import StudioRenderer
from clickscape.simulator import world as worlds
from clickscape.simulator import writer
from clickscape.simulator.pixels import measure
from clickscape.types import ClickCounts

SPLITS = ("train", "val", "test")
IMAGES = "images"
COLUMNS = ("item_id", "image", "day", "impressions", "clicks")
IMPRESSIONS, CLICKS, IMAGE_NAME = "exp_impression_cnt", "exp_click_cnt", "creative_image_hash"
DAYS = 2
TEST_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Shown:
    """One creative of a product, and its counts over all days."""

    creative_id: str
    product_id: str
    image: Path
    counts: ClickCounts


def read(folder: Path) -> dict[str, list[Shown]]:
    """The lists that the folder holds, by split; LogError with file and line for what cannot be read.

    Counts of several days are added up. A product whose picture is missing is refused, not left out: an accuracy over
    the rest would be another number.
    """
    found: dict[str, list[Shown]] = {}
    for split in SPLITS:
        text, prepared = folder / f"{split}_data_list.txt", folder / f"{split}.json"
        if text.is_file():
            found[split] = _collect(_lines(text), folder / IMAGES)
        elif prepared.is_file():
            found[split] = _collect(_items(prepared), folder / IMAGES)
    if "train" not in found:
        raise LogError(f"{folder}: no train_data_list.txt and no train.json. Name the folder of the CreativeRanking "
                       f"data set.")  # fmt: skip
    return found


def counts(shown: Sequence[Shown]) -> pa.Table:
    """The counts as `clickscape.clicks.estimate` takes them; nobody noted a position."""
    return pa.table(
        {
            "creative_id": [one.creative_id for one in shown],
            "product_id": [one.product_id for one in shown],
            "position": pa.nulls(len(shown), pa.int32()),
            "impressions": pa.array([one.counts.impressions for one in shown], pa.int64()),
            "clicks": pa.array([one.counts.clicks for one in shown], pa.int64()),
        }
    )


def _collect(rows: Iterator[tuple[str, str, str, int, int]], images: Path) -> list[Shown]:
    """Rows (place, item, image, impressions, clicks) → creatives, days added up, in order of first appearance."""
    totals: dict[tuple[str, str], ClickCounts] = {}
    for place, item, name, impressions, clicks in rows:
        if not item or not name or not 0 <= clicks <= impressions:
            raise LogError(f"{place}: item {item!r}, image {name!r}, {clicks} clicks of {impressions} impressions; "
                           f"expected names, and at most as many clicks. Download the list again.")  # fmt: skip
        if PurePosixPath(name).name != name or name in (".", ".."):
            raise LogError(f"{place}: the image {name!r} leaves {images}. Name the picture itself.")
        if (item, name) not in totals and not (images / name).is_file():
            raise LogError(f"{images / name}: missing, but {place} names it. Put all pictures into {IMAGES}/.")
        totals[item, name] = totals.get((item, name), ClickCounts(0, 0)) + ClickCounts(impressions, clicks)
    return [Shown(f"{item}/{name}", item, images / name, total) for (item, name), total in totals.items()]


def _lines(file: Path) -> Iterator[tuple[str, str, str, int, int]]:
    with file.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, 1):
            place = f"{file}, line {number}"
            cells = line.rstrip("\r\n").split("\t")
            if len(cells) != len(COLUMNS):
                raise LogError(f"{place}: {len(cells)} columns, expected {', '.join(COLUMNS)} with tabs between. "
                               f"Download the list again.")  # fmt: skip
            yield place, cells[0], cells[1], _number(cells[3], place), _number(cells[4], place)


def _items(file: Path) -> Iterator[tuple[str, str, str, int, int]]:
    try:
        items = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LogError(f"{file}: not JSON ({error}). Download the list again.") from error
    if not isinstance(items, dict) or not all(isinstance(own, list) for own in items.values()):
        raise LogError(f"{file}: expected an object, item → list of its creatives. Download the list again.")
    for item, own in items.items():
        for number, creative in enumerate(own, 1):
            place = f"{file}, item {item!r}, creative {number}"
            if not isinstance(creative, Mapping) or not isinstance(creative.get(IMAGE_NAME), str):
                raise LogError(f"{place}: expected an object with {IMAGE_NAME}. Download the list again.")
            name = PurePosixPath(creative[IMAGE_NAME]).name
            yield place, item, name, *(_number(creative.get(key), place) for key in (IMPRESSIONS, CLICKS))


def _number(value: object, place: str) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise LogError(
            f"{place}: a count is {str(value)[:40]!r}, expected a whole number. Download the list again."
        ) from None


def write_simulated(
    folder: Path,
    *,
    products: int,
    creatives: int = 4,
    size: int = 96,
    layout: Literal["lists", "json"] = "lists",
    world: str = "harmony",
    seed: int = 0,
) -> dict[str, float]:
    """Draw `creatives` pictures of `size` pixels for each of `products` objects and log their clicks.

    Impressions: log-normal around 6,000 per creative, so that the paper's filter leaves pairs. Returns the true log-CTR
    by creative_id, as `read` names them.
    """
    rng = np.random.default_rng(seed)
    shoppers, renderer = worlds.load(world), StudioRenderer()
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    objects = list(dict.fromkeys(product.product_id.rpartition("-")[0] for product in sample.products()))
    chosen = [f"{name}-original" for name in rng.permutation(objects)[:products].tolist()]
    tested = math.ceil(TEST_SHARE * len(chosen))
    truth: dict[str, float] = {}
    rows: dict[str, list[tuple[str, str, int, int]]] = {"train": [], "test": []}
    for place, product in enumerate(sample.write(folder / "products", size, product_ids=chosen)):
        for number in range(creatives):
            name = f"{product.product_id}_{number}.png"
            description, scene = writer.write(product, rng)
            drawn = renderer.render(product, description, size=(size, size), seed=int(rng.integers(2**31)))
            Image.fromarray(drawn.image).save(folder / IMAGES / name)
            pixels = measure(drawn.image, drawn.product_mask)
            log_ctr = shoppers.log_ctr(product, scene, pixels, name)
            truth[f"{product.product_id}/{name}"] = log_ctr
            for _ in range(DAYS):
                impressions = int(rng.lognormal(math.log(6_000 / DAYS), 0.5))
                row = (product.product_id, name, impressions, int(rng.binomial(impressions, math.exp(log_ctr))))
                rows["test" if place < tested else "train"].append(row)
    for split, own in rows.items():
        if layout == "lists":
            lines = [f"{item}\t{name}\t{day % DAYS}\t{n}\t{k}\n" for day, (item, name, n, k) in enumerate(own)]
            (folder / f"{split}_data_list.txt").write_text("".join(lines), encoding="utf-8")
        else:
            items: dict[str, list[dict[str, object]]] = {}
            for item, name, n, k in own:
                creative = {"item_id": item, "creative_id": name, IMAGE_NAME: f"x/{name}", IMPRESSIONS: n, CLICKS: k}
                items.setdefault(item, []).append(creative)
            (folder / f"{split}.json").write_text(json.dumps(items), encoding="utf-8")
    return truth
