"""Stage `convert`: a checkpoint of the paper's code becomes a folder that `vlm.load` or `reward.load` opens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clickscape.errors import ModelError
from clickscape.reward import caig as caig_reward
from clickscape.stages.progress import Progress, Stage
from clickscape.vlm.convert import caig
from clickscape.workspace import atomic_folder

STAGE = "convert"


@dataclass(frozen=True, slots=True)
class Converted:
    """What was made: a `prompt` model or a `reward` model, of so many tensors."""

    folder: Path
    kind: caig.Kind
    tensors: int


def convert(source: Path, *, vision_tower: Path, out: Path) -> Stage[Converted]:
    """Read, check, then write; `out` appears whole or not at all, and replaces nothing but an older checkpoint."""
    if out.resolve() in {source.resolve(), vision_tower.resolve()}:
        raise ModelError(f"{out}: the new folder would replace what it is made from. Name another with --out.")
    if out.exists() and not (out.is_dir() and ((out / "config.json").is_file() or not any(out.iterdir()))):
        raise ModelError(f"{out}: exists and is no checkpoint. Name a new folder with --out.")
    yield Progress(STAGE, 0, 1, "reading names and shapes")
    planned = caig.plan(source, vision_tower=vision_tower)
    total = 0
    with atomic_folder(out) as waiting:
        for moved in caig.write(planned, waiting):
            total = moved.total
            yield Progress(STAGE, moved.number, moved.total, moved.name)
        if planned.kind == "reward":
            caig_reward.write_heads(waiting, caig.heads(planned))
    return Converted(out, planned.kind, total)
