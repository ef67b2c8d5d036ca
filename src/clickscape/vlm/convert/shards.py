"""The tensors of a checkpoint folder of safetensors, one at a time, in shards or not.

Headers are read first, so that a caller knows every name and shape before it writes anything; a tensor is in memory
only while it is asked for. Pickles are refused, bare tensors or not: PyTorch's careful reader has been broken into.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from clickscape.errors import ModelError, first_line

_INDEX = "model.safetensors.index.json"

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """File, shape and number format of a tensor that is not loaded."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype


def read_headers(folder: Path) -> dict[str, TensorInfo]:
    """Return name → header of all tensors in a folder. ModelError for bad files and for pickles."""
    found: dict[str, TensorInfo] = {}
    for file in _files(folder):
        for name, shape, dtype in _contents(file):
            if name in found:
                raise ModelError(f"{file}: the tensor {name!r} is also in {found[name].file.name}. Delete one of them.")
            found[name] = TensorInfo(file, shape, dtype)
    return found


def load_tensors(headers: Mapping[str, TensorInfo], names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
    """Yield name and tensor, file by file; each is a copy that shares memory with nothing."""
    by_file: dict[Path, list[str]] = {}
    for name in names:
        by_file.setdefault(headers[name].file, []).append(name)
    for file, names in by_file.items():
        with safe_open(file, framework="pt") as tensors:
            for name in names:
                yield name, tensors.get_tensor(name)


def _files(folder: Path) -> list[Path]:
    """The weight files: those that an index names, or all of them."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder. Name the folder that holds the checkpoint.")
    if (folder / _INDEX).is_file():
        return _indexed(folder / _INDEX)
    if files := sorted(folder.glob("*.safetensors")):
        return files
    if pickles := sorted(folder.glob("*.bin")):
        raise ModelError(f"{pickles[0]}: a pickle can run any program when it is opened, so it is not. Save "
                         f"its tensors as safetensors where you trust it; docs/howto/paper.md shows how.")  # fmt: skip
    raise ModelError(f"{folder}: no weights here. Expected *.safetensors; download the checkpoint again.")


def _indexed(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        return [index.parent / name for name in names]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index}: damaged ({error}). Download the checkpoint again.") from error


def _contents(file: Path) -> Iterator[tuple[str, tuple[int, ...], torch.dtype]]:
    if file.suffix != ".safetensors":
        raise ModelError(f"{file}: no file of safetensors. Correct {_INDEX}.")
    try:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  (it is a handle, not a mapping)
                piece = tensors.get_slice(name)
                if piece.get_dtype() not in _DTYPES:
                    raise ModelError(f"{file}: the tensor {name!r} is of type {piece.get_dtype()}; expected one of "
                                     f"{', '.join(_DTYPES)}. Use the checkpoint before it was quantized.")  # fmt: skip
                yield name, tuple(piece.get_shape()), _DTYPES[piece.get_dtype()]
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file}: damaged ({first_line(error)}). Download the file again.") from error
