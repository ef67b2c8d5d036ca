"""Opening a checkpoint's processor, without the video part that some have: it needs torchvision; pictures do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import (
    AutoProcessor,
    AutoTokenizer,
    ProcessorMixin,
    Qwen2VLImageProcessorPil,
    SmolVLMImageProcessorPil,
)
from transformers import Qwen2_5_VLProcessor as _QwenWithVideo
from transformers import SmolVLMProcessor as _SmolWithVideo
from transformers.image_utils import SizeDict
from transformers.processing_utils import PROCESSOR_NAME

from clickscape.vlm.backbones import Family


class Qwen2_5_VLProcessor(_QwenWithVideo):  # noqa: N801  (checkpoints are saved under this name)
    """Pictures and text only; it goes by the original's name, so that a saved folder opens anywhere."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_: Any) -> None:
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template)


class SmolVLMProcessor(_SmolWithVideo):
    """Pictures and text only, so that neither torchvision nor num2words is needed; it goes by the original's name."""

    def __init__(
        self, image_processor: Any, tokenizer: Any, image_seq_len: int = 169, chat_template: Any = None, **_: Any
    ) -> None:
        self.fake_image_token = getattr(tokenizer, "fake_image_token", "<fake_token_around_image>")
        self.image_token = getattr(tokenizer, "image_token", "<image>")
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.end_of_utterance_token = getattr(tokenizer, "end_of_utterance_token", "<end_of_utterance>")
        self.global_image_token = getattr(tokenizer, "global_image_token", "<global-img>")
        self.image_seq_len = image_seq_len
        self.video_token = getattr(tokenizer, "video_token", "<video>")
        ProcessorMixin.__init__(self, image_processor, tokenizer, None, chat_template=chat_template)

    def apply_chat_template(self, conversation: Any, chat_template: str | None = None, **rest: Any) -> Any:
        """As every processor does it; the original's asks the video part even where there is no video."""
        return ProcessorMixin.apply_chat_template(self, conversation, chat_template, **rest)


def open_processor(folder: Path, *, model_type: str, family: Family) -> Any:
    """The processor of a checkpoint folder, with the family's limits on the size of pictures."""
    opener = _WITHOUT_VIDEO.get(model_type)
    made = (
        opener(folder)
        if opener is not None
        else AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    )
    _limit(made.image_processor, family)
    return made


def _limit(image_processor: Any, family: Family) -> None:
    """Lower what the checkpoint allows, never raise it: a picture takes hundreds of tokens, not thousands."""
    if family.max_pixels is not None:
        size = image_processor.size
        longest = min(size["longest_edge"], family.max_pixels)
        image_processor.size = SizeDict(shortest_edge=min(size["shortest_edge"], longest), longest_edge=longest)
    if not family.splits_pictures and hasattr(image_processor, "do_image_splitting"):
        image_processor.do_image_splitting = False


def _open_qwen(folder: Path) -> Qwen2_5_VLProcessor:
    images = Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return Qwen2_5_VLProcessor(images, tokenizer, chat_template=_template(folder, tokenizer))


def _open_smol(folder: Path) -> SmolVLMProcessor:
    images = SmolVLMImageProcessorPil.from_pretrained(folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    settings, _ = SmolVLMProcessor.get_processor_dict(folder / PROCESSOR_NAME, local_files_only=True)
    length = settings.get("image_seq_len", 169)
    return SmolVLMProcessor(images, tokenizer, image_seq_len=length, chat_template=_template(folder, tokenizer))


def _template(folder: Path, tokenizer: Any) -> str | None:
    template = folder / "chat_template.jinja"
    return template.read_text(encoding="utf-8") if template.exists() else tokenizer.chat_template


_WITHOUT_VIDEO: Mapping[str, Callable[[Path], Any]] = {
    "qwen2_vl": _open_qwen,
    "qwen2_5_vl": _open_qwen,
    "smolvlm": _open_smol,
}
"""By `model_type` of the configuration; any other processor opens itself."""
