"""Qwen2-VL and Qwen2.5-VL without the video part of their processor, which needs torchvision; pictures do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, Qwen2VLImageProcessorPil
from transformers import Qwen2_5_VLProcessor as _WithVideo

MODEL_TYPES = frozenset({"qwen2_vl", "qwen2_5_vl"})
"""`model_type` of the configurations whose processor is opened here."""


class Qwen2_5_VLProcessor(_WithVideo):  # noqa: N801  (checkpoints are saved under this name)
    """Pictures and text only; it goes by the original's name, so that a saved folder opens anywhere."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_: Any) -> None:
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template)


def open_processor(folder: Path) -> Qwen2_5_VLProcessor:
    """The processor of a checkpoint folder, from its image processor, tokenizer and chat template."""
    image_processor = Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    template = folder / "chat_template.jinja"
    written = template.read_text(encoding="utf-8") if template.exists() else tokenizer.chat_template
    return Qwen2_5_VLProcessor(image_processor, tokenizer, chat_template=written)
