"""Tiny checkpoints as the paper's code writes them: its names, its settings, Llama's tokenizer, a CLIP folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaTokenizer

WIDTH, LAYERS, HEADS, KV_HEADS, FFN = 32, 2, 4, 2, 48
TOWER_WIDTH, TOWER_LAYERS, TOWER_HEADS, SIDE, PATCH = 24, 3, 2, 28, 14
GRIDS = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]


def _tokenizer(*, legacy: bool) -> LlamaTokenizer:
    """Llama's kind: bytes as a last resort, a mark for spaces, a few merges."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    words += [chr(code) for code in range(33, 127)]
    merges = [("▁", "a"), ("▁", "W"), ("h", "i"), ("hi", "c"), ("▁", "p"), ("▁p", "a"), ("r", "t"), ("▁", "A")]
    words += ["".join(pair) for pair in merges]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    return LlamaTokenizer(vocab=vocabulary, merges=merges, legacy=legacy, add_bos_token=True, pad_token="<unk>")


def _state(rng: torch.Generator, *, words: int, reward: bool, tower: bool) -> dict[str, Tensor]:
    """Random weights under the original's names, large enough that every part matters."""

    def normal(*shape: int, scale: float = 0.25) -> Tensor:
        return torch.randn(*shape, generator=rng) * scale

    state = {
        "model.embed_tokens.weight": normal(words, WIDTH, scale=1.0),
        "model.norm.weight": 1 + normal(WIDTH),
        "model.image_newline": normal(WIDTH, scale=1.0),
        "model.mm_projector.0.weight": normal(WIDTH, TOWER_WIDTH),
        "model.mm_projector.0.bias": normal(WIDTH),
        "model.mm_projector.2.weight": normal(WIDTH, WIDTH),
        "model.mm_projector.2.bias": normal(WIDTH),
    }
    narrow = WIDTH // HEADS * KV_HEADS
    for number in range(LAYERS):
        layer = f"model.layers.{number}."
        for name, shape in {
            "self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (narrow, WIDTH),
            "self_attn.v_proj": (narrow, WIDTH), "self_attn.o_proj": (WIDTH, WIDTH),
            "mlp.gate_proj": (FFN, WIDTH), "mlp.up_proj": (FFN, WIDTH), "mlp.down_proj": (WIDTH, FFN),
        }.items():  # fmt: skip
            state[f"{layer}{name}.weight"] = normal(*shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            state[f"{layer}{name}.weight"] = 1 + normal(WIDTH)
        state[f"{layer}self_attn.rotary_emb.inv_freq"] = torch.zeros(WIDTH // HEADS // 2)
    if reward:
        state["score.weight"] = normal(2, WIDTH)
        state["sku_ctr_linear_fc.0.weight"] = normal(2, WIDTH)
    else:
        state["lm_head.weight"] = normal(words, WIDTH)
    if tower:
        own = {name: normal(*value.shape) for name, value in _tower_state().items()}
        state |= {f"model.vision_tower.vision_tower.{name}": value for name, value in own.items()}
        state["model.vision_tower.vision_tower.vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    return state


def _tower_settings() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=TOWER_WIDTH, intermediate_size=40, num_hidden_layers=TOWER_LAYERS, image_size=SIDE,
        num_attention_heads=TOWER_HEADS, patch_size=PATCH, projection_dim=16,
    )  # fmt: skip


def _tower_state() -> dict[str, Tensor]:
    """Names as CLIP folders have them: with `vision_model.` in front."""
    model = CLIPVisionModel(_tower_settings())
    return {f"vision_model.{name.removeprefix('vision_model.')}": value for name, value in model.state_dict().items()}


def _write_tower(folder: Path, rng: torch.Generator) -> None:
    folder.mkdir()
    settings = _tower_settings().to_dict()
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": settings}))
    seen = {"size": SIDE, "crop_size": SIDE, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.3, 0.2, 0.25]}
    (folder / "preprocessor_config.json").write_text(json.dumps({**seen, "resample": 3, "do_center_crop": True}))
    state = {name: torch.randn(value.shape, generator=rng) * 0.25 for name, value in _tower_state().items()}
    state |= {"logit_scale": torch.tensor(2.6), "text_model.final_layer_norm.weight": torch.ones(8)}
    save_file(state, folder / "model.safetensors")


@dataclass(frozen=True)
class Original:
    """A checkpoint folder of the paper's code, its tower's folder, and what lies in both."""

    folder: Path
    tower: Path
    settings: Mapping[str, Any]
    state: Mapping[str, Tensor]
    tower_state: Mapping[str, Tensor]
    tokenizer: LlamaTokenizer

    def save(self, state: Mapping[str, Tensor], *, shards: int = 1) -> None:
        """Write weights anew, in another number of files."""
        for file in self.folder.glob("*"):
            if file.suffix == ".safetensors" or file.name.endswith(".index.json"):
                file.unlink()
        names = sorted(state)
        placed: dict[str, str] = {}
        for number in range(shards):
            own = {name: state[name] for name in names[number::shards]}
            file = "model.safetensors" if shards == 1 else f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
            save_file(own, self.folder / file)
            placed |= dict.fromkeys(own, file)
        if shards > 1:
            index = {"metadata": {}, "weight_map": placed}
            (self.folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _make(
    folder: Path,
    *,
    reward: bool,
    tower: bool = True,
    legacy: bool = False,
    seed: int = 0,
    aspect: str = "anyres",
    merge: str | None = "spatial_unpad",
) -> Original:
    rng = torch.Generator().manual_seed(seed)
    tokenizer = _tokenizer(legacy=legacy)
    _write_tower(folder / "tower", rng)
    settings = {
        "model_type": "llava_llama",
        "architectures": ["LlavaLlamaForClassNew" if reward else "LlavaLlamaForCausalLM"],
        "hidden_size": WIDTH, "intermediate_size": FFN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "hidden_act": "silu", "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
        "rope_theta": 5000.0, "rope_scaling": None, "vocab_size": len(tokenizer), "tie_word_embeddings": False,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "torch_dtype": "float32",
        "image_aspect_ratio": aspect, "mm_patch_merge_type": merge, "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_feature": "patch", "mm_vision_select_layer": -2, "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False, "image_grid_pinpoints": GRIDS, "unfreeze_mm_vision_tower": tower,
        "mm_vision_tower": "somewhere/else",
    }  # fmt: skip
    state = _state(rng, words=len(tokenizer), reward=reward, tower=tower)
    if merge != "spatial_unpad":
        del state["model.image_newline"], settings["image_grid_pinpoints"]
    if merge is None:
        del settings["mm_patch_merge_type"]
    made = Original(
        folder=folder / "original",
        tower=folder / "tower",
        settings=settings,
        state=state,
        tower_state=load_file(folder / "tower" / "model.safetensors"),
        tokenizer=tokenizer,
    )
    made.folder.mkdir()
    tokenizer.save_pretrained(made.folder)
    (made.folder / "config.json").write_text(json.dumps(settings))
    made.save(state)
    return made


@pytest.fixture
def original(tmp_path: Path) -> Callable[..., Original]:
    """Builds a checkpoint of the paper's code: `reward` or prompt model, with or without its own `tower`."""
    return lambda **asked: _make(tmp_path, **asked)


@pytest.fixture(scope="module")
def reward_original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """One reward model for all tests that only read it."""
    return _make(tmp_path_factory.mktemp("reward"), reward=True)
