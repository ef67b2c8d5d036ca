"""Make an ad for every product of a small catalog."""

from pathlib import Path

from PIL import Image

import clickscape
from clickscape.catalog import sample

out = Path("example-ads")
products = sample.write(out, 256, product_ids=["coffee_mug-original", "lipstick-original"])
writer = clickscape.vlm.load("tiny")
renderer = clickscape.render.load("studio")
for product in products:
    (text,) = writer.describe(product, n=1, seed=0)
    ad = renderer.render(product, text, size=(256, 256), seed=0)
    Image.fromarray(ad.image).save(out / f"{product.product_id}.png")
print(out.resolve())
