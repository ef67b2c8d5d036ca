"""Tiny pipelines of the real classes, random weights, saved once and opened offline; and products to draw around."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clickscape.config import DiffusionConfig
from clickscape.types import Product

SIDE = 32
CONTEXT = 77
WORDS = "oak table soft light lemons mint wall blurred kitchen warm pale marble podium".split()


def config(folder: Path, family: str, **changed: object) -> DiffusionConfig:
    """Settings that open the tiny pipeline of `family` below `folder`: 32 px, two steps, float32."""
    tiny: dict[str, object] = {
        "family": family,
        "model": str(folder / family),
        "controlnet": str(folder / f"{family}-canny"),
        "safety_model": str(folder / "sd15"),
        "variant": "",
        "side": SIDE,
        "steps": 2,
        "style": "",
        "device": "cpu",
    }
    return DiffusionConfig.model_validate({**tiny, **changed})


def disc(color: tuple[int, int, int], *, side: int = 120) -> np.ndarray:
    """A disc of one color with a soft outline in a larger empty picture, (side, side, 4)."""
    y, x = np.mgrid[:side, :side]
    inside = side * 0.4 - np.hypot(x - side / 2 + 0.5, y - side / 2 + 0.5)
    picture = np.zeros((side, side, 4), np.uint8)
    picture[..., :3] = color
    picture[..., 3] = np.clip(inside + 0.5, 0, 1) * 255
    return picture


@pytest.fixture(scope="session")
def products(tmp_path_factory: pytest.TempPathFactory) -> list[Product]:
    """A red ball, a blue mug and a black one."""
    folder = tmp_path_factory.mktemp("products")
    made = []
    for name, color in (("Red Ball", (200, 30, 30)), ("Blue Mug", (30, 60, 200)), ("Black Mug", (0, 0, 0))):
        path = folder / f"{name}.png"
        Image.fromarray(disc(color)).save(path)
        made.append(Product(name, name, image=str(path)))
    return made


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders sd15, sd15-canny, sdxl and sdxl-canny, as the hub's look; sd15 has a safety checker."""
    pytest.importorskip("diffusers", reason="the diffusion renderer's extra is not installed")
    folder = tmp_path_factory.mktemp("pipelines")
    _save_sd15(folder)
    _save_sdxl(folder)
    return folder


def _save_sd15(folder: Path) -> None:
    import torch
    from diffusers import (
        AutoencoderKL,
        ControlNetModel,
        DDIMScheduler,
        StableDiffusionControlNetInpaintPipeline,
        UNet2DConditionModel,
    )
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPTextModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(in_channels=9, cross_attention_dim=32, **_blocks())
        controlnet = ControlNetModel.from_unet(UNet2DConditionModel(in_channels=4, cross_attention_dim=32, **_blocks()))
        _wake(controlnet)
        checker = StableDiffusionSafetyChecker(
            CLIPConfig(
                vision_config={**_clip(), "image_size": 32, "patch_size": 8},
                text_config=_clip(),
                projection_dim=16,
            )
        )
        pipeline = StableDiffusionControlNetInpaintPipeline(
            vae=AutoencoderKL(**_vae()),
            text_encoder=CLIPTextModel(_text_config()),
            tokenizer=_tokenizer(folder),
            unet=unet,
            controlnet=controlnet,
            scheduler=DDIMScheduler(**_schedule()),
            safety_checker=checker,
            feature_extractor=CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32),
        )
    pipeline.save_pretrained(folder / "sd15")
    controlnet.save_pretrained(folder / "sd15-canny")


def _save_sdxl(folder: Path) -> None:
    import torch
    from diffusers import (
        AutoencoderKL,
        ControlNetModel,
        EulerDiscreteScheduler,
        StableDiffusionXLControlNetInpaintPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        shape = {
            **_blocks(),
            "cross_attention_dim": 64,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 32,
        }
        controlnet = ControlNetModel.from_unet(UNet2DConditionModel(in_channels=4, **shape))
        _wake(controlnet)
        pipeline = StableDiffusionXLControlNetInpaintPipeline(
            vae=AutoencoderKL(**_vae()),
            text_encoder=CLIPTextModel(_text_config()),
            text_encoder_2=CLIPTextModelWithProjection(_text_config()),
            tokenizer=_tokenizer(folder),
            tokenizer_2=_tokenizer(folder, pad="!"),
            unet=UNet2DConditionModel(in_channels=4, **shape),
            controlnet=controlnet,
            scheduler=EulerDiscreteScheduler(**_schedule()),
            add_watermarker=False,
        )
    pipeline.save_pretrained(folder / "sdxl")
    controlnet.save_pretrained(folder / "sdxl-canny")


def _wake(controlnet: object) -> None:
    """A new ControlNet gives zeros; random weights instead, so that what it sees changes the picture."""
    import torch

    for layer in [*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block]:  # type: ignore[attr-defined]
        torch.nn.init.normal_(layer.weight, std=0.3)
    torch.nn.init.normal_(controlnet.controlnet_cond_embedding.conv_out.weight, std=0.3)  # type: ignore[attr-defined]


def _blocks() -> dict[str, object]:
    return {
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "sample_size": 16,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "norm_num_groups": 4,
        "attention_head_dim": 4,
    }


def _vae() -> dict[str, object]:
    return {
        "block_out_channels": (8, 8, 8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "sample_size": SIDE,
    }


def _schedule() -> dict[str, object]:
    return {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def _clip() -> dict[str, int]:
    return {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}


def _text_config() -> object:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        **_clip(), max_position_embeddings=CONTEXT, projection_dim=32, vocab_size=1_000, bos_token_id=0, eos_token_id=2
    )


def _tokenizer(folder: Path, *, pad: str = "<|endoftext|>") -> object:
    """CLIP's own tokenizer over the letters and the words above."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(33, 127)]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        left = word[0]
        for place, letter in enumerate(word[1:], start=2):
            right = f"{letter}</w>" if place == len(word) else letter
            if (left, right) not in merges:
                merges.append((left, right))
                pieces.append(left + right)
            left += right
    vocabulary = {piece: number for number, piece in enumerate(["<|startoftext|>", *dict.fromkeys(pieces)])}
    vocabulary["<|endoftext|>"] = len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(merge) for merge in merges))
    return CLIPTokenizer.from_pretrained(folder, pad_token=pad, model_max_length=CONTEXT)
