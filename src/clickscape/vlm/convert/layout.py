"""Layout of the paper's checkpoints: names of tensors, settings, and the words around a question.

Facts of the original LLaVA 1.6 and of the paper's repository. `<image>` stands for a picture; what comes before and
after it is tokenized on its own there, so a tokenizer that puts a space before every text puts one after the picture,
too: the chat template here writes whatever gives the same tokens.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaImageProcessorPil,
    LlavaNextConfig,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaProcessor,
)

from clickscape.errors import ModelError, first_line
from clickscape.json_files import read_json

IMAGE = "<image>"
TOWER = "model.vision_tower."
SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions. "
)

MERGES: Mapping[str, tuple[str | None, ...]] = {"anyres": ("spatial_unpad",), "pad": ("spatial_unpad", "flat", None)}
"""How pictures are shown (`image_aspect_ratio`) and how their features are laid out (`mm_patch_merge_type`).

anyres: the whole picture and its tiles. pad: one square, filled up with the mean color; of a single square nothing is
merged, so the layout changes nothing. The paper's PCPO script writes pad.
"""

REQUIRED = {
    "image_aspect_ratio": tuple(MERGES),
    "mm_projector_type": ("mlp2x_gelu",),
    "mm_vision_select_feature": ("patch", None),
    "mm_use_im_start_end": (False, None),
}
"""Settings of LLaVA 1.6 and the values that are converted; None where the setting may be missing."""

_LLAMA = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_act",
    "max_position_embeddings", "rms_norm_eps", "attention_bias", "mlp_bias", "bos_token_id",
    "eos_token_id", "pad_token_id", "initializer_range",
)  # fmt: skip
_PREFIXES = {
    "model.vision_tower.vision_tower.vision_model.": TOWER,
    "model.mm_projector.0.": "model.multi_modal_projector.linear_1.",
    "model.mm_projector.2.": "model.multi_modal_projector.linear_2.",
    "model.image_newline": "model.image_newline",
    "model.embed_tokens.": "model.language_model.embed_tokens.",
    "model.layers.": "model.language_model.layers.",
    "model.norm.": "model.language_model.norm.",
    "lm_head.": "lm_head.",
}
_DERIVED = re.compile(r"(rotary_emb\.inv_freq|position_ids)$")


def to_transformers_name(name: str) -> str | None:
    """Hugging Face's name of a tensor of the original layout, None for one that the layout does not have."""
    found = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None)
    return None if found is None else _PREFIXES[found] + name.removeprefix(found)


def tower_to_transformers_name(name: str) -> str | None:
    """The same for a tensor of a CLIP folder."""
    return TOWER + name.removeprefix("vision_model.") if name.startswith("vision_model.") else None


def to_original_name(new: str, *, of_tower: bool) -> str:
    """What a tensor is called where it comes from: the CLIP folder, or the original layout."""
    if of_tower:
        return "vision_model." + new.removeprefix(TOWER)
    back = {target: prefix for prefix, target in _PREFIXES.items()}
    found = next(target for target in back if new.startswith(target))
    return back[found] + new.removeprefix(found)


NEWLINE = "model.image_newline"
"""What ends a row of tiles; of a single square there is none, though its checkpoint may hold it."""


def is_derived(name: str) -> bool:
    """Whether a tensor can be computed from the settings, and older releases saved it all the same."""
    return bool(_DERIVED.search(name))


def read_settings(folder: Path) -> dict[str, Any]:
    """config.json of the original; ModelError for one that is not LLaVA 1.6 over Llama."""
    if (folder / "adapter_config.json").exists():
        raise ModelError(f"{folder}: holds a LoRA adapter. Merge it into its base model first (the paper's code has "
                         f"merge_lora_weights.py).")  # fmt: skip
    settings = _read(folder / "config.json")
    required: dict[str, tuple[object, ...]] = dict(REQUIRED)
    required["mm_patch_merge_type"] = MERGES.get(str(settings.get("image_aspect_ratio")), ())
    for name, values in required.items():
        if settings.get(name) not in values:
            raise ModelError(f"{folder / 'config.json'}: {name} is {settings.get(name)!r}, expected "
                             f"{' or '.join(repr(value) for value in values if value is not None)}. "
                             f"Only the layouts of LLaVA 1.6 are converted.")  # fmt: skip
    return settings


