"""A small shop that went through every stage once, with real parts, for all tests of the room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.factory import write_feed

from clickscape.config import ClicksConfig, OptimizeConfig, RewardConfig, SimulateConfig
from clickscape.stages.clicks import clicks
from clickscape.stages.ingest import ingest
from clickscape.stages.progress import run
from clickscape.stages.reward import reward
from clickscape.stages.simulate import simulate
from clickscape.workspace import Workspace

OBJECTS = ("running_shoe", "coffee_mug", "soccer_ball", "lipstick", "doughnut", "camera")
COLORS = ("original", "crimson", "navy")
SMALL_WORLD = SimulateConfig(creatives_per_product=4, median_impressions=600, size=96, seed=3)
SMALL_REWARD = RewardConfig(epochs=2, products_per_batch=8, seed=1)
SMALL_OPTIMIZE = OptimizeConfig(
    rounds=2, products_per_round=8, candidates=3, epochs=1, batch_size=4, max_new_tokens=32, min_margin=0.0,
    pairs_per_product=1, unparsed_share=1.0, seed=5,
)  # fmt: skip


@pytest.fixture(scope="session")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog of 18 products as JSON Lines, with transparent PNGs beside it."""
    folder = tmp_path_factory.mktemp("feed")
    ids = [f"{name}-{color}" for name in OBJECTS for color in COLORS]
    return write_feed(folder, side=160, product_ids=ids)


@pytest.fixture(scope="session")
def new_shop(feed: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Workspace]:
    """A function that makes a workspace with the catalog in it and nothing else."""

    def make() -> Workspace:
        workspace = Workspace.create(tmp_path_factory.mktemp("shop") / "shop")
        run(ingest(workspace, feed))
        return workspace

    return make


@pytest.fixture(scope="session")
def logged_shop(new_shop: Callable[[], Workspace]) -> Workspace:
    """A workspace after ingest, simulate and clicks. Tests must leave it as it is."""
    workspace = new_shop()
    run(simulate(workspace, SMALL_WORLD))
    run(clicks(workspace, ClicksConfig()))
    return workspace


@pytest.fixture(scope="session")
def shop(logged_shop: Workspace) -> Workspace:
    """A workspace after ingest, simulate, clicks and reward. Tests must leave it as it is."""
    run(reward(logged_shop, SMALL_REWARD))
    return logged_shop
