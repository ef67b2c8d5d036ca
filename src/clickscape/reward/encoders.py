"""Any vision encoder as a reward model's backbone: the tower looks at the picture, word embeddings read the product.

SigLIP, SigLIP 2, CLIP, DINOv2, DINOv3: whatever `AutoModel` opens and whose tokens are the patches of a square. Of a
checkpoint with two towers the picture's is kept, and of the words' the table of embeddings: it has met the words of a
few hundred million captions, and single words stay apart (see `features.text_features`). An encoder that knows no words
borrows the table of `tiny`. Tokens that belong to no patch (class token, registers) are ignored: the heads want to know
what is where. The arithmetic of the image processors is done here, from their file of settings: they crop (an ad's rim
is a part of it), and some of them cannot run without torchvision.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from clickscape.compute.untrusted_checkpoint import bounded_loading, check_folder
from clickscape.compute.weights import check_filled, read_tensors
from clickscape.errors import ModelError, first_line
from clickscape.vlm import model as vlm_model
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.shipped import TINY

PIXELS_FILE, WORDS_FILE = "preprocessor_config.json", "words.safetensors"
TOKENIZER_FILE = "tokenizer_config.json"

LARGEST_SIDE = 4_096
"""Pixels of the side of a picture that an encoder may ask for."""

_UNUSED = ("pooler.",)  # of the tower alone: heads look at patches


@dataclass(frozen=True)
class Pixels:
    """How an encoder wants its pictures: ``side`` pixels square, (x · rescale − mean) / deviation per channel."""

    side: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    rescale: float
    resample: Image.Resampling

    def tensor(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """Pictures, each uint8 (height, width, 3) sRGB, as the encoder sees them: (picture, 3, side, side)."""
        sized = [
            np.asarray(Image.fromarray(picture).resize((self.side, self.side), self.resample)) for picture in pictures
        ]
        mean, deviation = (np.asarray(value, np.float32) for value in (self.mean, self.deviation))
        scaled = (np.stack(sized).astype(np.float32) * np.float32(self.rescale) - mean) / deviation
        return torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))


@dataclass(frozen=True)
class VisionEncoder:
    """The tower that looks at pictures, and the embeddings of words; ``model_id`` says which one it is."""

    model: PreTrainedModel
    pixels: Pixels
    tokenizer: Any
    words: nn.Embedding
    model_id: str

    @property
    def core(self) -> Any:
        """The tower without an adapter's wrapper."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.core.device

    @property
    def hidden_size(self) -> int:
        """Width of the tokens of a picture."""
        return int(self.core.config.hidden_size)

    @property
    def patch_size(self) -> int:
        """Pixels of the side of a patch."""
        return int(self.core.config.patch_size)


Backbone = VisionLanguageModel | VisionEncoder
"""What the heads of a reward model can stand on."""


def patch_tokens(encoder: VisionEncoder, pictures: Sequence[np.ndarray]) -> Float[Tensor, "picture patch width"]:
    """Return the last layer's tokens of the patches, row by row; gradients flow if torch is recording them."""
    pixels = encoder.pixels.tensor(pictures).to(encoder.device)
    rows = encoder.pixels.side // encoder.patch_size
    if encoder.core.config.model_type.startswith("siglip2"):  # takes the patches themselves, of pictures of any shape
        patches = pixels.unfold(2, encoder.patch_size, encoder.patch_size)
        patches = patches.unfold(3, encoder.patch_size, encoder.patch_size).permute(0, 2, 3, 4, 5, 1)
        pixels = patches.reshape(len(pixels), rows * rows, -1)
        whole = torch.ones(pixels.shape[:2], dtype=torch.long, device=pixels.device)
        shapes = torch.full((len(pixels), 2), rows, device=pixels.device)
        tokens = encoder.model(pixel_values=pixels, pixel_attention_mask=whole, spatial_shapes=shapes).last_hidden_state
    else:
        tokens = encoder.model(pixel_values=pixels).last_hidden_state
    return tokens[:, -rows * rows :]


