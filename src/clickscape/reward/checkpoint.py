"""A reward model on disk: the backbone's Hugging Face folder with `reward.json` and `heads.safetensors` beside it.

Version 5 says `given` and `predicted` scenes and `image_statistics`; version 4, of release 0.1, is read with a warning.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, FiniteFloat
from safetensors.torch import save_file

from clickscape.compute.weights import read_tensors
from clickscape.errors import DeprecatedWarning, ModelError
from clickscape.files import atomic_folder
from clickscape.json_files import parse_json, read_json
from clickscape.reward.encoders import Backbone, open_backbone, write_backbone
from clickscape.reward.features import widths
from clickscape.reward.heads import FusionHeads, HeadShape
from clickscape.reward.prices import Prices

VERSION, OLD_VERSION = 5, 4
SETTINGS_FILE, HEADS_FILE = "reward.json", "heads.safetensors"
WIDTHS = ("vision_width", "text_width", "hidden_width", "fact_width", "statistic_width")

_OLD_SETTINGS = {"look_width": "statistic_width"}
_OLD_SCENES = {"seen": "predicted", "told": "given"}
_OLD_TENSORS = {
    "look": "statistic",
    "looks_mean": "image_statistics_mean",
    "looks_scale": "image_statistics_scale",
    "perception": "slot_map",
    "perception_bias": "slot_bias",
}

_REMEDY = "Train the reward model again."
_Width = Annotated[int, Field(ge=0, le=1 << 20)]


class _Settings(BaseModel, frozen=True):
    """reward.json; sizes are bounded because tensors are made of them."""

    form: Literal["single", "pair"]
    slots: dict[str, tuple[str, ...]]
    vision_width: _Width
    text_width: _Width
    hidden_width: _Width
    fact_width: _Width
    statistic_width: _Width
    prices: dict[str, dict[str, tuple[FiniteFloat, FiniteFloat]]]
    departments: tuple[str, ...]
    ensemble: int = Field(ge=1, le=1000)
    scene: Literal["predicted", "given"]


def save(backbone: Backbone, heads: FusionHeads, prices: Prices, folder: Path) -> None:
    """Write a reward model; the folder appears whole or not at all, an older one is replaced."""
    shape = heads.shape
    settings = {
        "version": VERSION,
        "form": "single" if shape.sides == 1 else "pair",
        "slots": {slot: list(values) for slot, values in shape.slots.items()},
        **{name: getattr(shape, name) for name in WIDTHS},
        "prices": {currency: dict(scales) for currency, scales in prices.scales.items()},
        "departments": list(shape.departments),
        "ensemble": shape.ensemble,
        "scene": "given" if shape.given_scenes else "predicted",
        "backbone": backbone.model_id,
    }
    weights = {name: value.detach().cpu().contiguous() for name, value in heads.state_dict().items()}
    with atomic_folder(folder) as waiting:
        write_backbone(backbone, waiting)
        save_file(weights, waiting / HEADS_FILE)
        (waiting / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def load(folder: Path, *, device: str = "cpu") -> tuple[Backbone, FusionHeads, Prices]:
    """Open what `save` wrote. ModelError for anything missing, damaged or of another kind."""
    settings_file, heads_file = folder / SETTINGS_FILE, folder / HEADS_FILE
    if not (settings_file.is_file() and heads_file.is_file()):
        raise ModelError(f"{folder}: no reward model here ({SETTINGS_FILE} and {HEADS_FILE} are expected). "
                         f"Train one with `clickscape reward`.")  # fmt: skip
    raw = read_json(settings_file, dict[str, Any], error=ModelError, remedy=_REMEDY)
    version = raw.get("version")
    if version not in (VERSION, OLD_VERSION):
        raise ModelError(f"{settings_file}: version {version!r}, this release reads {VERSION}. {_REMEDY}")
    if version == OLD_VERSION:
        raw = _renamed(raw)
        warnings.warn(
            f"{settings_file}: version {OLD_VERSION} of release 0.1 is read until the next release. "
            f"Run `clickscape reward` to write version {VERSION}.",
            DeprecatedWarning,
            stacklevel=2,
        )
    settings = parse_json(json.dumps(raw), _Settings, where=str(settings_file), error=ModelError, remedy=_REMEDY)
    shape = HeadShape(
        sides=1 if settings.form == "single" else 2,
        **settings.model_dump(include={*WIDTHS, "slots", "departments", "ensemble"}),
        given_scenes=settings.scene == "given",
    )
    try:
        prices = Prices(settings.prices)
    except ValueError as error:
        raise ModelError(f"{settings_file} is damaged ({error}). {_REMEDY}") from None
    backbone = open_backbone(folder, device=device)
    expected = widths(backbone, last_token=shape.hidden_width > 0)
    if expected != {name: getattr(shape, name) for name in WIDTHS}:
        raise ModelError(f"{folder}: the heads were trained on another backbone. Train the reward model again.")
    heads = FusionHeads(shape, seed=0)
    old_names = {new: old for old, new in _OLD_TENSORS.items()} if version == OLD_VERSION else {}
    shapes = {old_names.get(name, name): value.shape for name, value in heads.state_dict().items()}
    tensors, _ = read_tensors(heads_file, shapes=shapes, remedy=_REMEDY)
    heads.load_state_dict({_OLD_TENSORS.get(name, name): tensor for name, tensor in tensors.items()})
    return backbone, heads.to(backbone.device), prices


def _renamed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of version 4 in the words of version 5."""
    renamed = {_OLD_SETTINGS.get(name, name): value for name, value in settings.items()}
    scene = settings.get("scene")
    return {**renamed, "scene": _OLD_SCENES.get(scene, scene) if isinstance(scene, str) else scene}
