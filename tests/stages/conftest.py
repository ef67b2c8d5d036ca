"""A small shop that went through every stage once, with real parts, for all tests of the room."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from tests.factory import write_feed

from clickscape.catalog.addresses import Network
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


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, without a word."""

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Nothing."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Network]]:
    """The address of a server with ball.png and side.png, and the network that it is in."""
    folder = tmp_path / "web"
    folder.mkdir()
    for name, color in (("ball", "red"), ("side", "blue")):
        image = Image.new("RGBA", (64, 64))
        ImageDraw.Draw(image).ellipse((8, 8, 56, 56), fill=color)
        image.save(folder / f"{name}.png")
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        port = server.server_address[1]
        yield f"http://127.0.0.1:{port}", Network(allowed=lambda address: True, ports=frozenset({port}))
        server.shutdown()
        thread.join()