def tokenizer(folder: Path) -> tuple[Any, int]:
    """The checkpoint's tokenizer, which now knows `<image>` as one word, and that word's number."""
    if not (folder / "tokenizer.json").exists() and (folder / "tokenizer.model").exists():
        for module in ("sentencepiece", "google.protobuf"):
            if importlib.util.find_spec(module) is None:
                raise ModelError(f"{folder / 'tokenizer.model'}: reading it needs {module}. "
                                 f"Run `pip install 'clickscape[convert]'`.")  # fmt: skip
    try:
        # The folder's own config.json names a class that only the paper's code has.
        found = AutoTokenizer.from_pretrained(
            folder, config=LlamaConfig(), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # whatever a broken tokenizer file makes of its reader
        raise ModelError(f"{folder}: no tokenizer that can be opened ({first_line(error)}). Expected tokenizer.model "
                         f"or tokenizer.json, with tokenizer_config.json; download them again.") from error  # fmt: skip
    found.add_tokens([IMAGE], special_tokens=True)
    if found.pad_token is None:
        found.pad_token = found.unk_token or found.eos_token
    return found, int(found.convert_tokens_to_ids(IMAGE))


def pads(settings: Mapping[str, Any]) -> bool:
    """Whether a picture is one square, filled up, rather than a square and tiles."""
    return settings["image_aspect_ratio"] == "pad"


def config(
    settings: Mapping[str, Any], vision_tower: Path, *, rows: int, picture: int, tied: bool
) -> LlavaConfig | LlavaNextConfig:
    """Settings of the new model; `rows` of vocabulary, `picture` the word that stands for one."""
    scaling = dict(settings.get("rope_scaling") or {})
    text = LlamaConfig(
        vocab_size=rows,
        tie_word_embeddings=tied,
        rope_parameters={
            "rope_type": scaling.pop("type", "default"),
            "rope_theta": float(settings.get("rope_theta") or 10_000.0),
            **scaling,
        },
        **{name: settings[name] for name in _LLAMA if name in settings},
    )
    vision = _read(vision_tower / "config.json")
    vision = vision.get("vision_config", vision)
    if not {"hidden_size", "image_size", "patch_size"} <= vision.keys():
        raise ModelError(f"{vision_tower / 'config.json'}: no CLIP vision tower is described here. Name its folder.")
    shared: dict[str, Any] = {
        "vision_config": CLIPVisionConfig(**{name: value for name, value in vision.items() if name in _CLIP}),
        "text_config": text,
        "image_token_index": picture,
        "vision_feature_layer": int(settings.get("mm_vision_select_layer", -2)),
        "vision_feature_select_strategy": "default",
        "tie_word_embeddings": tied,
    }
    made: LlavaConfig | LlavaNextConfig
    if pads(settings):
        tokens = (vision["image_size"] // vision["patch_size"]) ** 2
        made = LlavaConfig(**shared, image_seq_length=tokens)
        made.architectures = ["LlavaForConditionalGeneration"]
    else:
        made = LlavaNextConfig(**shared, image_grid_pinpoints=_grids(settings))
        made.architectures = ["LlavaNextForConditionalGeneration"]
    return made


_CLIP = frozenset(CLIPVisionConfig().to_dict()) - {"model_type", "transformers_version", "architectures", "dtype"}


def processor(
    settings: Mapping[str, Any], vision_tower: Path, words: Any, *, kind: Literal["prompt", "reward"]
) -> LlavaProcessor | LlavaNextProcessor:
    """Pictures as the tower wants them, and questions in the words of the paper's code."""
    seen = _read(vision_tower / "preprocessor_config.json")
    side = _side(seen, vision_tower)
    vision = _read(vision_tower / "config.json")
    vision = vision.get("vision_config", vision)
    if side != vision["image_size"]:
        raise ModelError(f"{vision_tower / 'preprocessor_config.json'}: crops to {side} pixels, config.json says "
                         f"{vision['image_size']}. The files belong to different towers.")  # fmt: skip
    normalization: dict[str, Any] = {
        name: seen[name] for name in ("image_mean", "image_std", "rescale_factor") if name in seen
    }
    square: dict[str, Any] = {
        "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side},
        **normalization,
    }
    shared: dict[str, Any] = {
        "tokenizer": words,
        "patch_size": vision["patch_size"],
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
        "image_token": IMAGE,
        "chat_template": _template(words, kind=kind),
    }
    if pads(settings):
        return LlavaProcessor(image_processor=LlavaImageProcessorPil(**square, do_pad=True), **shared)
    tiles = LlavaNextImageProcessorPil(**square, image_grid_pinpoints=_grids(settings))
    return LlavaNextProcessor(image_processor=tiles, **shared)


def _template(words: Any, *, kind: Literal["prompt", "reward"]) -> str:
    """Vicuna's conversation; the paper asks its reward model without the opening words."""
    opening, user = (SYSTEM, "USER: ") if kind == "prompt" else ("", "")
    after = _after_picture(words, before=opening + user)
    return (
        f"{{{{ {json.dumps(opening)} }}}}{{% for message in messages %}}"
        f"{{% if message['role'] == 'user' %}}{{{{ {json.dumps(user)} }}}}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
        f"{{% if part['type'] == 'image' %}}{{{{ {json.dumps(IMAGE + after)} }}}}"
        "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{{ ' ' }}"
        "{% else %}{{ 'ASSISTANT: ' }}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}{{ message['content'][0]['text'] }}"
        "{% endif %}{{ eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
    )


def _after_picture(words: Any, *, before: str) -> str:
    """What stands between a picture and its question, so that the tokens are those of the original."""
    question = "Which part? ASSISTANT:"
    wanted = [*words(before)["input_ids"], words.convert_tokens_to_ids(IMAGE)]
    begins = int(words("")["input_ids"] == [words.bos_token_id])
    wanted += words(f"\n{question}")["input_ids"][begins:]
    for after in ("\n", " \n"):
        if words(f"{before}{IMAGE}{after}{question}")["input_ids"] == wanted:
            return after
    raise ModelError("the checkpoint's tokenizer treats the words around <image> in a way of its own. "
                     "Expected the tokenizer of Llama or Vicuna; use the files that came with it.")  # fmt: skip


def _grids(settings: Mapping[str, Any]) -> list[list[int]]:
    """Sizes that a picture's tiles may fill, (height, width) in pixels; the original notes (width, height)."""
    grids: Any = settings.get("image_grid_pinpoints")
    try:
        grids = ast.literal_eval(grids) if isinstance(grids, str) else grids
        return [[int(height), int(width)] for width, height in grids]
    except (ValueError, SyntaxError, TypeError) as error:
        raise ModelError(f"config.json: image_grid_pinpoints is {str(grids)[:80]!r}, expected a list of "
                         f"[width, height]. Use the settings that came with the checkpoint.") from error  # fmt: skip


def _side(seen: Mapping[str, Any], folder: Path) -> int:
    """Pixels of the square that the tower sees; older files note a number, newer ones a mapping."""
    crop = seen.get("crop_size")
    side = crop.get("height") if isinstance(crop, dict) else crop
    if not isinstance(side, int):
        raise ModelError(f"{folder / 'preprocessor_config.json'}: crop_size is {crop!r}, expected pixels. "
                         f"Use the file that came with the tower.")  # fmt: skip
    return side


def _read(file: Path) -> dict[str, Any]:
    try:
        return read_json(file, dict[str, Any], error=ModelError, remedy="Download it again.")
    except OSError as error:
        raise ModelError(f"{file}: missing. Expected beside the weights; download it again.") from error
