"""Table of backbone families and what is particular about each; everything else goes through the Auto classes.

A family is recognized by `model_type` in config.json, so a fine-tuned folder needs no name; a name (`PRESETS`) only
says where on the hub a model is. Chat templates are always the processor's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_LINEAR = r"(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


@dataclass(frozen=True, slots=True)
class Family:
    """How models of one family are fine-tuned and given pictures.

    ``lora_targets``: regular expression over module names, the linear maps of the language model's blocks; tower and
    projector stay as they are. ``max_pixels``: of a picture, where its size decides how many tokens it takes.
    ``splits_pictures``: whether a picture may be cut into tiles that are read one by one, where that can be chosen.
    ``shares_prefill``: whether the cache of a question can be handed to its candidates (`generate`).
    """

    lora_targets: str
    max_pixels: int | None = None
    splits_pictures: bool = True
    shares_prefill: bool = True


_LLAVA = Family(rf".*language_model.*\.{_LINEAR}")
_QWEN = Family(rf".*language_model.*\.{_LINEAR}", max_pixels=1_280 * 28 * 28)
_IDEFICS = Family(rf".*text_model.*\.{_LINEAR}", splits_pictures=False)

FAMILIES: Mapping[str, Family] = {
    "llava": _LLAVA,
    "llava_next": _LLAVA,
    "qwen2_vl": _QWEN,
    "qwen2_5_vl": _QWEN,
    "idefics3": _IDEFICS,
    "smolvlm": _IDEFICS,
}
"""By `model_type`. Qwen's pictures take at most 1,280 tokens; those of Idefics3 and SmolVLM are one tile, not 17."""

OTHER = Family(rf".*(language_model|text_model).*\.{_LINEAR}", shares_prefill=False)
"""Whatever else AutoModelForImageTextToText opens: it writes by its own `generate`."""

PRESETS: Mapping[str, str] = {
    "llava-1.5-7b": "llava-hf/llava-1.5-7b-hf",
    "llava-1.6-7b": "llava-hf/llava-v1.6-vicuna-7b-hf",
    "qwen2.5-vl-3b": "Qwen/Qwen2.5-VL-3B-Instruct",
    "qwen2.5-vl-7b": "Qwen/Qwen2.5-VL-7B-Instruct",
    "smolvlm": "HuggingFaceTB/SmolVLM-Instruct",
    "smolvlm2": "HuggingFaceTB/SmolVLM2-2.2B-Instruct",
}
"""Short names of models on the hub; `tiny` is not there, it is shipped."""


def family(model_type: str) -> Family:
    """What is known of models of this `model_type`."""
    return FAMILIES.get(model_type, OTHER)
