"""Render a description of your own at three sizes."""

from pathlib import Path

from PIL import Image

import clickscape
from clickscape.catalog import sample

out = Path("example-scene")
(product,) = sample.write(out, 256, product_ids=["coffee_mug-original"])
renderer = clickscape.render.load("studio")
for size in ((300, 250), (256, 256), (180, 320)):
    ad = renderer.render(product, "oak slab in a kitchen, window light, coffee beans", size=size, seed=0)
    Image.fromarray(ad.image).save(out / f"{size[0]}x{size[1]}.png")
print(out.resolve())
