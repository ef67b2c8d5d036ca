"""LoRA on the language model (Hu et al. 2022).  Without it, the policy is the reference: the weights below stay."""

from __future__ import annotations

import copy
import math
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from clickscape.errors import ModelError
from clickscape.vlm.model import VisionLanguageModel

TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""Every linear map of the language model's blocks; the tower and the projector stay as they are."""


def is_adapter(name: str) -> bool:
    """Whether a parameter of that name belongs to the adapter."""
    return ".lora_" in name


def attach(vlm: VisionLanguageModel, *, rank: int, seed: int) -> VisionLanguageModel:
    """Put a LoRA of this rank into the language model, in place, and return it wrapped; at first it changes nothing."""
    # peft draws A from the global generator (it is drawn again below) and asks transformers for a renamed property.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        adapted = get_peft_model(vlm.core, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=TARGETS))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if ".lora_A." in name:
            drawn = torch.empty(parameter.shape)
            nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
            parameter.data.copy_(drawn)
    return VisionLanguageModel(adapted.eval(), vlm.processor, vlm.model_id)


def detached(vlm: VisionLanguageModel) -> AbstractContextManager[None]:
    """Within the block the model answers as it did before the adapter: as the reference."""
    return cast("AbstractContextManager[None]", vlm.model.disable_adapter())


def save(vlm: VisionLanguageModel, file: Path) -> None:
    """Write the adapter's weights alone (safetensors)."""
    weights = {
        name: value.detach().cpu().contiguous() for name, value in vlm.model.named_parameters() if is_adapter(name)
    }
    save_file(weights, file)


def restore(vlm: VisionLanguageModel, file: Path) -> None:
    """Put saved weights into an attached adapter; ModelError when they are another adapter's."""
    own = {name: value for name, value in vlm.model.named_parameters() if is_adapter(name)}
    try:
        saved = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file}: no readable adapter ({error}). Start the optimization in a new folder.") from None
    if {name: value.shape for name, value in saved.items()} != {name: value.shape for name, value in own.items()}:
        raise ModelError(f"{file}: the adapter of another model or rank. Start the optimization in a new folder.")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(saved[name])


def merged(vlm: VisionLanguageModel) -> VisionLanguageModel:
    """A copy whose weights hold the adapter, so that plain `transformers` opens it."""
    return VisionLanguageModel(copy.deepcopy(vlm.model).merge_and_unload(), vlm.processor, vlm.model_id)
