"""What the worker makes for people to look at and take away: heat maps, pictures for placements, labels."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image
from sqlalchemy.engine import Engine
from tests.service.conftest import NOW, give_reward

from clickscape.catalog.images import open_image
from clickscape.render import placements, provenance
from clickscape.render.scene import slots_of
from clickscape.reward import load
from clickscape.reward.explain.scale import Scale
from clickscape.service import jobs, publishing, workspace_sync
from clickscape.service.downloads import GROUPS
from clickscape.service.page.heat_map import look
from clickscape.service.run import open_service
from clickscape.service.worker import Worker
from clickscape.stages.labels import read_labels
from clickscape.workspace import Workspace

pytestmark = pytest.mark.slow


@dataclass
class Made:
    """A shop with a product, two ads of it, and its worker."""

    shop: Workspace
    engine: Engine
    worker: Worker

    def do(self, kind: jobs.JobKind, **payload: Any) -> jobs.Job:
        """Have a job done."""
        with self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            name = jobs.enqueue(connection, kind, payload, now=NOW)
        while (found := jobs.find(self.engine, name)) and found.status == "queued":
            assert self.worker.do_next()  # what the worker found to do by itself may come first
        assert found is not None
        return found

    def zip_of(self, job: jobs.Job) -> dict[str, bytes]:
        """The files that a job packed."""
        assert job.status == "done", job.message
        assert job.result is not None
        with zipfile.ZipFile(self.shop.path / job.result["file"]) as packed:
            return {name: packed.read(name) for name in packed.namelist()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    shop = Workspace.create(tmp_path_factory.mktemp("files") / "shop")
    shop.settings_path.write_text("[generate]\nsize = 128\n")
    _, engine, _, _ = open_service(shop.path)
    made = Made(shop, engine, Worker(shop, engine))
    pixels = np.zeros((160, 160, 4), np.uint8)
    pixels[30:140, 40:120] = (180, 40, 40, 255)
    photo = shop.path / publishing.UPLOADS / "mug.png"
    photo.parent.mkdir(parents=True)
    Image.fromarray(pixels).save(photo)
    assert made.do("add_product", product_id="mug/1", title="Red Mug", photo="mug.png").status == "done"
    assert made.do("generate", product_id="mug/1", keep=2, seed=0).status == "done"
    yield made
    engine.dispose()


def test_without_a_reward_model_there_is_no_heat_map_and_with_a_new_one_an_old_map_is_none(
    made: Made, small_reward: Path
) -> None:
    name = made.shop.creatives()[0].creative_id
    reason = "not enough evidence: no reward model has learned from clicks yet"
    assert made.do("heat_map", creative_id=name).result == {"reason": reason}
    assert look(made.shop.path, name).state == "none"
    shutil.copytree(small_reward, made.shop.models / "reward")
    assert made.do("heat_map", creative_id=name).result == {"reason": ""}
    shown = look(made.shop.path, name)
    assert shown.state == "shown"
    assert shown.said[-1].lower().count("not enough evidence") == 1
    (picture,) = (made.shop.path / "explanations" / "maps").glob("*.webp")
    with Image.open(picture) as drawn:
        assert drawn.size == (512, 512)
        assert np.ptp(np.asarray(drawn)) > 20, "the ad shows through"
    shutil.rmtree(made.shop.models / "reward")
    assert look(made.shop.path, name).state == "none"
    shutil.copytree(small_reward, made.shop.models / "reward", copy_function=shutil.copyfile)
    (made.shop.models / "reward").touch()
    assert look(made.shop.path, name).state == "none", "the map is of the model of before"
    shutil.rmtree(made.shop.models / "reward")
    failed = made.do("heat_map", creative_id="../nobody")
    assert failed.result == {"reason": reason}
    assert look(made.shop.path, "../../../etc/passwd").state == "none"


def test_an_approved_ad_is_packed_for_its_placements_with_manifest_and_provenance(made: Made) -> None:
    creative = made.shop.creatives()[0]
    payload = {"creative_id": creative.creative_id, "group": "shapes", "placements": ["1x1", "1.91x1"]}
    refused = made.do("export", **payload)
    assert refused.status == "failed"
    assert "no creative of shop is approved" in refused.message
    publishing.decide(made.engine, creative.creative_id, decision="approve", reason="", key_id="k", now=NOW)
    job = made.do("export", **payload)
    files = made.zip_of(job)
    assert job.result is not None
    assert (job.result["pictures"], len(files)) == (2, 3)
    manifest = json.loads(files["manifest.json"])
    assert {one["placement"] for one in manifest["renditions"]} == {"1x1", "1.91x1"}
    assert {one["creative_id"] for one in manifest["renditions"]} == {creative.creative_id}
    for one in manifest["renditions"]:
        assert Image.open(io.BytesIO(files[one["file"]])).size == (one["width"], one["height"])
        said = provenance.inspect(files[one["file"]])
        assert said is not None
        assert said.provenance.creative_id == creative.creative_id
    assert made.zip_of(made.do("export", **payload)) == files, "nothing is drawn twice"


def test_predicted_clicks_are_logits_by_their_scale_and_none_without(made: Made, small_reward: Path) -> None:
    """slope .02: 10 logits above the average are .2 of log CTR; the sd holds the scale's own error and its misfit."""
    own = made.shop.creatives()

    def scores() -> dict[str, tuple[float | None, float | None]]:
        workspace_sync.publish(made.engine, made.shop, now=NOW, product_id="mug/1")
        found = publishing.list_creatives(made.engine, "mug/1") or []
        return {one.creative_id: (one.score, one.score_sd) for one in found}

    shutil.rmtree(made.shop.models / "reward", ignore_errors=True)
    shutil.copytree(small_reward, made.shop.models / "reward")
    assert set(scores().values()) == {(None, None)}, "no clicks say what a logit is"
    shutil.rmtree(made.shop.models / "reward")
    shutil.rmtree(made.shop.path / "explanations", ignore_errors=True)
    give_reward(made.shop, small_reward, Scale(slope=0.02, error=0.004, misfit=0.1, products=12))
    model = load(made.shop.models / "reward").with_given_scenes()
    pictures = [open_image(one.image)[..., :3] for one in own]
    (product,) = made.shop.products()
    ranking = model.rank(product, pictures, [slots_of(one) for one in own])
    middle = sum(one.score.value for one in ranking) / 2
    for name, (score, sd) in scores().items():
        logits = next(one.score.value for one in ranking if own[one.index].creative_id == name) - middle
        assert score == pytest.approx(0.02 * logits)
        assert sd is not None
        assert sd**2 > (0.004 * logits) ** 2 + 0.1**2
    shutil.rmtree(made.shop.models / "reward")


