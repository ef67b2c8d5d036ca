"""Checkpoints of the paper's code (the original LLaVA 1.6 layout over Llama) in transformers' layout.

Those that see a picture and its tiles become LlavaNextForConditionalGeneration, those that see one filled-up square
LlavaForConditionalGeneration. A prompt model is asked as it was taught: its settings hold the paper's instructions.

`plan` reads settings and headers and refuses what does not fit; `write` then moves the weights shard by shard, in
their own precision, so that no second copy is ever in memory. What a reward model has on top (two linear maps on the
last hidden state) is handed back by `heads`; word embeddings serve its backbone as an output layer, which nobody asks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    LlavaProcessor,
)

from clickscape.compute.untrusted_checkpoint import bounded_loading, check_folder
from clickscape.errors import ModelError
from clickscape.vlm.convert import layout
from clickscape.vlm.convert.instructions import CAIG_INSTRUCTIONS
from clickscape.vlm.convert.shards import TensorInfo, load_tensors, read_headers

Kind = Literal["prompt", "reward"]

SCORE, CTR = "score.weight", "sku_ctr_linear_fc.0.weight"
EMBEDDINGS, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"
SHARD = 2 << 30
"""Bytes of one file that is written; so much is in memory at once."""


@dataclass(frozen=True)
class Plan:
    """A checkpoint that fits: what its tensors are called in the end, and everything beside them.

    names: original name → new name, of `tensors`; tower_names likewise in `tower`. rows: words of the new
    vocabulary, among them the one that stands for a picture.
    """

    kind: Kind
    config: LlavaConfig | LlavaNextConfig
    processor: LlavaProcessor | LlavaNextProcessor
    tensors: Mapping[str, TensorInfo]
    names: Mapping[str, str]
    tower: Mapping[str, TensorInfo]
    tower_names: Mapping[str, str]
    rows: int


@dataclass(frozen=True, slots=True)
class TensorWritten:
    """One tensor is in the new folder: `number` of `total`."""

    number: int
    total: int
    name: str


def plan(source: Path, *, vision_tower: Path) -> Plan:
    """Everything about the checkpoint that can be known without reading its weights.

    `vision_tower`: the CLIP folder of the checkpoint (config.json, preprocessor_config.json, weights). As in the
    original, the tower's weights are those of `source` where its settings say `unfreeze_mm_vision_tower`, else those of
    `vision_tower`. ModelError for another layout, and for any tensor that is missing, too many, or of another shape.
    """
    check_folder(source)
    check_folder(vision_tower)
    settings = layout.read_settings(source)
    tensors = read_headers(source)
    kind: Kind = "reward" if SCORE in tensors else "prompt"
    if EMBEDDINGS not in tensors:
        raise ModelError(f"{source}: no tensor {EMBEDDINGS!r}. Expected the original LLaVA layout over Llama; a folder "
                         f"that `save_pretrained` of Hugging Face's LLaVA wrote needs no conversion.")  # fmt: skip
    tokenizer, picture = layout.tokenizer(source)
    words = tensors[EMBEDDINGS].shape[0]
    if picture > words:
        raise ModelError(f"{source}: the tokenizer has {picture} words, {EMBEDDINGS!r} only {words} rows. "
                         f"The files belong to different checkpoints; download them again.")  # fmt: skip
    rows = max(words, picture + 1)
    config = layout.config(settings, vision_tower, rows=rows, picture=picture, tied=kind == "reward")
    config.dtype = tensors[EMBEDDINGS].dtype
    if kind == "prompt":
        config.instructions = list(CAIG_INSTRUCTIONS)
    with bounded_loading(source):
        expected = _expected(config)
    names = _names(tensors, expected, source, kind=kind)
    own_tower = {name for name, new in names.items() if new.startswith(layout.TOWER)}
    tower: dict[str, TensorInfo] = {}
    tower_names: dict[str, str] = {}
    if not (own_tower and settings.get("unfreeze_mm_vision_tower", False)):
        names = {name: new for name, new in names.items() if name not in own_tower}
        tower = read_headers(vision_tower)
        tower_names = _tower_names(tower, expected, vision_tower)
    vocabulary = {EMBEDDINGS, OUTPUT}
    for origin, pieces, renamed in ((source, tensors, names), (vision_tower, tower, tower_names)):
        for name, new in renamed.items():
            wanted = (words, *expected[new][1:]) if name in vocabulary else expected[new]
            if pieces[name].shape != wanted:
                raise ModelError(f"{origin}: the tensor {name!r} has the shape {pieces[name].shape}, expected {wanted} "
                                 f"by config.json. The files belong to different checkpoints.")  # fmt: skip
    _refuse_missing(expected, {**names, **tower_names}, vision_tower if tower else source, source)
    _refuse_heads(tensors, config.text_config.hidden_size, source, kind=kind)
    processor = layout.processor(settings, vision_tower, tokenizer, kind=kind)
    return Plan(kind, config, processor, tensors, names, tower, tower_names, rows)


def write(planned: Plan, folder: Path, *, shard: int = SHARD) -> Iterator[TensorWritten]:
    """Write the checkpoint into an empty folder, one `TensorWritten` per tensor; the caller makes it appear whole."""
    planned.config.save_pretrained(folder)
    ids = {name: getattr(planned.config.text_config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    GenerationConfig(**ids).save_pretrained(folder)
    planned.processor.save_pretrained(folder)
    total = len(planned.names) + len(planned.tower_names)
    files: list[dict[str, Tensor]] = []
    weight_map: dict[str, int] = {}
    pending: dict[str, Tensor] = {}
    size = written = 0
    for new, tensor in _renamed(planned):
        if pending and size + tensor.nbytes > shard:
            _save(pending, folder / f"part-{len(files):05d}.safetensors")
            files.append({})
            pending, size = {}, 0
        pending[new], weight_map[new] = tensor, len(files)
        size += tensor.nbytes
        written += tensor.nbytes
        yield TensorWritten(len(weight_map), total, new)
    _save(pending, folder / f"part-{len(files):05d}.safetensors")
    _name_parts(folder, weight_map, parts=len(files) + 1, size=written)


def heads(planned: Plan) -> dict[str, Float[Tensor, "2 hidden"]]:
    """The reward model's two linear maps, float32 (2, hidden): `score`, and `ctr` where the checkpoint has one."""
    called = {name: short for name, short in ((SCORE, "score"), (CTR, "ctr")) if name in planned.tensors}
    return {called[name]: tensor.float() for name, tensor in load_tensors(planned.tensors, list(called))}


