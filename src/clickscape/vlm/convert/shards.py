"""The tensors of a checkpoint folder, one at a time, from safetensors or from PyTorch's pickles, in shards or not.

Headers are read first, so that a caller knows every name and shape before it writes anything; a tensor is in memory
only while it is asked for. A pickle is opened with `weights_only=True`: one that holds anything but tensors is refused.
"""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from clickscape.errors import ModelError, first_line

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
PATTERNS = ("*.safetensors", "pytorch_model*.bin")

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """File, shape and number format of a tensor that is not loaded."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype


def read_headers(folder: Path) -> dict[str, TensorInfo]:
    """Return name → header of all tensors in a folder; safetensors are preferred. ModelError for bad files."""
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
    for file, own in by_file.items():
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as tensors:
                for name in own:
                    yield name, tensors.get_tensor(name)
        else:
            unpickled = _unpickled(file)
            for name in own:
                yield name, unpickled.pop(name).clone(memory_format=torch.contiguous_format)


def _files(folder: Path) -> list[Path]:
    """The weight files: those that an index names, or all of a kind."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder. Name the folder that holds the checkpoint.")
    for index in (folder / name for name in INDEXES):
        if index.is_file():
            return _indexed(index)
    for pattern in PATTERNS:
        if files := sorted(folder.glob(pattern)):
            return files
    raise ModelError(f"{folder}: no weights here. Expected {' or '.join(PATTERNS)}; download the checkpoint again.")


def _indexed(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        return [index.parent / name for name in names]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index}: damaged ({error}). Download the checkpoint again.") from error


def _contents(file: Path) -> Iterator[tuple[str, tuple[int, ...], torch.dtype]]:
    if file.suffix != ".safetensors":
        for name, tensor in _unpickled(file).items():
            yield name, tuple(tensor.shape), tensor.dtype
        return
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


def _unpickled(file: Path) -> dict[str, Tensor]:
    """The tensors of a pickle, mapped into memory rather than read where the file's format allows it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd pickles, which then are refused
            try:
                state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError as error:
                if "mmap" not in str(error):
                    raise
                state = torch.load(file, map_location="cpu", weights_only=True)  # the format of PyTorch before 1.6
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{file}: this pickle holds more than tensors, and opening it would run its code; refused "
            f"({first_line(error)}). Save the weights as safetensors where you trust it."
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise ModelError(f"{file}: damaged ({first_line(error)}). Download the file again.") from error
    if not isinstance(state, dict):
        raise ModelError(f"{file}: expected a dictionary of tensors, found a {type(state).__name__}. "
                         f"Save `model.state_dict()`.")  # fmt: skip
    for name, tensor in state.items():
        if not (isinstance(name, str) and isinstance(tensor, Tensor)):
            raise ModelError(f"{file}: {str(name)[:80]!r} is a {type(tensor).__name__}, expected a tensor. "
                             f"Save `model.state_dict()` alone.")  # fmt: skip
    return dict(state)
