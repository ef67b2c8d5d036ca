"""The loop of a shop's owner, by API and worker: a photo becomes a product, ads, an edited ad, a served creative."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy.engine import Engine
from tests.service.conftest import NOW, creative, fill, rows
from tests.service.test_event_writer import event

from clickscape.errors import WorkspaceError
from clickscape.service import bandit_policy, jobs, publishing, schema, workspace_sync
from clickscape.service.app import Service, create
from clickscape.service.doctor import problems
from clickscape.service.event_writer import write_events
from clickscape.service.keys import create_key
from clickscape.service.run import WORKSPACE, open_service
from clickscape.service.uploads import sweep_uploads
from clickscape.service.worker import Worker
from clickscape.stages.simulate import STAGE as SIMULATE
from clickscape.types import Product
from clickscape.workspace import Workspace


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    made = Workspace.create(tmp_path / "shop")
    made.settings_path.write_text("[generate]\nsize = 128\n")
    return made


def picture() -> bytes:
    """A mug-like shape with alpha."""
    pixels = np.zeros((160, 160, 4), np.uint8)
    pixels[30:140, 40:120] = (180, 40, 40, 255)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


@pytest.mark.slow
def test_a_photo_becomes_a_served_ad_and_its_events_come_home(shop: Workspace) -> None:
    _, engine, settings, key = open_service(shop.path)
    service = Service(shop.path, engine, settings.serve, settings.clicks, key, bandit_policy.propensities)
    client = TestClient(create(service))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        text = create_key(connection, roles=["admin"], label="", now=NOW)
    headers = {"Authorization": f"Bearer {text}"}
    worker = Worker(shop, engine)

    def finish(answer: object) -> dict[str, object]:
        assert answer.status_code == 202, answer.text  # type: ignore[attr-defined]
        assert worker.do_next()
        found: dict[str, object] = client.get(f"/v1/jobs/{answer.json()['job_id']}", headers=headers).json()  # type: ignore[attr-defined]
        assert found["status"] == "done", found
        return found["result"]  # type: ignore[return-value]

    sent = {"title": "Red Mug", "product_id": "mug", "category": "Home > Kitchen"}
    finish(client.post("/v1/products", data=sent, files={"photo": ("mug.png", picture())}, headers=headers))
    (product,) = client.get("/v1/products", headers=headers).json()
    assert (product["title"], product["category"]) == ("Red Mug", ["Home", "Kitchen"])

    made = finish(client.post("/v1/products/mug/creatives", json={"keep": 2}, headers=headers))
    assert len(made["creatives"]) == 2  # type: ignore[arg-type]
    edited = {"description": "pale marble podium, soft morning light", "parent_id": made["creatives"][0]}  # type: ignore[index]
    drawn = finish(client.post("/v1/products/mug/draw", json=edited, headers=headers))
    (name,) = drawn["creatives"]  # type: ignore[misc]
    listed = client.get("/v1/products/mug/creatives", headers=headers).json()
    assert {one["status"] for one in listed} == {"draft"}
    assert client.get(f"/v1/images/{name}").status_code == 404

    client.post(f"/v1/creatives/{name}/review", json={"decision": "approve"}, headers=headers)
    choice = client.get("/v1/choose", params={"product_id": "mug", "user_key": "ann"}, headers=headers).json()
    assert choice["creative_id"] == name
    assert Image.open(io.BytesIO(client.get(choice["image"]).content)).size == (128, 128)
    batch = [{"event_id": kind, "kind": kind, "decision_id": choice["decision_id"]} for kind in ("impression", "click")]
    assert client.post("/v1/events", json={"events": batch}, headers=headers).json()["attributed"] == 2
    assert workspace_sync.pull(engine, shop, now=NOW).events == 2
    statuses = {one.creative_id: one.status for one in shop.creatives()}
    assert statuses[name] == "approved"
    assert sum(status == "draft" for status in statuses.values()) == 2
    service.close()
    engine.dispose()


@pytest.mark.slow
def test_a_worker_that_is_killed_leaves_its_job_to_the_next(shop: Workspace) -> None:
    _, engine, _, _ = open_service(shop.path)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        name = jobs.enqueue(connection, "publish", {}, now=NOW)
    environment = os.environ | {WORKSPACE: str(shop.path)}
    code = (
        "from clickscape.service import worker\n"
        "worker.workspace_sync.publish = lambda *a, **k: (print('busy', flush=True), __import__('time').sleep(600))\n"
        "worker.main()"
    )
    started = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "busy\n"
    started.send_signal(signal.SIGKILL)
    started.wait()
    started.stdout.close()
    found = jobs.find(engine, name)
    assert found is not None
    assert found.status == "running"
    assert jobs.claim(engine, now=time.time_ns() // 1_000) is None  # it may only be slow
    claimed = jobs.claim(engine, now=time.time_ns() // 1_000 + jobs.SILENT + 1)
    assert claimed is not None
    assert claimed.job_id == name
    engine.dispose()


def test_what_a_stage_refuses_fails_the_job_in_one_line(shop: Workspace) -> None:
    _, engine, _, _ = open_service(shop.path)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        name = jobs.enqueue(connection, "draw", {"product_id": "none", "description": "x"}, now=NOW)
    assert Worker(shop, engine).do_next()
    found = jobs.find(engine, name)
    assert found is not None
    assert found.status == "failed"
    assert "\n" not in found.message
    engine.dispose()


@pytest.mark.parametrize("data", [b"", b"<svg onload=alert(1)>", b"%PDF-1.4", b"MZ"])
def test_uploads_that_are_no_pictures_are_refused(
    client: TestClient, key: Callable[..., dict[str, str]], data: bytes, tmp_path: Path
) -> None:
    sent = {"title": "Red Mug", "product_id": "mug"}
    answer = client.post("/v1/products", data=sent, files={"photo": ("../../x.png", data)}, headers=key("approve"))
    assert answer.status_code == 422
    assert not (tmp_path / "service" / "uploads").exists()


def test_an_uploads_name_never_becomes_a_files_name(
    client: TestClient, key: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    sent = {"title": "Red Mug", "product_id": "../../mug"}
    answer = client.post("/v1/products", data=sent, files={"photo": ("../../x.png", picture())}, headers=key("approve"))
    assert answer.status_code == 202
    (file,) = (tmp_path / "service" / "uploads").iterdir()
    assert len(file.stem) == 32


def test_sent_files_that_nobody_needs_are_swept(shop: Workspace) -> None:
    _, engine, _, _ = open_service(shop.path)
    fill(engine, [creative("a")])
    folder = shop.path / publishing.UPLOADS
    folder.mkdir(parents=True)
    for name in ("photo.png", "queued.png", "scored.png", "done.png", "young.png"):
        (folder / name).write_bytes(b"x")
        if name != "young.png":
            os.utime(folder / name, (1, 1))
    publishing.note_photo(engine, "mug", photo=f"{publishing.UPLOADS}/photo.png", points=None)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        jobs.enqueue(connection, "add_product", {"photo": "queued.png"}, now=NOW)
        jobs.enqueue(connection, "score", {"images": ["scored.png"]}, now=NOW)
        done = jobs.enqueue(connection, "score", {"images": ["done.png"]}, now=NOW)
    jobs.tell(engine, done, now=NOW, status="done")
    assert sweep_uploads(engine, shop.path) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["photo.png", "queued.png", "scored.png", "young.png"]
    engine.dispose()


@pytest.mark.parametrize(
    ("of_store", "of_workspace", "expected"),
    [("draft", "approved", "approved"), ("draft", "rejected", "rejected"), ("approved", "draft", "approved"),
     ("approved", "retired", "retired"), ("retired", "approved", "retired"), ("rejected", "approved", "rejected")],
)  # fmt: skip
def test_decisions_of_both_sides_meet_and_retiring_is_for_good(
    shop: Workspace, of_store: str, of_workspace: str, expected: str
) -> None:
    _, engine, _, _ = open_service(shop.path)
    fill(engine, [creative("a", status=of_store)])
    shop.write_products([Product("mug", "Mug")])
    shop.write_creatives([creative("a", status=of_workspace)])
    for _ in range(2):
        workspace_sync.pull(engine, shop, now=NOW)
        (row,) = rows(engine, schema.creatives)
        assert (row.status, [one.status for one in shop.creatives()]) == (expected, [expected])
    engine.dispose()


def test_events_come_into_the_workspace_on_a_schedule(shop: Workspace) -> None:
    _, engine, _, _ = open_service(shop.path)
    fill(engine, [creative("a")])
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        write_events(connection, [event(1), event(1, "click")])
    worker = Worker(shop, engine, pull_minutes=1e-6)
    thread = threading.Thread(target=worker.run)
    thread.start()
    end = time.monotonic() + 60
    while not list(shop.events_folder.glob("*.parquet")):
        assert time.monotonic() < end
        time.sleep(0.05)
    worker.stop.set()
    thread.join()
    (file,) = shop.events_folder.glob("*.parquet")
    assert pq.read_table(file)["kind"].to_pylist() == ["click", "impression"]
    engine.dispose()


def test_events_are_not_mixed_with_those_of_simulated_users(shop: Workspace) -> None:
    _, engine, _, _ = open_service(shop.path)
    fill(engine, [creative("a", status="approved")])
    shop.write_products([Product("mug", "Mug")])
    shop.write_creatives([creative("a", status="draft")])
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        write_events(connection, [event(1)])
    shop.events_folder.mkdir(parents=True)
    invented = shop.events_folder / "part-0.parquet"
    with shop.start_run(SIMULATE, {}, {}) as run:
        pq.write_table(pa.table({"event_id": ["x"]}), invented)
        run.finish(outputs=[invented])
    with pytest.raises(WorkspaceError, match=r"part-0\.parquet holds clicks of simulated users.*Move it out"):
        workspace_sync.pull(engine, shop, now=NOW)
    assert [one.status for one in shop.creatives()] == ["approved"], "decisions are brought all the same"
    assert any("part-0.parquet holds clicks of simulated users" in line for line in problems(shop, engine))
    worker = Worker(shop, engine, pull_minutes=1e-9)
    thread = threading.Thread(target=worker.run)
    thread.start()
    job = workspace_job(engine, "experiments")
    end = time.monotonic() + 60
    while (found := jobs.find(engine, job)) is not None and found.status in ("queued", "running"):
        if time.monotonic() > end:
            break
        time.sleep(0.05)
    worker.stop.set()
    thread.join()
    assert found is not None
    assert (found.status, found.message) == ("done", ""), "a schedule that is refused ends nobody's work"
    invented.rename(shop.path / "invented.parquet")
    assert workspace_sync.pull(engine, shop, now=NOW).events == 1
    assert workspace_sync.pull(engine, shop, now=NOW).events == 0, "its own files are no simulated ones"
    engine.dispose()


def workspace_job(engine: Engine, kind: jobs.JobKind) -> str:
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        return jobs.enqueue(connection, kind, {}, now=time.time_ns() // 1_000)