def _renamed(planned: Plan) -> Iterator[tuple[str, Tensor]]:
    for tensors, names in ((planned.tensors, planned.names), (planned.tower, planned.tower_names)):
        for name, tensor in load_tensors(tensors, list(names)):
            missing = planned.rows - len(tensor) if name in (EMBEDDINGS, OUTPUT) else 0
            if missing:
                # The mean of all rows makes the mean of all logits: the new word is less likely than one in `rows`.
                mean = tensor.float().mean(0, keepdim=True).to(tensor.dtype)
                tensor = torch.cat([tensor, mean.expand(missing, -1)])
            yield names[name], tensor


def _expected(config: LlavaConfig | LlavaNextConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the new model's tensors; an output layer that is tied to the embeddings is not among them."""
    with torch.device("meta"):
        pads = isinstance(config, LlavaConfig)
        model = LlavaForConditionalGeneration(config) if pads else LlavaNextForConditionalGeneration(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.tie_word_embeddings:
        shapes.pop(OUTPUT, None)
    return shapes


def _names(
    tensors: Mapping[str, TensorInfo], expected: Mapping[str, tuple[int, ...]], source: Path, *, kind: Kind
) -> dict[str, str]:
    names: dict[str, str] = {}
    on_top = {SCORE, CTR, OUTPUT} if kind == "reward" else set()
    for name in tensors:
        if layout.is_derived(name) or (name in on_top and name not in expected):
            continue
        if name == OUTPUT and OUTPUT not in expected:
            continue  # the embeddings serve for it
        if name == layout.NEWLINE and name not in expected:
            continue
        new = layout.to_transformers_name(name)
        if new is None or new not in expected:
            raise ModelError(f"{source}: the tensor {name!r} {tensors[name].shape} has no place in LLaVA 1.6 over "
                             f"Llama. Merge adapters into the weights first, or name another checkpoint.")  # fmt: skip
        names[name] = new
    return names


def _tower_names(
    tower: Mapping[str, TensorInfo], expected: Mapping[str, tuple[int, ...]], folder: Path
) -> dict[str, str]:
    """A CLIP folder may hold the text side as well; it is left where it is."""
    names = {name: new for name in tower if (new := layout.tower_to_transformers_name(name)) in expected}
    if not names:
        raise ModelError(f"{folder}: no tensor of a CLIP vision tower (`vision_model.…`). Name the tower's folder.")
    return names  # type: ignore[return-value]  # a name that is None is not expected


def _refuse_missing(
    expected: Mapping[str, tuple[int, ...]], names: Mapping[str, str], tower: Path, source: Path
) -> None:
    back = {new: name for name, new in names.items()}
    for new, shape in expected.items():
        if new not in back:
            origin = tower if new.startswith(layout.TOWER) else source
            called = layout.to_original_name(new, of_tower=origin != source)
            raise ModelError(f"{origin}: no tensor {called!r}, expected one of the shape {shape} by config.json. "
                             f"Download the checkpoint again, all of its files.")  # fmt: skip


def _refuse_heads(tensors: Mapping[str, TensorInfo], width: int, source: Path, *, kind: Kind) -> None:
    for name in (SCORE, CTR):
        if kind == "reward" and name in tensors and tensors[name].shape != (2, width):
            raise ModelError(f"{source}: the tensor {name!r} has the shape {tensors[name].shape}, expected "
                             f"{(2, width)} (left and right, over the hidden state). Name a reward model of the "
                             f"paper.")  # fmt: skip


def _save(tensors: dict[str, Tensor], file: Path) -> None:
    save_file(tensors, file, metadata={"format": "pt"})
    file.chmod(0o644)  # safetensors writes files that only their owner may read


def _name_parts(folder: Path, weight_map: Mapping[str, int], *, parts: int, size: int) -> None:
    """Give the files their names, which count them: `model.safetensors`, or shards and an index."""
    names = ["model.safetensors"]
    if parts > 1:
        names = [f"model-{number:05d}-of-{parts:05d}.safetensors" for number in range(1, parts + 1)]
        index: dict[str, Any] = {
            "metadata": {"total_size": size},
            "weight_map": {name: names[part] for name, part in weight_map.items()},
        }
        file = folder / "model.safetensors.index.json"
        file.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    for part, name in enumerate(names):
        (folder / f"part-{part:05d}.safetensors").rename(folder / name)
