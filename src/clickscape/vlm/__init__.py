"""The vision-language model: writes background descriptions, and is the backbone of the reward model."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clickscape.vlm.generate import Writer
    from clickscape.vlm.model import Dtype, Quantization
    from clickscape.vlm.server import ServerWriter

__all__ = ["connect", "load"]


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


def connect(address: str, *, model: str = "", seconds: float = 60.0, tries: int = 4) -> ServerWriter:
    """A writer of descriptions that asks a server which speaks OpenAI's protocol, such as http://localhost:8000/v1.

    ``model``: its name there, "" for the only one; ``seconds``: of one request in all; ``tries``: of one request. The
    key, if the server wants one, is the environment variable CLICKSCAPE_API_KEY. ModelError for a server that cannot be
    reached or used.
    """
    from clickscape.vlm import server

    return server.ServerWriter(address, model=model, patience=server.RetryPolicy(seconds=seconds, tries=tries))
