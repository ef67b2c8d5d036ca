"""A new reward model comes into the service by itself: what it predicts, and what choosing starts from."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from tests.service.conftest import NOW, creative, give_reward
from tests.service.test_event_writer import event

from clickscape.reward.explain.scale import Scale
from clickscape.service import jobs, predictions, publishing, readings, schema, workspace_sync
from clickscape.service.event_writer import write_events
from clickscape.service.predictions import Predictions
from clickscape.service.run import open_service
from clickscape.service.worker import Worker
from clickscape.types import Product
from clickscape.workspace import Workspace

NAMES = ("a", "b", "c")


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    """A mug and a lamp with three pictures each."""
    made = Workspace.create(tmp_path / "shop")
    rng = np.random.default_rng(0)
    found = []
    for product in ("mug", "lamp"):
        for light, name in enumerate(NAMES):
            one = creative(f"{product}-{name}", product)
            picture = rng.integers(0, 60, (48, 48, 3)).astype(np.uint8) + np.uint8(60 * light)
            path = made.save_image(one.creative_id, picture)
            found.append(replace(one, image=str(path)))
    made.write_products([Product(name, name.title(), ("Home",)) for name in ("mug", "lamp")])
    made.write_creatives(found)
    return made


@pytest.fixture
def engine(shop: Workspace) -> Iterator[Engine]:
    """Its store."""
    _, opened, _, _ = open_service(shop.path)
    yield opened
    opened.dispose()


def held(engine: Engine, column: str) -> dict[str, float | None]:
    table = schema.creatives
    with engine.connect() as connection:
        found = connection.execute(sa.select(table.c.creative_id, table.c[column])).all()
    return {name: value for name, value in found}  # noqa: C416


def show(engine: Engine, *names: str) -> None:
    made = [event(NAMES.index(name[-1]), creative_id=name, product_id=name.split("-")[0]) for name in names]
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        write_events(connection, made)


def keep(engine: Engine, model: str, **of: float) -> None:
    made = Predictions(model, {f"mug-{name}": (value, 0.1) for name, value in of.items()})
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        predictions.keep(connection, made, ["mug"])


def test_what_was_shown_keeps_the_score_that_has_not_seen_its_clicks(shop: Workspace, engine: Engine) -> None:
    workspace_sync.publish(engine, shop, now=NOW)
    keep(engine, "first", a=0.2, b=-0.2)
    show(engine, "mug-a", "mug-b")
    keep(engine, "second", a=0.5, b=0.1, c=-0.6)
    assert held(engine, "predicted") | {"lamp-a": None} == {
        "mug-a": 0.5, "mug-b": 0.1, "mug-c": -0.6, "lamp-a": None, "lamp-b": None, "lamp-c": None}  # fmt: skip
    score = held(engine, "score")
    assert (score["mug-a"], score["mug-b"]) == (0.2, -0.2)
    # the second model says .3 more of both than the first did, against the average: c's is moved by as much
    assert score["mug-c"] == pytest.approx(-0.6 - 0.3)
    show(engine, "mug-c")
    keep(engine, "third", a=0.0, b=0.0, c=0.0)
    assert held(engine, "score") == score


def test_what_no_model_scored_before_it_was_shown_has_no_score(shop: Workspace, engine: Engine) -> None:
    workspace_sync.publish(engine, shop, now=NOW)
    show(engine, "mug-a")
    keep(engine, "first", a=0.2, b=-0.2, c=0.0)
    assert held(engine, "score")["mug-a"] is None
    assert held(engine, "score")["mug-b"] == -0.2
    assert held(engine, "predicted")["mug-a"] == 0.2


def test_a_worker_notices_a_new_model_and_predicts_all_anew_by_it(
    shop: Workspace, engine: Engine, small_reward: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "PRODUCTS", 1)  # a product a job
    workspace_sync.publish(engine, shop, now=NOW)
    worker = Worker(shop, engine)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        time.sleep(0.5)
        assert set(held(engine, "predicted").values()) == {None}
        give_reward(shop, small_reward, Scale(slope=0.02, error=0.004, misfit=0.1, products=12))
        until = time.monotonic() + 120
        while None in held(engine, "predicted").values():
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        worker.stop.set()
        thread.join()
    assert held(engine, "score") == held(engine, "predicted")
    assert set(held(engine, "predicted_by").values()) == {predictions.newest_model(shop)}
    found = publishing.list_creatives(engine, "mug") or []
    assert not any(one.outdated for one in found)
    assert sum(one.score or 0 for one in found) == pytest.approx(0, abs=1e-9), "against the product's average"

    shutil.rmtree(shop.models / "reward")
    shutil.copytree(small_reward, shop.models / "reward")
    (shop.models / "reward" / "more.json").write_text("{}")  # another model
    predictions.notice_model(engine, shop, now=NOW)
    assert all(one.outdated for one in publishing.list_creatives(engine, "mug") or [])
    assert predictions.outdated(engine) == ["lamp", "mug"]
    assert worker.do_next()
    assert predictions.outdated(engine) == ["mug"]
    assert worker.do_next()
    assert not worker.do_next()
    assert predictions.outdated(engine) == []
    assert set(held(engine, "predicted_by").values()) == {predictions.newest_model(shop)}
    assert set(held(engine, "predicted").values()) == {None}, "of its logits nobody knows what they are in CTR"


def test_a_picture_that_is_gone_leaves_no_other_product_without(
    shop: Workspace, engine: Engine, small_reward: Path
) -> None:
    workspace_sync.publish(engine, shop, now=NOW)
    give_reward(shop, small_reward, Scale(slope=0.02, error=0.004, misfit=0.1, products=12))
    shop.image_path("lamp-b").unlink()
    predictions.notice_model(engine, shop, now=NOW)
    assert readings.newest(engine, "model")
    worker = Worker(shop, engine)
    assert worker.do_next()
    assert not worker.do_next(), "what cannot be predicted is not tried for ever"
    found = held(engine, "predicted")
    assert {name for name, value in found.items() if value is None} == {"lamp-a", "lamp-b", "lamp-c"}


def test_a_shop_without_a_model_has_nothing_to_predict(shop: Workspace, engine: Engine) -> None:
    workspace_sync.publish(engine, shop, now=NOW)
    predictions.notice_model(engine, shop, now=NOW)
    assert jobs.claim(engine, now=NOW) is None
    assert not any(one.outdated for one in publishing.list_creatives(engine, "mug") or [])
