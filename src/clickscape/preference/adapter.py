"""Attach, save, read and merge a LoRA adapter of the language model (Hu et al. 2022).

Only the adapter learns, so the policy with its adapter disabled is the reference.

An adapter is saved as PEFT saves one, adapter_config.json and adapter_model.safetensors, so that `peft.PeftModel` opens
ours and `merge` folds in whoever's.
"""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors.torch import save_file
from torch import Tensor, nn

from clickscape.compute.untrusted_checkpoint import bounded_loading, check_folder
from clickscape.compute.weights import read_tensors
from clickscape.errors import ModelError, first_line
from clickscape.json_files import read_json
from clickscape.vlm import model as vlm_model
from clickscape.vlm.model import VisionLanguageModel

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"
_MORE_THAN_LORA = ("megatron_config", "layer_replication")


def is_adapter(name: str) -> bool:
    """Whether a parameter of that name belongs to the adapter."""
    return ".lora_" in name


def attach(vlm: VisionLanguageModel, *, rank: int, seed: int) -> VisionLanguageModel:
    """Put a LoRA of this rank into the language model, in place, and return it wrapped; at first it changes nothing.

    Which linear maps take one is the family's (`vlm.backbones`); ModelError for a model that has none of them.
    """
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=vlm.family.lora_targets)
    # peft draws A from the global generator; it is drawn again below.
    with torch.random.fork_rng(devices=[]), _quiet():
        try:
            adapted = get_peft_model(vlm.core, settings)
        except ValueError as error:
            raise ModelError(f"{vlm.model_id}: no linear map of its language model is called as expected "
                             f"({vlm.family.lora_targets}). Train all weights: lora_rank = 0.") from error  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if ".lora_A." in name:
            drawn = torch.empty(parameter.shape)
            nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
            parameter.data.copy_(drawn)
    return VisionLanguageModel(adapted.eval(), vlm.processor, vlm.model_id)


def disabled(vlm: VisionLanguageModel) -> AbstractContextManager[None]:
    """Disable the adapter within the block, so that the model is the reference."""
    return cast("AbstractContextManager[None]", vlm.model.disable_adapter())


def save(vlm: VisionLanguageModel, folder: Path, *, saved: Mapping[str, Tensor] | None = None) -> None:
    """Write the adapter alone into an existing folder, in PEFT's own format; it names the base that it belongs to.

    saved: its `weights`, put together where they are split over processes.
    """
    whole = {name: value.detach().cpu().contiguous() for name, value in (saved or weights(vlm)).items()}
    save_file(whole, folder / WEIGHTS, metadata={"format": "pt"})
    settings = copy.copy(vlm.model.peft_config["default"])
    settings.inference_mode = True
    settings.save_pretrained(folder)
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes files that only their owner may read


def restore(vlm: VisionLanguageModel, folder: Path) -> None:
    """Put saved weights into an attached adapter; ModelError when they are another adapter's."""
    remedy = "Start the optimization in a new folder: this adapter is damaged, or of another model or rank."
    saved, _ = read_tensors(folder / WEIGHTS, shapes=_shapes(weights(vlm)), remedy=remedy)
    set_peft_model_state_dict(vlm.model, saved)


def merged(vlm: VisionLanguageModel) -> VisionLanguageModel:
    """A copy whose weights hold the adapter, so that plain `transformers` opens it."""
    return VisionLanguageModel(copy.deepcopy(vlm.model).merge_and_unload(), vlm.processor, vlm.model_id)


def merge(folder: Path, *, base: str | os.PathLike[str] | None = None) -> VisionLanguageModel:
    """Open the base of a saved adapter, in the format that it is stored in, and fold the adapter into it.

    ``base`` replaces what the adapter's file names: a folder, a hub id in the local cache, a preset or "tiny".
    ModelError for a folder that holds no adapter, a base that is not here, and an adapter of another model.
    """
    if not (folder / SETTINGS).exists() or not (folder / WEIGHTS).exists():
        raise ModelError(f"{folder}: no LoRA adapter here. Name a folder with {SETTINGS} and {WEIGHTS}.")
    check_folder(folder)
    settings = _settings(folder)
    read_tensors(folder / WEIGHTS)
    named = base or settings.base_model_name_or_path
    if not named:
        raise ModelError(f"{folder / SETTINGS}: names no base model. Name it: --base FOLDER.")
    below = vlm_model.load(named, dtype="stored")
    try:
        with warnings.catch_warnings(), _quiet(), bounded_loading(folder):
            adapted = PeftModel(below.core, settings)
            found = adapted.load_adapter(folder, "default")
            if odd := [*found.missing_keys, *found.unexpected_keys]:
                raise ValueError(f"{len(odd)} tensors too few or too many, the first {odd[0]!r}")
            whole = adapted.merge_and_unload()
    except Exception as error:  # whatever the library raises about files that are not what they should be
        raise ModelError(f"{folder}: does not fit {named} ({first_line(error)}). Name the base that it was trained on: "
                         f"--base FOLDER.") from error  # fmt: skip
    return VisionLanguageModel(whole.eval(), below.processor, below.model_id)


def _settings(folder: Path) -> LoraConfig:
    """The adapter's settings; only plain LoRA: what PEFT does for other kinds imports modules and asks the network."""
    try:
        given = read_json(folder / SETTINGS, dict[str, Any], error=ModelError, remedy="Save the adapter again.")
        odd = [name for name in _MORE_THAN_LORA if given.get(name)]
        if given["peft_type"] != "LORA" or odd:
            kind = f"sets {odd[0]}" if odd else f"is of the kind {str(given['peft_type'])[:40]}"
            raise ModelError(f"{folder / SETTINGS}: {kind}, expected plain LoRA. Merge it with the code that made it.")
        return cast("LoraConfig", LoraConfig.from_pretrained(str(folder)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / SETTINGS}: cannot be read ({error!r}). Save the adapter again.") from error


def weights(vlm: VisionLanguageModel) -> dict[str, Tensor]:
    """Return the adapter's weights by PEFT's names.

    Embeddings never belong to it, so peft need not ask the hub for theirs.
    """
    return dict(get_peft_model_state_dict(vlm.model, save_embedding_layers=False))


def _shapes(named: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: value.shape for name, value in named.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """peft asks transformers for a property under its older name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield
