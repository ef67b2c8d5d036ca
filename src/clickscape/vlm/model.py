"""The multimodal language model itself: building `tiny`; loading and saving any checkpoint through the Auto classes.

`tiny` is nothing special: a LlavaForConditionalGeneration (CLIP tower + Llama) with a processor and a chat template,
which plain `transformers` opens without this package. Weights are safetensors, never pickle; fp32 on a CPU, because
bf16 is slower there without matrix units, and bf16 on a GPU. `backbones` says what is particular about other families.
"""

from __future__ import annotations

import copy
import importlib.util
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import snapshot_download
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForImageTextToText,
    BitsAndBytesConfig,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
)
from transformers.utils import logging as transformers_logging

from clickscape import model_card
from clickscape.compute.untrusted_checkpoint import bounded_loading
from clickscape.compute.weights import check_filled
from clickscape.config import TinyConfig
from clickscape.errors import ModelError, first_line
from clickscape.files import atomic_folder
from clickscape.vlm import backbones, processors
from clickscape.vlm.backbones import Family
from clickscape.vlm.shipped import TINY, TINY_FOLDER

Dtype = Literal["auto", "stored", "float32", "float16", "bfloat16"]
"""Number format of the weights; auto: float32 on a CPU, bfloat16 on a GPU; stored: as the checkpoint has them."""

Quantization = Literal["8bit", "4bit"]
"""Weights of the language model in 8 bits or 4 (NF4), through bitsandbytes: less memory, slower, no exact numbers."""

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")

PAD, BEGIN, END, IMAGE = "<pad>", "<s>", "</s>", "<image>"

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'USER: ' }}{% else %}{{ 'ASSISTANT:\\n' }}{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>\\n' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:\\n' }}{% endif %}"
)
"""LLaVA's conversation, but the answer starts on a line of its own: so it is tokenized on its own, exactly as it is."""

UNKNOWN_IMAGE_SIZE = 336
"""Pixels of the square shown to a tower that takes any size and names none."""


@dataclass(frozen=True)
class VisionLanguageModel:
    """A model with its processor; ``model_id`` says which one it is, without saying where it lies."""

    model: PreTrainedModel
    processor: ProcessorMixin
    model_id: str

    @property
    def core(self) -> Any:
        """The model without an adapter's wrapper (adapters keep working: they live inside its layers)."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def tokenizer(self) -> Any:
        """The processor's tokenizer."""
        return self.processor.tokenizer

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.core.device

    @property
    def instructions(self) -> tuple[str, ...]:
        """Instructions that the model was taught to write for, {} in place of the caption; empty: this package's own.

        ModelError for settings that hold anything but such texts.
        """
        found = getattr(self.core.config, "instructions", None) or []
        if not (isinstance(found, list) and all(isinstance(text, str) and text.count("{}") == 1 for text in found)):
            raise ModelError(f"{self.model_id}: `instructions` in config.json must be texts with one {{}} for the "
                             f"caption. Convert the checkpoint again.")  # fmt: skip
        return tuple(found)

    @property
    def pads_pictures(self) -> bool:
        """Whether a picture that is no square is filled up to one with the mean color, rather than stretched."""
        return self.is_llava and bool(getattr(self.processor.image_processor, "do_pad", False))

    @property
    def is_llava(self) -> bool:
        """Whether pictures are one fixed square of tokens each, so that image features can be cached and shared."""
        return bool(self.core.config.model_type == "llava")

    @property
    def family(self) -> Family:
        """What is particular about models of this kind."""
        return backbones.family(self.core.config.model_type)

    @property
    def image_size(self) -> int:
        """Side of the square, in pixels, that the tower sees."""
        return int(getattr(self.core.config.vision_config, "image_size", None) or UNKNOWN_IMAGE_SIZE)

    @property
    def image_tokens(self) -> int:
        """Tokens that one square image takes (LLaVA: one per patch)."""
        return (self.image_size // int(self.core.config.vision_config.patch_size)) ** 2

    @property
    def image_token_id(self) -> int:
        """The token that stands where image features go."""
        return int(self.core.config.image_token_id)

    @property
    def hidden_size(self) -> int:
        """Width of the language model's hidden states."""
        return int(self.core.config.get_text_config().hidden_size)

    @property
    def parameters(self) -> int:
        """Number of weights, shared ones counted once."""
        return sum(weight.numel() for weight in self.core.parameters())


def train_tokenizer(texts: Iterable[str], *, vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE learned from ``texts``: every text can be written, and decoding gives it back unchanged."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BEGIN, END, IMAGE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        extra_special_tokens={"image_token": IMAGE},
        clean_up_tokenization_spaces=False,
    )


def build_tiny(config: TinyConfig, tokenizer: PreTrainedTokenizerFast, *, seed: int) -> VisionLanguageModel:
    """A `tiny` with random weights that depend on ``seed`` alone; the global random state is left as it was."""
    square = {"height": config.image_size, "width": config.image_size}
    image_processor = CLIPImageProcessorPil(size=square, crop_size=square, do_center_crop=False)
    processor = LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=config.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=IMAGE,
        chat_template=CHAT_TEMPLATE,
    )
    tokens = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    llava = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=config.vision_width,
            intermediate_size=4 * config.vision_width,
            num_hidden_layers=config.vision_layers,
            num_attention_heads=config.vision_heads,
            image_size=config.image_size,
            patch_size=config.patch_size,
            projection_dim=config.vision_width,
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.text_width,
            intermediate_size=config.text_ffn,
            num_hidden_layers=config.text_layers,
            num_attention_heads=config.text_heads,
            num_key_value_heads=config.text_kv_heads,
            max_position_embeddings=config.max_positions,
            tie_word_embeddings=True,
            **tokens,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=config.image_tokens,
        tie_word_embeddings=True,
        **tokens,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(llava)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return VisionLanguageModel(model.eval(), processor, TINY)


def load(
    name: str | os.PathLike[str],
    *,
    trainable: bool = False,
    allow_download: bool = False,
    dtype: Dtype = "auto",
    quantization: Quantization | None = None,
    device: str = "cpu",
) -> VisionLanguageModel:
    """Open "tiny" (shipped), a preset, a checkpoint folder, or a hub id that is in the local cache, on a torch device.

    Weights take gradients only if ``trainable``. ModelError if there is no such model here, or no safetensors in it,
    and for a quantization without bitsandbytes.
    """
    from clickscape.vlm import batch  # which knows models

    if quantization is not None and importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(f"{name}: {quantization} weights need bitsandbytes, which is not installed. "
                         f"pip install 'clickscape[quantization]', or leave quantization out.")  # fmt: skip
    folder, model_id = find_checkpoint(name, allow_download=allow_download)
    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        raise ModelError(f"{folder}: a LoRA adapter, not a model. `clickscape merge {folder} --out FOLDER` makes one.")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{folder}: no *.safetensors here. Name a folder that `save_pretrained` wrote.")
    wanted = _torch_dtype(dtype, device=device)
    try:
        with quiet_transformers(), bounded_loading(folder):
            model, report = AutoModelForImageTextToText.from_pretrained(
                folder,
                output_loading_info=True,
                dtype=wanted,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                **({} if device == "cpu" and quantization is None else {"device_map": device}),
                **({} if quantization is None else {"quantization_config": _quantized(quantization, wanted)}),
            )
            check_filled(model, report, where=folder)
            model_type = model.config.model_type
            processor = processors.open_processor(folder, model_type=model_type, family=backbones.family(model_type))
            opened = VisionLanguageModel(model.eval(), processor, model_id)
            batch.check_usable(opened)
    except ModelError as error:
        raise ModelError(str(error) if str(folder) in str(error) else f"{name}: {error}") from error
    except Exception as error:  # whatever libraries raise about files that are not what they should be
        raise ModelError(
            f"{name}: cannot be opened as an image-text-to-text model ({first_line(error)}). Name a folder with "
            "config.json, model.safetensors and the processor's files."
        ) from error
    # An adapter's file names its base: an id that is the same everywhere, or a place that is the same from everywhere.
    model.name_or_path = model.config._name_or_path = model_id if "/" in model_id else str(folder.resolve())
    if quantization is None:
        model.requires_grad_(trainable)
    return opened


