"""The optimizer of a round, with a checkpoint in the middle of it that any number of processes goes on from.

A checkpoint is a folder that is there whole or not at all, with one safetensors file for each process that held a part:
its rows of the weights and of both averages of AdamW; the number of the step is in each. No random state is in it,
because `train` draws everything that is random in a round before the first step. (torch's own distributed checkpoints
hold a pickle.)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from clickscape.compute.optimizer import SummedAdamW
from clickscape.compute.weights import read_tensors
from clickscape.errors import PreferenceError

_AVERAGES = ("exp_avg", "exp_avg_sq", "step")
_PART = "part-{}-of-{}.safetensors"


class PreferenceOptimizer(SummedAdamW):
    """`SummedAdamW` whose state can be saved and restored."""

    def save(self, folder: Path, *, number: int) -> None:
        """Write a checkpoint after step `number`; the one before it is replaced. All processes call it together.

        Where nothing is split, the main one writes.
        """
        count = self._processes.count if self._split else 1
        with self._processes.atomic_folder(folder) as waiting:
            if self._processes.number < count:
                file = waiting / _PART.format(self._processes.number + 1, count)
                save_file(self._state(), file, {"number": str(number)})

    def restore(self, folder: Path) -> int:
        """Go on from a checkpoint: the number of its step; PreferenceError when it is damaged or another model's."""
        own: dict[str, list[Tensor]] = defaultdict(list)
        passed: Counter[str] = Counter()  # rows in the parts before
        number = ""
        for file in _part_files(folder):
            saved, metadata = read_tensors(file, error=PreferenceError, remedy=_remedy(folder))
            number = metadata.get("number", "")
            if not number.isdecimal():
                raise PreferenceError(f"{file}: no checkpoint of an optimization. {_remedy(folder)}")
            for name, rows in saved.items():
                start, stop = (max(end - passed[name], 0) for end in self._range(name))
                own[name].append(rows[start:stop])
                passed[name] += len(rows)
        self._take(own, passed, where=folder)
        return int(number)

    def _state(self) -> dict[str, Tensor]:
        """This process's rows by "weight/name", and by "exp_avg/name" and so on what AdamW keeps of them."""
        state = {f"weight/{name}": exact for name, exact in self._exact.items()}
        for name, exact in self._exact.items():
            state |= {f"{part}/{name}": value for part, value in self._optimizer.state[exact].items()}
        return {name: torch.atleast_1d(value.detach()).cpu().contiguous() for name, value in state.items()}

    @torch.no_grad()
    def _take(self, own: dict[str, list[Tensor]], total: Counter[str], *, where: Path) -> None:
        """Put saved rows into weights and averages. total: rows that all parts hold together."""
        shapes = {f"weight/{name}": tuple(weight.shape) or (1,) for name, weight in self._weights.items()}
        found = {name: (total[name], *rows[0].shape[1:]) for name, rows in own.items() if name.startswith("weight/")}
        half = [name for name in self._exact if len({f"{part}/{name}" in own for part in _AVERAGES}) > 1]
        if half or found != shapes:
            raise PreferenceError(f"{where}: the checkpoint of another model. {_remedy(where)}")
        for name, exact in self._exact.items():
            exact.copy_(torch.cat(own[f"weight/{name}"]).view_as(exact))
            if f"step/{name}" in own:  # a weight that no gradient has reached yet has no averages
                self._optimizer.state[exact] = {
                    part: torch.cat(own[f"{part}/{name}"]).view_as(exact).to(exact) for part in _AVERAGES[:2]
                } | {"step": torch.cat(own[f"step/{name}"])[0]}
        self._copy_back()

    def _range(self, name: str) -> tuple[int, int]:
        """First and last row (excluded) that this process has of what is saved under a name; all of a step's number."""
        kind, _, weight = name.partition("/")
        if kind == "step" or weight not in self._split:
            return 0, 2**62
        size = -(-len(self._weights[weight]) // self._processes.count)  # as torch.chunk divides
        return self._processes.number * size, (self._processes.number + 1) * size


def _part_files(folder: Path) -> list[Path]:
    """The files of a checkpoint, in the order of their rows."""
    count = sum(1 for _ in folder.glob(_PART.format("*", "*")))
    files = [folder / _PART.format(number, count) for number in range(1, count + 1)]
    if not files or not all(file.exists() for file in files):
        raise PreferenceError(f"{folder}: damaged (parts are missing). {_remedy(folder)}")
    return files


def _remedy(folder: Path) -> str:
    return f"Delete the folder {folder.name} to start its round anew."
