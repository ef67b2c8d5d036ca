"""Slot classifiers of a vision tower: the linear maps of its warm-up, saved beside it, predict a picture's scene.

They saw thousands of rendered ads in which every value of every slot is equally frequent. A shop's own creatives show
few objects and few scenes, so a reward model that begins with these maps sees props that its clicks never showed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from clickscape.compute.weights import read_tensors
from clickscape.errors import ModelError
from clickscape.json_files import parse_json

_Names = dict[str, tuple[str, ...]]
FILE = "slots.safetensors"

DEPARTMENT = "department"
"""The one thing the tower names besides the scene's slots: what kind of product it is."""

CELLS = 3
"""Image tokens are pooled to CELLS × CELLS before they are classified: roughly where something is matters."""


class SlotHeads(nn.Module):
    """One linear classifier per slot on image tokens pooled to a 3 × 3 grid; reward models begin with them."""

    def __init__(self, values: Mapping[str, Sequence[str]], *, width: int) -> None:
        super().__init__()
        self.values = {slot: tuple(names) for slot, names in values.items()}
        self.width = width
        self.heads = nn.ModuleDict({slot: nn.Linear(CELLS * CELLS * width, len(v)) for slot, v in values.items()})

    def forward(self, tokens: Float[Tensor, "picture token width"]) -> dict[str, Float[Tensor, "picture value"]]:
        """Image tokens of one square, (picture, token, width) → logits per slot, (picture, value)."""
        side = math.isqrt(tokens.shape[1])
        grid = tokens.transpose(1, 2).unflatten(2, (side, side))
        pooled = functional.adaptive_avg_pool2d(grid, CELLS).flatten(1)
        return {slot: head(pooled) for slot, head in self.heads.items()}

    def map_of(self, slot: str) -> nn.Linear:
        """The classifier of one slot, (value, width · cell)."""
        return cast("nn.Linear", self.heads[slot])


@dataclass(frozen=True, eq=False)
class NamedSlots:
    """Slot → its values; weight: (value, cell · width) over all slots, tokens pooled cell by cell; bias: (value,)."""

    values: Mapping[str, tuple[str, ...]]
    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, heads: SlotHeads) -> NamedSlots:
        """Return the warm-up's classifiers without that of the product's department."""
        kept = [slot for slot in heads.values if slot != DEPARTMENT]
        maps = [heads.map_of(slot) for slot in kept]
        by_cell = [one.weight.detach().unflatten(1, (heads.width, -1)).transpose(1, 2).flatten(1) for one in maps]
        biases = [one.bias.detach() for one in maps]
        return cls({slot: heads.values[slot] for slot in kept}, torch.cat(by_cell), torch.cat(biases))

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
