"""Opening models: folders and single files give the same weights, LoRA changes them by its scale, pickles stay shut."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.damaged_weights import damage_file, every_damage

import clickscape.render
from clickscape.config import DiffusionConfig
from clickscape.errors import ConfigError, ModelError
from clickscape.render.diffusion import weights
from clickscape.render.diffusion.engine import DiffusionRenderer
from clickscape.types import Product

from .conftest import config
from .original import one_file

SIZE = (48, 48)


def test_without_the_extra_the_error_is_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ConfigError, match=r"pip install 'clickscape\[diffusion\]'"):
        clickscape.render.load("diffusion")


def same(left: Any, right: Any) -> None:
    """Both models have the very same weights."""
    one, other = left.state_dict(), right.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_single_file_gives_the_weights_of_the_folder(pipelines: Path, tmp_path: Path) -> None:
    folder = weights.load(config(pipelines, "sd15")).pipeline
    save_file(one_file(folder), tmp_path / "model.safetensors")
    shutil.copytree(pipelines / "sd15-canny", tmp_path / "canny")
    single = config(
        pipelines,
        "sd15",
        model=str(tmp_path / "model.safetensors"),
        config=str(pipelines / "sd15"),
        controlnet=str(tmp_path / "canny" / "diffusion_pytorch_model.safetensors"),
    )
    opened = weights.load(single).pipeline
    for part in ("unet", "vae", "text_encoder", "controlnet"):
        same(getattr(folder, part), getattr(opened, part))


def test_a_single_file_needs_a_configuration(pipelines: Path, tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"model.safetensors: one file holds weights only.*diffusion.config"):
        weights.load(config(pipelines, "sd15", model=str(tmp_path / "model.safetensors")))


def test_a_file_of_something_else_is_refused_by_name(pipelines: Path, tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    wrong = config(pipelines, "sd15", model=str(tmp_path / "model.safetensors"), config=str(pipelines / "sd15"))
    with pytest.raises(ModelError, match=r"model.safetensors: cannot be opened"):
        weights.load(wrong)


@pytest.mark.parametrize("key", ["model", "controlnet", "lora", "safety_model"])
def test_pickled_weights_are_never_opened(pipelines: Path, tmp_path: Path, key: str) -> None:
    pickle = tmp_path / "weights.ckpt"
    torch.save({}, pickle)
    with pytest.raises(ModelError, match=r"weights.ckpt: a pickle can run any program"):
        weights.load(config(pipelines, "sd15", **{key: str(pickle)}))


def test_a_folder_of_pickled_weights_is_refused(pipelines: Path, tmp_path: Path) -> None:
    folder = tmp_path / "canny"
    folder.mkdir()
    shutil.copy(pipelines / "sd15-canny" / "config.json", folder)
    torch.save({}, folder / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelError, match=r"canny: cannot be opened"):
        weights.load(config(pipelines, "sd15", controlnet=str(folder)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": "nobody/nothing-of-this-name"}, r"nobody/nothing.*local hub cache.*allow_download = true"),
        ({"controlnet": "nobody/nothing-of-this-name"}, r"nobody/nothing.*local hub cache"),
        ({"model": "no such folder"}, r"no such folder: no such folder. Name a folder"),
        ({"lora": "gone.safetensors"}, r"gone.safetensors: no such file"),
        ({"safety_model": "sdxl"}, r"sdxl: no folder safety_checker"),
        ({"controlnet": "sdxl-canny"}, r"sdxl-canny: made for text of width 64, but .*sd15 has 32"),
        ({"model": "sd15-canny"}, r"sd15-canny: no model_index.json"),
    ],
)
def test_a_missing_or_mismatched_model_is_one_clear_error(
    pipelines: Path, changed: dict[str, str], message: str
) -> None:
    local = {key: str(pipelines / name) if (pipelines / name).exists() else name for key, name in changed.items()}
    with pytest.raises(ModelError, match=message) as caught:
        weights.load(config(pipelines, "sd15", **local))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"device": "toaster"}, r"diffusion.device: 'toaster' is not a device"), ({"offload": True}, r"offload = false")],
)
def test_a_missing_device_is_a_settings_error(pipelines: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        weights.load(config(pipelines, "sd15", **changed))


def test_the_model_family_fills_missing_settings() -> None:
    assert DiffusionConfig.model_validate({"family": "sdxl"}).side == 1024
    assert DiffusionConfig.model_validate({"family": "sdxl", "side": 768}).side == 768
    assert DiffusionConfig() == DiffusionConfig.model_validate({"family": "sd15"})
    with pytest.raises(ValueError, match="sd15"):
        DiffusionConfig.model_validate({"family": "sd3"})
    with pytest.raises(ValueError, match="steps × strength"):
        DiffusionConfig.model_validate({"steps": 1, "strength": 0.5})


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_lora_changes_the_picture_by_its_scale(
    pipelines: Path, tmp_path: Path, products: list[Product], family: str
) -> None:
    _save_lora(pipelines, family, tmp_path)

    def draw(**changed: object) -> np.ndarray:
        renderer = DiffusionRenderer(config(pipelines, family, safety_checker=False, **changed))
        return renderer.render(products[0], "oak table", size=SIZE, seed=1).image.astype(int)

    plain, without = draw(), draw(lora=str(tmp_path), lora_scale=0.0)
    half, whole = (draw(lora=str(tmp_path / "wood.safetensors"), lora_scale=scale) for scale in (0.5, 1.0))
    assert np.array_equal(plain, without)
    assert 0 < np.abs(half - plain).sum() < np.abs(whole - plain).sum()


def _save_lora(pipelines: Path, family: str, folder: Path) -> None:
    """Random LoRA weights of the U-Net's attention, as peft and diffusers write them."""
    import diffusers
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipeline = weights.load(config(pipelines, family, safety_checker=False)).pipeline
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        pipeline.unet.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_v", "to_out.0"]))
        for name, weight in pipeline.unet.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.2)
    kind = {"sd15": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}[family]
    getattr(diffusers, kind).save_lora_weights(
        folder, unet_lora_layers=get_peft_model_state_dict(pipeline.unet), weight_name="wood.safetensors"
    )


