"""Stage `ingest`: of several photos of a product the one with the best cut-out is taken, and the others are kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from clickscape.catalog import sample
from clickscape.catalog.images import open_image
from clickscape.stages.ingest import ingest
from clickscape.stages.progress import run
from clickscape.workspace import Workspace


def test_the_best_photo_of_a_product_is_taken(tmp_path: Path) -> None:
    mug = sample.cutout("coffee_mug-navy", 300)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    small = np.asarray(Image.fromarray(mug).resize((30, 30)))
    Image.fromarray(small).save(tmp_path / "small.png")
    canvas = np.zeros((400, 400, 4), np.uint8)
    canvas[40 : 40 + mug.shape[0], 50 : 50 + mug.shape[1]] = mug
    Image.fromarray(canvas).save(tmp_path / "sharp.png")
    rows = [
        {"id": "A", "title": "Mug", "image": "small.png", "additional_image_link": ["noise.png", "sharp.png"]},
        {"id": "B", "title": "Mug", "image": "sharp.png"},
    ]
    feed = tmp_path / "catalog.jsonl"
    feed.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    shop = Workspace.create(tmp_path / "shop")
    run(ingest(shop, feed))
    chosen, plain = shop.products()
    assert np.array_equal(open_image(chosen.image), open_image(plain.image))
    assert [Path(image).name for image in chosen.more_images] == ["small.png", "noise.png"]
    assert plain.more_images == ()
