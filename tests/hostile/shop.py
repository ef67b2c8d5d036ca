"""A small shop that went through ingest, simulated clicks and a reward model, made once and copied for every trial."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

IDS = tuple(f"{name}-{color}" for name in ("running_shoe", "coffee_mug") for color in ("original", "crimson"))


def build(folder: Path) -> int:
    """Write `catalog.jsonl`, `pictures/`, a workspace `shop`, its `exports/` and the checkpoint `writer/`; return 0."""
    from tests.factory import write_feed

    from clickscape import vlm
    from clickscape.config import ClicksConfig, RewardConfig, SimulateConfig
    from clickscape.stages.clicks import clicks
    from clickscape.stages.export import export
    from clickscape.stages.ingest import ingest
    from clickscape.stages.progress import run
    from clickscape.stages.reward import reward
    from clickscape.stages.simulate import simulate
    from clickscape.workspace import Workspace

    write_feed(folder, side=96, product_ids=IDS)
    shop = Workspace.create(folder / "shop")
    run(ingest(shop, folder / "catalog.jsonl", workers=1))
    run(simulate(shop, SimulateConfig(creatives_per_product=3, median_impressions=300, size=96, seed=3), workers=1))
    run(clicks(shop, ClicksConfig()))
    run(reward(shop, RewardConfig(epochs=1, products_per_batch=8, seed=1)))
    # Simulated creatives are exported nowhere; these count as a writer's from here on.
    shop.write_creatives([replace(one, model_id="tiny") for one in shop.creatives()])
    run(export(shop, placements=["google-display-300x50"], out=folder / "exports"))
    shutil.copytree(Path(vlm.__file__).parent / "tiny", folder / "writer")
    pictures = folder / "pictures"
    pictures.mkdir()
    shutil.copy(shop.products()[0].image, pictures / "product.png")
    for name, creative in zip(("first", "second"), shop.creatives(), strict=False):
        shutil.copy(creative.image, pictures / f"{name}.webp")
    return 0
