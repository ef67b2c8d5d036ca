"""`clickscape labels export | import`, and where labels go: a reward model is compared with them and learns none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.factory import clickscape, copy_of
from tests.stages.conftest import SMALL_REWARD

from clickscape.reward.labels import Label
from clickscape.stages.labels import export_labels, keep_labels, labels_path, read_labels
from clickscape.stages.progress import run
from clickscape.stages.review import review
from clickscape.stages.reward import reward
from clickscape.workspace import Workspace

pytestmark = pytest.mark.slow  # one preparation of seconds serves the whole folder


def test_tasks_go_to_label_studio_and_answers_come_back(logged_shop: Workspace, tmp_path: Path) -> None:
    shop = copy_of(logged_shop, tmp_path / "my shop")
    some = [replace(one, model_id="tiny", status="draft") for one in shop.creatives()[:8]]
    shop.write_creatives(some)
    first, second, *_ = [one.creative_id for one in some if one.product_id == some[0].product_id]
    review(shop, approve=[first], reject=[second])
    assert [(one.creative_id, one.decision) for one in read_labels(shop)] == [(first, "approve"), (second, "reject")]

    code, text, _ = clickscape("labels", "export", shop.path, "--out", tmp_path / "tasks.json", "--per-product", "2")
    assert (code, "4 pairs, 1 of them answered" in text) == (0, True)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert "<Pairwise" in (tmp_path / "tasks.xml").read_text()
    (told,) = [one for one in tasks if "annotations" in one]
    answered = told["data"]
    assert {answered["left_id"], answered["right_id"]} == {first, second}
    side = "left" if answered["left_id"] == first else "right"
    assert told["annotations"][0]["result"][0]["value"] == {"selected": side}
    assert answered[side] == f"/data/local-files/?d=my%20shop/creatives/images/{first}.webp"
    web = export_labels(shop, tmp_path / "web.json", base_url="https://cdn.example/shop/")
    assert json.loads(web.path.read_text())[0]["data"]["left"].startswith("https://cdn.example/shop/creatives/images/")

    result = {"type": "pairwise", "from_name": "better", "to_name": "left,right", "value": {"selected": "right"}}
    for one in tasks:
        one["annotations"] = [{"result": [result], "completed_by": 3}]
    (tmp_path / "project.json").write_text(json.dumps(tasks))
    assert clickscape("labels", "import", shop.path, tmp_path / "project.json")[1].startswith("4 answers")
    assert len(read_labels(shop)) == 2 + 4
    assert clickscape("labels", "import", shop.path, tmp_path / "project.json")[0] == 0
    assert len(read_labels(shop)) == 2 + 4, "the same person's answer again is the same answer"

    before = labels_path(shop).read_bytes()
    tasks[-1]["data"]["left_id"] = "gone"
    (tmp_path / "project.json").write_text(json.dumps(tasks))
    code, _, error = clickscape("labels", "import", shop.path, tmp_path / "project.json")
    assert (code, error.count("\n")) == (2, 1)
    assert f"{tmp_path / 'project.json'}, task 4: there is no creative 'gone'" in error
    assert labels_path(shop).read_bytes() == before, "nothing of a file with a bad task is kept"
    keep_labels(shop, [])
    assert labels_path(shop).read_bytes() == before


def test_a_reward_model_is_compared_with_labels_and_learns_from_none(shop: Workspace, tmp_path: Path) -> None:
    copied = copy_of(shop, tmp_path / "copy")
    of: dict[str, list[str]] = {}
    for one in copied.creatives():
        of.setdefault(one.product_id, []).append(one.creative_id)
    keep_labels(copied, [Label(own[0], name, "prefer", own[1], source="label studio") for name, own in of.items()])
    made = run(reward(copied, SMALL_REWARD))
    (line,) = [line for line in made.result["summary"] if line.startswith("people’s labels")]
    assert f"of {len(of)} pairs of {len(of)} products, none of which it learned from" in line
    share = made.result["people"]["share"]
    assert 0 <= share["low"] < share["value"] < share["high"] <= 1
    files = sorted((shop.models / "reward").rglob("*.safetensors"))
    assert files
    for file in files:
        before, after = load_file(file), load_file(copied.path / file.relative_to(shop.path))
        for name, value in before.items():
            np.testing.assert_allclose(after[name], value, rtol=1e-4, atol=1e-6)
