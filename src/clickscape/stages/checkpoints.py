"""Stages `convert` and `merge`: the paper's checkpoints, or an adapter and its base, become one checkpoint folder.

The folder opens by `vlm.load` or `reward.load`, and that of a merged model by plain `transformers`. It appears whole or
not at all, and replaces nothing but an older checkpoint.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from clickscape import model_card
from clickscape.errors import ModelError
from clickscape.preference import adapter
from clickscape.regular_files import real_path
from clickscape.reward import caig as caig_reward
from clickscape.stages.progress import Progress, Stage
from clickscape.vlm import model as vlm_model
from clickscape.vlm.convert import caig
from clickscape.workspace import atomic_folder

CONVERT, MERGE = "convert", "merge"


@dataclass(frozen=True, slots=True)
class Converted:
    """What was made: a `prompt` model or a `reward` model, of so many tensors."""

    folder: Path
    kind: caig.Kind
    tensors: int


@dataclass(frozen=True, slots=True)
class Merged:
    """What was made: a model of so many weights, on the base that goes by this name."""

    folder: Path
    base: str
    parameters: int


def convert(source: Path, *, vision_tower: Path, out: Path) -> Stage[Converted]:
    """Read and check a checkpoint of the paper's code, then write it as ours."""
    _check(out, source, vision_tower)
    yield Progress(CONVERT, 0, 1, "reading names and shapes")
    planned = caig.plan(source, vision_tower=vision_tower)
    total = 0
    with atomic_folder(out) as waiting:
        for moved in caig.write(planned, waiting):
            total = moved.total
            yield Progress(CONVERT, moved.number, moved.total, moved.name)
        kind = model_card.REWARD if planned.kind == "reward" else model_card.PROMPT
        model_card.write(waiting, kind, base=None, tags=[caig_reward.FORM])
        if planned.kind == "reward":
            caig_reward.write_heads(waiting, caig.heads(planned))
    return Converted(out, planned.kind, total)


def merge(folder: Path, *, out: Path, base: str | os.PathLike[str] | None = None) -> Stage[Merged]:
    """Fold a LoRA adapter into its base."""
    _check(out, folder, Path(base or folder))
    yield Progress(MERGE, 0, 2, "reading")
    whole = adapter.merge(folder, base=base)
    yield Progress(MERGE, 1, 2, "writing")
    vlm_model.save(whole, out)
    yield Progress(MERGE, 2, 2)
    return Merged(out, whole.model_id, whole.parameters)


def _check(out: Path, *sources: Path) -> None:
    new = real_path(out)
    if new is None:
        raise ModelError(f"{out}: no path of a folder. Name another with --out.")
    if any((real_path(source) or source).is_relative_to(new) for source in sources):
        raise ModelError(f"{out}: the new folder would replace what it is made from. Name another with --out.")
    older = (out / "config.json").is_file() and any(out.glob("*.safetensors"))
    if out.exists() and not older and not (out.is_dir() and not any(out.iterdir())):
        raise ModelError(f"{out}: exists and is no checkpoint. Name a new folder with --out.")
