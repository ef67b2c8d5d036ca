"""Train the prompt model for one small round on the reward model of example 04 (run that first)."""

from pathlib import Path

import clickscape
from clickscape.catalog import sample
from clickscape.config import OptimizeConfig
from clickscape.generation.pipeline import AdPipeline
from clickscape.preference.train import Step

names = ("running_shoe", "coffee_mug", "soccer_ball", "lipstick", "doughnut", "camera", "jeans", "hammer")
products = sample.write(Path("example-shop"), 128, product_ids=[f"{name}-original" for name in names])
pipeline = AdPipeline(clickscape.render.load("studio"), clickscape.reward.load("example-reward"))
config = OptimizeConfig(rounds=1, products_per_round=8, candidates=3, epochs=1)
run = Path("example-run")
for event in clickscape.preference.optimize(clickscape.vlm.load("tiny"), pipeline, products, folder=run, config=config):
    if isinstance(event, Step):
        print(f"step {event.number}: loss {event.loss:.3f} nats, margin {event.margin:+.3f}")
writer = clickscape.preference.open_policy(run)
print(writer.describe(products[0], n=1, seed=0)[0])
print(run.resolve())
