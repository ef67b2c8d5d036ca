"""Refuse weights that do not fill a model exactly: a gap would be filled by chance and the model talk nonsense."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from clickscape.errors import ClickscapeError, ModelError, first_line

_COMPUTED = ("position_ids", "inv_freq")  # older checkpoints hold what models compute
_AGAIN = "Download or save the checkpoint again, all of its files."


def check_filled(model: nn.Module, report: Mapping[str, Any], *, where: object, unused: tuple[str, ...] = ()) -> None:
    """Raise ModelError unless a checkpoint gave each of the model's tensors a finite value, and had no others.

    report: the loading info of transformers or diffusers; unused: beginnings of names that may be missing.
    """
    missing = [name for name in report["missing_keys"] if not name.startswith(unused)]
    wrong = [str(one[0] if isinstance(one, tuple) else one) for one in report["mismatched_keys"]]
    unexpected = [name for name in report["unexpected_keys"] if not name.endswith(_COMPUTED)]
    _compare(missing, unexpected, wrong, where=where, error=ModelError, remedy=_AGAIN)
    check_finite(model.state_dict(), where=where)


def check_finite(
    tensors: Mapping[str, Any], *, where: object, error: type[ClickscapeError] = ModelError, remedy: str = _AGAIN
) -> None:
    """Raise `error` for a tensor with a value that is no number or infinite, or that was never filled."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.element_size() < 2:
            continue
        if tensor.is_meta:
            raise error(f"{where}: the tensor {name!r} is missing. {remedy}")
        if not bool(torch.isfinite(tensor).all()):
            raise error(f"{where}: the tensor {name!r} holds NaN or infinity. {remedy}")


def read_tensors(
    file: Path,
    *,
    shapes: Mapping[str, Collection[int]] | None = None,
    error: type[ClickscapeError] = ModelError,
    remedy: str = _AGAIN,
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file; `error` when it is damaged or holds NaN or infinity.

    shapes: name → shape of the tensors that it must hold, and of no others.
    """
    if not file.is_file():
        raise error(f"{file}: no such file. {remedy}")
    try:
        with safe_open(file, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  (not a mapping)
            metadata = dict(stored.metadata() or {})
    except (OSError, SafetensorError, ValueError) as damage:
        raise error(f"{file}: damaged ({first_line(damage)}). {remedy}") from None
    if shapes is not None:
        wrong = [
            name for name, tensor in tensors.items() if tuple(tensor.shape) != tuple(shapes.get(name, tensor.shape))
        ]
        _compare(shapes.keys() - tensors, tensors.keys() - shapes, wrong, where=file, error=error, remedy=remedy)
    check_finite(tensors, where=file, error=error, remedy=remedy)
    return tensors, metadata


def _compare(
    missing: Iterable[str],
    unexpected: Iterable[str],
    wrong: Iterable[str],
    *,
    where: object,
    error: type[ClickscapeError],
    remedy: str,
) -> None:
    found = {"missing": sorted(missing), "not expected": sorted(unexpected), "of another shape": sorted(wrong)}
    listed = [f"{len(names)} tensors are {what}, the first {names[0]!r}" for what, names in found.items() if names]
    if listed:
        raise error(f"{where}: {'; '.join(listed)}. {remedy}")