def _torch_dtype(dtype: Dtype, *, device: str) -> torch.dtype | str:
    if dtype == "stored":
        return "auto"
    if dtype == "auto":
        return torch.float32 if device == "cpu" else torch.bfloat16
    return getattr(torch, dtype)


def _quantized(quantization: Quantization, dtype: torch.dtype | str) -> BitsAndBytesConfig:
    kept = ["vision_tower", "visual", "vision_model", "multi_modal_projector", "connector", "lm_head"]
    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    compute = torch.float32 if isinstance(dtype, str) else dtype
    return BitsAndBytesConfig(
        load_in_4bit=True, llm_int8_skip_modules=kept, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute
    )


def save(
    vlm: VisionLanguageModel, folder: str | os.PathLike[str], *, weights: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Write model and processor as a checkpoint folder that appears whole or not at all; an older one is replaced.

    An attached adapter is folded into what is written, so that plain `transformers` opens it; the model keeps it.
    weights: all of the model's by name, where it does not hold them whole itself.
    """
    with atomic_folder(Path(folder)) as waiting:
        save_into(vlm, waiting, weights=weights)


def save_into(vlm: VisionLanguageModel, folder: Path, *, weights: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write model and processor, as `save` does, into a folder that is there, for whoever has more to put into it."""
    whole = copy.deepcopy(vlm.model).merge_and_unload() if hasattr(vlm.model, "merge_and_unload") else vlm.model
    with quiet_transformers():
        whole.save_pretrained(folder, state_dict=None if weights is None else dict(weights))
        vlm.processor.save_pretrained(folder)
    model_card.write(folder, model_card.PROMPT, base=vlm.model_id)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes files that only their owner may read


def rescale_projector(vlm: VisionLanguageModel, *, rms: float, observed: float) -> None:
    """Multiply what the projector gives by rms / observed, so that image tokens are as loud as words."""
    if not (math.isfinite(observed) and observed > 0):
        raise ValueError(f"the projector's output must have a positive root mean square, got {observed}")
    last = vlm.core.model.multi_modal_projector.linear_2
    with torch.no_grad():
        last.weight.mul_(rms / observed)
        last.bias.mul_(rms / observed)


def find_checkpoint(name: str | os.PathLike[str], *, allow_download: bool) -> tuple[Path, str]:
    """Return the folder of a model and its id.

    A hub id is looked up here rather than by `from_pretrained`, which asks the network even when told
    not to.
    """
    folder = TINY_FOLDER if name == TINY else Path(name)
    if folder.is_dir():
        return folder, folder.name
    name = backbones.PRESETS.get(str(name), name)
    if name == TINY or not _HUB_ID.fullmatch(str(name)):
        raise ModelError(f"{folder}: no such folder. Name a checkpoint folder, a hub id, or one of "
                         f"{', '.join((TINY, *backbones.PRESETS))}.")  # fmt: skip
    try:
        found = snapshot_download(
            str(name),
            local_files_only=not allow_download,
            allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.model"],
        )
    except (OSError, ValueError) as error:
        remedy = "Check the name" if allow_download else "Name a folder, or allow the download"
        raise ModelError(f"{name}: neither a folder nor a model in the local hub cache. {remedy}.") from error
    return Path(found), str(name)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Only the command line draws progress."""
    shown, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # what is wrong with weights is said by us, on one line
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if shown:
            transformers_logging.enable_progress_bar()
