"""The multimodal language model: what writes descriptions, and what the reward model sees with."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clickscape.vlm.generate import Writer
    from clickscape.vlm.model import Dtype, Quantization

__all__ = ["load"]


def load(
    name: str | PathLike[str] = "tiny",
    *,
    allow_download: bool = False,
    dtype: Dtype = "auto",
    quantization: Quantization | None = None,
    device: str = "cpu",
) -> Writer:
    """A writer of descriptions: "tiny" is the shipped model; else a preset, a checkpoint folder or a hub id.

    Nothing is fetched from a network unless ``allow_download``. ``dtype`` "auto": float32 on a CPU, bfloat16 on a GPU;
    ``quantization`` "8bit" or "4bit" needs bitsandbytes. ModelError for a folder that holds no such model.
    """
    from clickscape.vlm import generate, model

    return generate.Writer(
        model.load(name, allow_download=allow_download, dtype=dtype, quantization=quantization, device=device)
    )
