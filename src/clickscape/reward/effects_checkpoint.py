"""An effects model on disk: its backbone's Hugging Face folder with reward.json and effects.safetensors beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field, FiniteFloat
from safetensors.torch import save_file

from clickscape import model_card
from clickscape.compute.weights import read_tensors
from clickscape.errors import ModelError
from clickscape.files import atomic_folder
from clickscape.json_files import parse_json, read_json
from clickscape.reward.design import PIXELS, Design
from clickscape.reward.effects import Effects, Floats
from clickscape.reward.encoders import Backbone, open_backbone, write_backbone
from clickscape.reward.features import token_width
from clickscape.reward.image_statistics import STATISTICS
from clickscape.reward.prices import Prices
from clickscape.reward.slot_probe import SlotProbe, class_counts
from clickscape.reward.tastes import MOST_AUDIENCES, Tastes

VERSION, FORM = 6, "effects"
SETTINGS_FILE, ARRAYS_FILE = "reward.json", "effects.safetensors"
REMEDY = "Train the reward model again."

_Size = Annotated[int, Field(ge=0, le=1 << 20)]


class _Settings(BaseModel, frozen=True):
    """reward.json; sizes are bounded because arrays are made of them."""

    slots: dict[str, tuple[str, ...]]
    departments: tuple[str, ...]
    prices: dict[str, dict[str, tuple[FiniteFloat, FiniteFloat]]]
    scene: Literal["predicted", "given"]
    has_probe: bool
    components: _Size
    columns: _Size
    rank: _Size
    temperature: float = Field(gt=0, le=1e6)
    image_sd: float = Field(ge=0, le=100)
    audiences: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field({}, max_length=MOST_AUDIENCES)
    own_columns: _Size = 0
    taste_rank: _Size = 0
    taste_image_sd: float = Field(0.0, ge=0, le=100)


def save(
    folder: Path, backbone: Backbone, design: Design, effects: Effects, tastes: Tastes | None, *, temperature: float
) -> None:
    """Write a model; the folder appears whole or not at all, an older one is replaced."""
    settings = {
        "version": VERSION,
        "form": FORM,
        "slots": {slot: list(values) for slot, values in design.slots.items()},
        "departments": list(design.departments),
        "prices": {currency: dict(scales) for currency, scales in design.prices.scales.items()},
        "scene": "given" if design.given_scenes else "predicted",
        "has_probe": design.probe is not None,
        "components": design.components.shape[1],
        "columns": len(effects.mode),
        "rank": effects.factor.shape[1],
        "temperature": temperature,
        "image_sd": effects.image_sd,
        "backbone": backbone.model_id,
    }
    arrays = {name: getattr(design, name) for name in _DESIGN}
    arrays |= {"mode": effects.mode, "prior": effects.prior, "factor": effects.factor}
    if tastes is not None:
        found = tastes.deviations
        settings["audiences"] = dict(zip(tastes.names, tastes.shares.tolist(), strict=True))
        settings |= {
            "own_columns": len(tastes.place),
            "taste_rank": found.factor.shape[1],
            "taste_image_sd": found.image_sd,
        }
        arrays |= {"taste_mode": found.mode, "taste_prior": found.prior, "taste_factor": found.factor}
    if design.probe is not None:
        arrays |= {"probe_weight": design.probe.weight, "probe_bias": design.probe.bias}
    single = {
        "probe_weight",
        "factor",
        "taste_factor",
        "components",
    }  # half the bytes; scores differ by less than a millionth
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(value, np.float32 if name in single else np.float64))
        for name, value in arrays.items()
    }
    with atomic_folder(folder) as waiting:
        write_backbone(backbone, waiting)
        model_card.write(waiting, model_card.REWARD, base=backbone.model_id, tags=[FORM])
        save_file(tensors, waiting / ARRAYS_FILE)
        (waiting / ARRAYS_FILE).chmod(0o644)
        (waiting / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


_DESIGN = ("statistic_mean", "statistic_scale", "thumbnail_mean", "components")


def load(folder: Path, *, device: str = "cpu") -> tuple[Backbone, Design, Effects, Tastes | None, float]:
    """Open what `save` wrote, with its temperature. ModelError for anything missing, damaged or of another kind."""
    file = folder / SETTINGS_FILE
    raw = read_json(file, dict[str, Any], error=ModelError, remedy=REMEDY)
    settings = parse_json(json.dumps(raw), _Settings, where=str(file), error=ModelError, remedy=REMEDY)
    try:
        prices = Prices(settings.prices)
    except ValueError as error:
        raise ModelError(f"{file} is damaged ({error}). {REMEDY}") from None
    backbone = open_backbone(folder, device=device)
    pixels, statistics, classes = PIXELS, len(STATISTICS), sum(class_counts(settings.slots))
    shapes: dict[str, tuple[int, ...]] = {
        "statistic_mean": (statistics,),
        "statistic_scale": (statistics,),
        "thumbnail_mean": (pixels,),
        "components": (pixels, settings.components),
        "mode": (settings.columns,),
        "prior": (settings.columns,),
        "factor": (settings.columns, settings.rank),
    }
    if settings.has_probe:
        shapes |= {"probe_weight": (token_width(backbone), classes), "probe_bias": (classes,)}
    if settings.audiences:
        many = len(settings.audiences) * settings.own_columns
        shapes |= {"taste_mode": (many,), "taste_prior": (many,), "taste_factor": (many, settings.taste_rank)}
    tensors, _ = read_tensors(folder / ARRAYS_FILE, shapes=shapes, remedy=REMEDY)
    arrays: dict[str, Floats] = {name: np.asarray(tensor.double().numpy()) for name, tensor in tensors.items()}
    probe = SlotProbe(settings.slots, arrays["probe_weight"], arrays["probe_bias"]) if settings.has_probe else None
    design = Design(
        settings.slots,
        settings.departments,
        prices,
        probe,
        settings.scene == "given",
        **{name: arrays[name] for name in _DESIGN},
    )
    if design.column_count != settings.columns:
        raise ModelError(f"{file}: {settings.columns} columns, its design has {design.column_count}. {REMEDY}")
    effects = Effects(arrays["mode"], arrays["prior"], arrays["factor"], settings.image_sd)
    return backbone, design, effects, _tastes(settings, arrays, design, where=file), settings.temperature


def _tastes(settings: _Settings, arrays: dict[str, Floats], design: Design, *, where: Path) -> Tastes | None:
    if not settings.audiences:
        return None
    if len(place := design.own_columns) != settings.own_columns:
        raise ModelError(f"{where}: {settings.own_columns} own columns, its design has {len(place)}. {REMEDY}")
    found = Effects(arrays["taste_mode"], arrays["taste_prior"], arrays["taste_factor"], settings.taste_image_sd)
    return Tastes(tuple(settings.audiences), np.array(list(settings.audiences.values())), found, place)