def test_every_placement_is_in_one_group() -> None:
    found = [one.name for _, names in GROUPS.values() for one in placements.find(*names)]
    assert sorted(found) == sorted(one.name for one in placements.load())


def test_decisions_become_labels_and_answers_from_label_studio_are_kept_whole_or_not_at_all(made: Made) -> None:
    first, second = [one.creative_id for one in made.shop.creatives()]
    for name, decision in ((first, "approve"), (second, "reject")):
        publishing.decide(made.engine, name, decision=decision, reason="<b>too busy</b>", key_id="k1", now=NOW)  # type: ignore[arg-type]
    workspace_sync.pull_decisions(made.engine, made.shop, now=NOW)
    assert [(one.creative_id, one.decision, one.reason, one.reviewer) for one in read_labels(made.shop)] == [
        (name, decision, "<b>too busy</b>", "k1") for name, decision in sorted([(first, "approve"), (second, "reject")])
    ]
    packed = made.zip_of(made.do("export_labels"))
    assert set(packed) == {"labels.json", "labels.xml"}
    (task,) = json.loads(packed["labels.json"])
    side = "left" if task["data"]["left_id"] == first else "right"
    assert task["annotations"][0]["result"][0]["value"] == {"selected": side}

    upload = made.shop.path / publishing.UPLOADS / "answers.json"
    task["annotations"][0]["result"][0]["value"] = {"selected": "both"}
    upload.write_text(json.dumps([task]))
    failed = made.do("import_labels", file="answers.json")
    assert failed.message == (
        "the file, task 1, annotation 1: expected one answer, 'left' or 'right'. Answer the task again, or remove it."
    )
    assert not upload.exists()
    assert len(read_labels(made.shop)) == 2
    upload.write_bytes(packed["labels.json"])
    assert made.do("import_labels", file="answers.json").result == {"answers": 1}
    assert len(read_labels(made.shop)) == 3
    with made.engine.connect() as connection:
        assert connection.execute(sa.text("select count(*) from reviews")).scalar_one() == 3