def open_backbone(name: str | os.PathLike[str], *, device: str = "cpu") -> Backbone:
    """Open "tiny", a checkpoint folder or a hub id in the local cache: an image-text-to-text model or an encoder.

    On a GPU a language model keeps the number format of its checkpoint: scores of `tiny` are the same there.
    ModelError if there is no such model here, no safetensors in it, or no tokens of a square picture's patches.
    """
    folder, model_id = vlm_model.find_checkpoint(name, allow_download=False)
    check_folder(folder)
    try:
        model_type = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).model_type
    except Exception:
        model_type = ""  # a folder without a readable config.json: the other loader says what is missing
    if not model_type or model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return vlm_model.load(name, dtype="auto" if device == "cpu" else "stored", device=device)
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{folder}: no *.safetensors here. Name a folder that `save_pretrained` wrote.")
    try:
        with vlm_model.quiet_transformers(), bounded_loading(folder):
            whole, report = AutoModel.from_pretrained(
                folder,
                output_loading_info=True,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
            )
        check_filled(whole, report, where=folder, unused=_UNUSED)
        tower = getattr(whole, "vision_model", None)
        tower = tower if isinstance(tower, PreTrainedModel) else whole
        tokenizer, words = _words(folder, whole)
        encoder = VisionEncoder(tower.eval().to(device), _pixels(folder, tower), tokenizer, words.to(device), model_id)
        _try(encoder)
    except ModelError:
        raise
    except Exception as error:  # whatever libraries raise about files that are not what they should be
        raise ModelError(
            f"{name}: cannot be opened as a vision encoder ({first_line(error)}). Name a folder with config.json, "
            f"model.safetensors and {PIXELS_FILE} of a SigLIP, CLIP or DINO model."
        ) from error
    tower.requires_grad_(False)
    return encoder


def write_backbone(backbone: Backbone, folder: Path) -> None:
    """Write a backbone into a folder that is there; `open_backbone` opens it without others."""
    if isinstance(backbone, VisionLanguageModel):
        vlm_model.save_into(backbone, folder)
        return
    pixels = backbone.pixels
    settings = {
        "do_resize": True, "size": {"height": pixels.side, "width": pixels.side}, "resample": int(pixels.resample),
        "do_center_crop": False, "do_rescale": True, "rescale_factor": pixels.rescale,
        "do_normalize": True, "image_mean": list(pixels.mean), "image_std": list(pixels.deviation),
    }  # fmt: skip
    with vlm_model.quiet_transformers():
        backbone.core.save_pretrained(folder)
        backbone.tokenizer.save_pretrained(folder)
    save_file({"weight": backbone.words.weight.detach().cpu().contiguous()}, folder / WORDS_FILE)
    (folder / PIXELS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes files that only their owner may read


def _words(folder: Path, whole: PreTrainedModel) -> tuple[Any, nn.Embedding]:
    """Tokenizer and frozen table of embeddings: the ones saved here, the words' tower's own, or those of `tiny`."""
    saved, tower = folder / WORDS_FILE, getattr(whole, "text_model", None)
    if saved.is_file() or (isinstance(tower, PreTrainedModel) and (folder / TOKENIZER_FILE).is_file()):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        table = read_tensors(saved)[0]["weight"] if saved.is_file() else tower.get_input_embeddings().weight  # type: ignore[union-attr]
    else:
        tiny = vlm_model.load(TINY)
        tokenizer, table = tiny.tokenizer, tiny.core.get_input_embeddings().weight
    if len(tokenizer) > len(table):
        raise ValueError(f"the tokenizer has {len(tokenizer)} tokens, the words' tower {len(table)}")
    return tokenizer, nn.Embedding.from_pretrained(table.detach().float(), freeze=True)


def _pixels(folder: Path, tower: PreTrainedModel) -> Pixels:
    """The image processor's settings; a side that is no multiple of the patch is rounded."""
    said = json.loads((folder / PIXELS_FILE).read_text(encoding="utf-8"))
    size = said["crop_size"] if said.get("do_center_crop") else said.get("size")
    if isinstance(size, dict):
        size = size.get("shortest_edge") or size.get("height")
    patch = int(tower.config.patch_size)
    if size is not None and int(size) > LARGEST_SIDE:
        raise ValueError(f"{PIXELS_FILE} asks for pictures of {size} pixels, at most {LARGEST_SIDE}")
    if size is None:  # pictures of any shape: as many patches as the encoder has positions
        size = math.isqrt(int(tower.config.num_patches)) * patch
    return Pixels(
        side=max(round(int(size) / patch), 1) * patch,
        mean=tuple(map(float, said["image_mean"])),
        deviation=tuple(map(float, said["image_std"])),
        rescale=float(said.get("rescale_factor", 1 / 255)),
        resample=Image.Resampling(said.get("resample", Image.Resampling.BICUBIC)),
    )


@torch.inference_mode()
def _try(encoder: VisionEncoder) -> None:
    """One look at a gray picture: a model of another kind is found out here, not in the middle of a training."""
    rows = encoder.pixels.side // encoder.patch_size
    found = tuple(patch_tokens(encoder, [np.full((8, 8, 3), 127, np.uint8)]).shape)
    if found != (1, rows * rows, encoder.hidden_size):
        raise ValueError(f"a picture gives tokens of shape {found}, not ({rows}·{rows}, {encoder.hidden_size})")
