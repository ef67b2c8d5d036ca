"""The multimodal language model: what writes descriptions, and what the reward model sees with."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clickscape.vlm.generate import Writer

__all__ = ["load"]


def load(name: str | PathLike[str] = "tiny", *, allow_download: bool = False) -> Writer:
    """A writer of descriptions: "tiny" is the shipped model; else a checkpoint folder or a hub id.

    Nothing is fetched from a network unless ``allow_download``. ModelError for a folder that holds no such model.
    """
    from clickscape.vlm import generate, model

    return generate.Writer(model.load(name, allow_download=allow_download))
