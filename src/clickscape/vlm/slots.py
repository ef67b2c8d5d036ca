"""Slot classifiers of a vision tower: the linear maps of its warm-up, saved beside it, predict a picture's scene.

They saw thousands of rendered ads in which every value of every slot is equally frequent. A shop's own creatives show
few objects and few scenes, so a reward model that begins with these maps sees props that its clicks never showed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from clickscape.compute.weights import read_tensors
from clickscape.errors import ModelError
from clickscape.json_files import parse_json

_Names = dict[str, tuple[str, ...]]
FILE = "slots.safetensors"


@dataclass(frozen=True, eq=False)
class NamedSlots:
    """Slot → its values; weight: (value, cell · width) over all slots, tokens pooled cell by cell; bias: (value,)."""

    values: Mapping[str, tuple[str, ...]]
    weight: Tensor
    bias: Tensor

    def rescaled(self, factor: float) -> NamedSlots:
        """Return classifiers for tokens that were multiplied by `factor` since."""
        return replace(self, weight=self.weight / factor)

    def write(self, folder: Path) -> None:
        """Write the classifiers into a model's folder, as one file."""
        tensors = {"weight": self.weight.contiguous(), "bias": self.bias.contiguous()}
        names = json.dumps({slot: list(values) for slot, values in self.values.items()})
        save_file(tensors, folder / FILE, {"slots": names})
        (folder / FILE).chmod(0o644)


def read(folder: Path) -> NamedSlots | None:
    """Read a model folder's slot classifiers; None where it has none. ModelError for a damaged file."""
    path = folder / FILE
    if not path.exists():
        return None
    remedy = "Restore the file, or delete it to learn without it."
    try:
        tensors, metadata = read_tensors(path, remedy=remedy)
        weight, bias = tensors["weight"], tensors["bias"]
        values = parse_json(metadata["slots"], _Names, where=str(path), error=ModelError, remedy=remedy)
    except KeyError as missing:
        raise ModelError(f"{path}: damaged (no {missing}). {remedy}") from None
    count = sum(map(len, values.values()))
    if weight.ndim != 2 or len(weight) != count or bias.shape != (count,):
        raise ModelError(f"{path}: {count} names do not fit weights of {tuple(weight.shape)}. Restore the file.")
    return NamedSlots(values, weight, bias)
