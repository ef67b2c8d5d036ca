"""A simulated folder in the layout of the public CreativeRanking data set: real pictures, small; clicks of a world.

It stands in for the data set where that cannot be had. Splits are by object, so that no test product was seen.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from clickscape.catalog import sample
from clickscape.clicks.creative_ranking import CLICKS, IMAGE_NAME, IMAGES, IMPRESSIONS
from clickscape.render.studio.engine import StudioRenderer
from clickscape.simulator import world as worlds
from clickscape.simulator import writer
from clickscape.simulator.pixels import measure

DAYS = 2
TEST_SHARE = 0.25


def write(
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
    by creative_id, as `clicks.creative_ranking` names them.
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
