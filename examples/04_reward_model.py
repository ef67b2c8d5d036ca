"""Train a reward model on images and their clicks, which a simulated world gives here."""

import math
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa

import clickscape
from clickscape.catalog import sample
from clickscape.config import RewardConfig
from clickscape.render.scene import SLOTS
from clickscape.reward import training
from clickscape.reward.data import RewardData
from clickscape.simulator import writer as copywriter

IMPRESSIONS = 2_000
names = ("running_shoe", "coffee_mug", "soccer_ball", "lipstick", "doughnut", "camera", "jeans", "hammer")
ids = [f"{name}-{color}" for name in names for color in ("original", "navy")]
products = {one.product_id: one for one in sample.write(Path("example-shop"), 128, product_ids=ids)}
renderer, world = clickscape.render.load("studio"), clickscape.simulator.load("harmony")
rng = np.random.default_rng(0)

images, scenes, log = [], [], []
for product in products.values():
    for number in range(4):
        text, scene = copywriter.write(product, rng)
        images.append(renderer.render(product, text, size=(96, 96), seed=number).image)
        scenes.append(scene.slots)
        clicks = rng.binomial(IMPRESSIONS, math.exp(world.log_ctr(product, scene)))
        log.append({"creative_id": f"{product.product_id}-{number}", "product_id": product.product_id, "position": 1,
                    "impressions": IMPRESSIONS, "clicks": int(clicks)})  # fmt: skip
report = clickscape.clicks.estimate(ibis.memtable(pa.Table.from_pylist(log)))
estimates = {row["creative_id"]: row for row in report.estimates.to_pylist()}
data = RewardData(
    products=products,
    creative_ids=[row["creative_id"] for row in log],
    product_of=[row["product_id"] for row in log],
    images=images,
    pairs=report.pairs,
    slots=scenes,
    **{name: np.array([estimates[row["creative_id"]][name] for row in log])
       for name in ("log_ctr", "clicks", "examinations")},
)  # fmt: skip

steps = training.train(data, config=RewardConfig(), source="tiny", slots=SLOTS)
model = training.run(steps)
ads = [image for image, row in zip(images, log, strict=True) if row["product_id"] == "lipstick-original"]
print(*model.rank(products["lipstick-original"], ads), sep="\n")
model.save(Path("example-reward"))
print(Path("example-reward").resolve())
