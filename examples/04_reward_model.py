"""Train and evaluate a reward model on a small workspace of simulated clicks."""

from pathlib import Path

from clickscape.catalog import sample
from clickscape.config import ClicksConfig, RewardConfig, SimulateConfig
from clickscape.stages.clicks import clicks
from clickscape.stages.progress import run
from clickscape.stages.reward import reward
from clickscape.stages.simulate import simulate
from clickscape.workspace import Workspace

names = ("running_shoe", "coffee_mug", "soccer_ball", "lipstick", "doughnut", "camera", "jeans", "hammer")
workspace = Workspace.create(Path("example-shop"), exist_ok=True)
ids = [f"{name}-{color}" for name in names for color in ("original", "navy")]
workspace.write_products(sample.write(workspace.path / "cutouts", 128, product_ids=ids))
run(simulate(workspace, SimulateConfig(creatives_per_product=4, median_impressions=500, size=96)))
run(clicks(workspace, ClicksConfig()))
manifest = run(reward(workspace, RewardConfig(epochs=2)))
print(*manifest.result["summary"], sep="\n")
print((workspace.models / "reward").resolve())
