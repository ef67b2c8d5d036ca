"""Stage `merge`: a LoRA adapter and its base become one checkpoint folder that plain `transformers` opens."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from clickscape.errors import ModelError
from clickscape.preference import adapter
from clickscape.stages.progress import Progress, Stage
from clickscape.vlm import model as vlm_model

STAGE = "merge"


@dataclass(frozen=True, slots=True)
class Merged:
    """What was made: a model of so many weights, on the base that goes by this name."""

    folder: Path
    base: str
    parameters: int


def merge(folder: Path, *, out: Path, base: str | os.PathLike[str] | None = None) -> Stage[Merged]:
    """Fold an adapter into its base; `out` appears whole or not at all, and replaces an older checkpoint only."""
    if out.resolve() in {folder.resolve(), Path(base or folder).resolve()}:
        raise ModelError(f"{out}: the new folder would replace what it is made from. Name another with --out.")
    if out.exists() and not (out.is_dir() and ((out / "config.json").is_file() or not any(out.iterdir()))):
        raise ModelError(f"{out}: exists and is no checkpoint. Name a new folder with --out.")
    yield Progress(STAGE, 0, 2, "reading")
    whole = adapter.merge(folder, base=base)
    yield Progress(STAGE, 1, 2, "writing")
    vlm_model.save(whole, out)
    yield Progress(STAGE, 2, 2)
    return Merged(out, whole.model_id, whole.parameters)
