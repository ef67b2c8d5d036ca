"""Stage `reward` on a vision encoder: trained, reopened, asked; and refused before anything is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.factory import clickscape, copy_of
from transformers import Dinov2Config, Dinov2Model

from clickscape import reward as reward_room
from clickscape.reward.encoders import VisionEncoder
from clickscape.stages.progress import run
from clickscape.stages.reward import reward
from clickscape.stages.score import score
from clickscape.workspace import Workspace

from .conftest import SMALL_REWARD


def _encoder(folder: Path, *, seed: int) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
        Dinov2Model(Dinov2Config(**shape)).save_pretrained(folder)
    pixels = {"crop_size": {"height": 32, "width": 32}, "do_center_crop": True,
              "image_mean": [0.5] * 3, "image_std": [0.25] * 3}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    return folder


@pytest.fixture
def own_shop(logged_shop: Workspace, tmp_path: Path) -> Workspace:
    """A copy to which a test may do what it likes."""
    return copy_of(logged_shop, tmp_path / "shop", "models", "*-reward*")


@pytest.mark.slow
def test_the_encoder_of_the_settings_is_trained_on_and_saved(own_shop: Workspace, tmp_path: Path) -> None:
    folder = _encoder(tmp_path / "dino", seed=0)
    config = SMALL_REWARD.model_copy(update={"backbone": str(folder)})
    manifest = run(reward(own_shop, config))
    assert manifest.result["pairs"] > 0
    steps = next(own_shop.runs_folder.glob("*-reward*/metrics.jsonl")).read_text().splitlines()
    assert steps
    assert run(reward(own_shop, config)).started == manifest.started  # reused

    _encoder(folder, seed=1)  # other weights under the same name are another model
    assert run(reward(own_shop, config)).started != manifest.started
    shutil.rmtree(folder)  # the reward model needs its own folder alone
    model = reward_room.load(own_shop.models / "reward")
    assert isinstance(model.backbone, VisionEncoder)
    own = [Path(creative.image) for creative in own_shop.creatives() if creative.product_id == "coffee_mug-navy"]
    assert {path for path, _ in score(own_shop, "coffee_mug-navy", own)} == set(own)


@pytest.mark.slow
def test_the_command_line_names_the_encoder_or_refuses(own_shop: Workspace, tmp_path: Path) -> None:
    folder = _encoder(tmp_path / "dino", seed=0)
    for given, said in (
        (["--backbone", str(tmp_path / "nowhere")], "no such folder"),
        (["--backbone", str(folder), "--form", "two_branch"], "Use the effects form"),
    ):
        code, _, error = clickscape("reward", own_shop.path, *given)
        assert code == 2
        assert said in error.strip().splitlines()[-1]
        assert not (own_shop.models / "reward").exists()
    assert clickscape("reward", own_shop.path, "--backbone", folder).code == 0
    assert isinstance(reward_room.load(own_shop.models / "reward").backbone, VisionEncoder)