OWN_CODE = """
from pathlib import Path
Path({marker!r}).write_text("run")
from diffusers import UNet2DConditionModel as Own
"""


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("_class_name", ["own", "Own"]),
        ("_class_name", "evil.Own"),
        ("unet", ["own", "Own"]),
        ("unet", ["evil", "Own"]),
        ("unet", ["os", "system"]),
        ("scheduler", ["diffusers", "own.Own"]),
        ("unet", "UNet2DConditionModel"),
        ("unet", ["diffusers"]),
    ],
)
def test_a_pipelines_own_code_is_never_run_nor_asked_about(
    pipelines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, names: object
) -> None:
    marker, folder = tmp_path / "marker", tmp_path / "model"
    shutil.copytree(pipelines / "sd15", folder)
    for place in (folder / "own.py", folder / "unet" / "own.py", folder / "pipeline.py", tmp_path / "evil.py"):
        place.write_text(OWN_CODE.format(marker=str(marker)))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "stdin", said := io.StringIO("y\n" * 20))
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), part: names}))
    with pytest.raises(ModelError, match=rf"model_index.json: {part}") as caught:
        weights.load(config(pipelines, "sd15", model=str(folder)))
    assert "\n" not in str(caught.value)
    assert not marker.exists()
    assert said.tell() == 0


@pytest.mark.slow
@every_damage
@pytest.mark.parametrize("part", ["sd15/unet", "sd15/vae", "sd15/text_encoder", "sd15/safety_checker", "sd15-canny"])
def test_weights_that_do_not_fill_a_part_are_refused(pipelines: Path, part: str, damage: str, tmp_path: Path) -> None:
    for name in ("sd15", "sd15-canny"):
        shutil.copytree(pipelines / name, tmp_path / name)
    (file,) = (tmp_path / part).glob("*.safetensors")
    damage_file(file, damage)
    with pytest.raises(ModelError, match=str(tmp_path)):
        weights.load(config(tmp_path, "sd15"))


@pytest.mark.parametrize(
    ("file", "changed", "message"),
    [
        ("unet/config.json", {"layers_per_block": 10**7}, r"layers_per_block is|more than 20,000 parts"),
        ("unet/config.json", {"block_out_channels": [2**20, 2**20]}, "more weights than its files hold"),
        ("text_encoder/config.json", {"num_hidden_layers": 10**7}, "num_hidden_layers is 10000000"),
        (
            "vae/diffusion_pytorch_model.safetensors.index.json",
            {"weight_map": {"a": "../../x"}},
            "outside of its folder",
        ),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**9}, "num_train_timesteps is"),
    ],
)
def test_a_pipeline_that_asks_for_too_much_is_refused_before_it_is_made(
    pipelines: Path, tmp_path: Path, file: str, changed: dict[str, object], message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(pipelines / "sd15", folder)
    now = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    (folder / file).write_text(json.dumps({**now, **changed}))
    with pytest.raises(ModelError, match=message) as caught:
        weights.load(config(pipelines, "sd15", model=str(folder)))
    assert "\n" not in str(caught.value)
