"""POST /v1/score: pictures that were sent and creatives that exist, with intervals, or why there is no score."""

from __future__ import annotations

import io
import math
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from tests.service.conftest import NOW, creative, fill

from clickscape.service.app import Service, create
from clickscape.service.bandit_policy import propensities
from clickscape.service.keys import create_key
from clickscape.service.run import open_service
from clickscape.service.worker import Worker, scores_of
from clickscape.types import Estimate, Product, Ranked
from clickscape.workspace import Workspace

Score = Callable[..., dict[str, Any]]


def picture(light: int) -> bytes:
    pixels = np.full((48, 48, 3), 20, np.uint8)
    pixels[:, :24] += np.uint8(90 * light)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    made = Workspace.create(tmp_path / "shop")
    made.image_path("a").parent.mkdir(parents=True, exist_ok=True)
    made.write_products([Product("mug", "Mug", image=str(made.cutout_path("mug")))])
    creatives = [creative(name) for name in ("a", "b")]
    for place, one in enumerate(creatives):
        (made.path / one.image).write_bytes(picture(place))
    made.write_creatives(creatives)
    return made


@pytest.fixture
def score(shop: Workspace) -> Iterator[Score]:
    """Asks for scores while a worker runs; returns the answer, or the one line of a refusal."""
    _, engine, settings, key = open_service(shop.path)
    fill(engine, [creative("a"), creative("b")])
    service = Service(shop.path, engine, settings.serve, settings.clicks, key, propensities)
    client = TestClient(create(service))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        headers = {"Authorization": f"Bearer {create_key(connection, roles=['read'], label='', now=NOW)}"}
    worker = Worker(shop, engine)
    thread = threading.Thread(target=worker.run)
    thread.start()

    def ask(sent: list[bytes] = [], creatives: list[str] = [], product: str = "mug") -> dict[str, Any]:  # noqa: B006
        files = [("images", (f"{place}.png", data, "image/png")) for place, data in enumerate(sent)]
        answer = client.post("/v1/score", data={"product_id": product, "creatives": creatives}, files=files or None,
                             headers=headers)  # fmt: skip
        found: dict[str, Any] = answer.json()
        return found | {"code": answer.status_code}

    yield ask
    worker.stop.set()
    thread.join()
    service.close()


def test_without_a_model_or_something_to_compare_the_answer_says_why(score: Score) -> None:
    for sent in ([picture(0)], [picture(0), picture(2)]):
        found = score(sent)
        assert (found["code"], found["status"], found["scores"]) == (200, "done", None)
        assert found["reason"] == "not enough evidence: no reward model has learned from clicks yet"
    assert (score()["code"], score([picture(0)] * 21)["code"]) == (422, 422)
    assert score([b"<svg>"])["code"] == 422
    assert score(creatives=["a", "x"]) == {"code": 404, "detail": "the product has no creative 'x'."}
    assert score([picture(0)], product="sofa")["code"] == 404


@pytest.mark.slow
def test_pictures_and_creatives_are_scored_against_each_other(
    shop: Workspace, score: Score, small_reward: Path
) -> None:
    shutil.copytree(small_reward, shop.models / "reward")
    found = score([picture(2), picture(0)], creatives=["b", "a"])
    assert (found["code"], found["status"], found["reason"]) == (200, "done", "")
    rows = found["scores"]
    assert sorted((row["image"] is None, row["image"] or 0, row["creative_id"] or "") for row in rows) == [
        (False, 0, ""), (False, 1, ""), (True, 0, "a"), (True, 0, "b")
    ]  # fmt: skip
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    assert all(row["low"] < row["score"] < row["high"] and row["reason"] == "" for row in rows)
    assert rows[0]["image"] == 0  # clicks grew with the light
    alone = score(creatives=["a"])
    assert (alone["scores"], alone["reason"].startswith("not enough evidence")) == (None, True)


def test_a_score_without_ends_is_none() -> None:
    wide = Ranked(1, Estimate(0.0, -math.inf, math.inf), None)
    found = scores_of([{"image": 0}, {"creative_id": "a"}], [wide, Ranked(0, Estimate(0.1, 0.0, 0.2), True)])
    assert found["scores"][0] == {
        "creative_id": "a", "score": None, "low": None, "high": None, "reason": "not enough evidence",
        "surely_ahead_of_the_next": None,
    }  # fmt: skip
    assert found["scores"][1]["score"] == 0.1
