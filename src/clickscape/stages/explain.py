"""Stage `explain`: why clicks became these labels, why a creative is liked, and which elements of scenes earn clicks.

Reads the workspace, asks `clicks.explain` and `reward.explain`, and writes explanations/.
"""

from __future__ import annotations

import csv
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clickscape import render
from clickscape import reward as reward_room
from clickscape.catalog.images import open_image
from clickscape.clicks import explain as label_explanations
from clickscape.clicks.ctr import model_from
from clickscape.clicks.explain import Explanation
from clickscape.compute.device import best_device
from clickscape.config import ClicksConfig
from clickscape.errors import WorkspaceError
from clickscape.files import fingerprint, to_json
from clickscape.json_files import read_json
from clickscape.render.scene import slots_of
from clickscape.reward.explain.creative import CreativeExplanation, PhraseEffect, phrase_effects, why_no_phrases
from clickscape.reward.explain.elements import Credit, ElementReport, credit
from clickscape.reward.explain.occlusion import occlude
from clickscape.reward.explain.overlay import overlay
from clickscape.reward.explain.scale import Scale, clicked_products, fit_scale
from clickscape.reward.protocol import RewardModel
from clickscape.stages import split
from clickscape.stages.clicks import departments, estimates_path, read_estimates
from clickscape.stages.progress import Progress, Stage
from clickscape.types import Creative, Product
from clickscape.workspace import Manifest, Workspace, atomic_file, file_name, write_text

STAGE = "explain"
SEEDS = 4
"""Pictures rendered with and without each phrase."""

_SIDE = 256  # pixels of the longer side of what is rendered again: more than any reward model looks at
_SCALE_FILE = "scale.json"
_COLUMNS = ("department", "slot", "element", "credit_percent", "low", "high", "impressions", "creatives", "conclusion")
_WHOLE = "(all)"  # what the file calls the whole log


@dataclass(frozen=True)
class Elements:
    """The report on all elements, its lines for people, and the files that hold it."""

    report: ElementReport
    lines: list[str]
    table: Path
    record: Path


def explain_clicks(
    workspace: Workspace, made: Manifest, *, product_id: str | None = None, whole: bool = False
) -> Explanation:
    """Explain what the run `made` of stage `clicks` kept; see `clicks.explain.explain` for what is shown in full."""
    return label_explanations.explain(
        read_estimates(workspace),
        model=model_from(made.result["model"]),
        config=ClicksConfig.model_validate(made.config),
        product_id=product_id,
        whole=whole,
    )


def explain_elements(workspace: Workspace, *, category: str | None = None) -> Elements:
    """Write explanations/elements.csv and .json; lines: of one department, or of the whole log (None).

    WorkspaceError before `clickscape clicks`; LogError for an unknown department, or where nothing can be compared.
    """
    estimates = read_estimates(workspace)
    scenes = {one.creative_id: slots for one in workspace.creatives() if (slots := slots_of(one)) is not None}
    report = credit(estimates, scenes=scenes, departments=departments(workspace) or {})
    folder = workspace.path / "explanations"
    made = Elements(report, report.lines(category), folder / "elements.csv", folder / "elements.json")
    with workspace.lock():
        with atomic_file(made.table) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(_COLUMNS)
            writer.writerows(_row(one) for one in report.credits)
        write_text(made.record, to_json(report.as_record()))
    return made


def explain_creative(workspace: Workspace, creative_id: str, *, seeds: int = SEEDS) -> Stage[CreativeExplanation]:
    """Write explanations/creatives/<id>.png (heat map) and .json (map, phrases, scale), each whole or not at all.

    WorkspaceError for an id that is not there, ModelError without a reward model.
    """
    creative, product = find_creative(workspace, creative_id)
    image = open_image(creative.image)[..., :3]
    model = reward_room.load(workspace.models / "reward", device=best_device())
    yield Progress(STAGE, 0, 3, "hiding parts of the picture")
    heat = occlude(model, product, image)
    yield Progress(STAGE, 1, 3, "fitting log-odds to clicks")
    model = model.with_given_scenes()  # scenes rendered here are known: no phrase pays for a misread picture
    scale = reward_scale(workspace, model)
    yield Progress(STAGE, 2, 3, "rendering without each phrase")
    chosen = (creative.seed, *(zlib.crc32(f"{creative_id}/{number}".encode()) for number in range(1, seeds)))
    reason = why_no_phrases(creative)
    found: tuple[PhraseEffect, ...] = ()
    if not reason:
        renderer = render.load(creative.renderer, settings=workspace.settings)
        found = phrase_effects(
            model, product, creative.description, renderer=renderer, size=_size(image), seeds=chosen, scale=scale
        )
    folder = workspace.path / "explanations" / "creatives"
    made = CreativeExplanation(
        creative_id=creative_id,
        product_id=product.product_id,
        title=product.title,
        phrases=found,
        reason=reason,
        seeds=chosen,
        scale=scale,
        picture=folder / f"{file_name(creative_id)}.png",
        record=folder / f"{file_name(creative_id)}.json",
    )
    values = {**asdict(made), "unit": made.unit, "cells": heat.cells.tolist()}
    with workspace.lock():
        with atomic_file(made.picture) as temporary:
            Image.fromarray(overlay(image, heat)).save(temporary)
        write_text(made.record, to_json(values))
    yield Progress(STAGE, 3, 3)
    return made


@dataclass(frozen=True, slots=True)
class _KeptScale:
    """The scale, and the fingerprint of what it was learned from."""

    of: str
    scale: Scale | None


def reward_scale(workspace: Workspace, model: RewardModel) -> Scale | None:
    """Return the scale from this reward model's log-odds to log CTR, None where the clicks are too few.

    Fitted to the clicks of held-out products once, and kept beside the explanations.
    """
    estimates = estimates_path(workspace)
    if not estimates.exists():
        return None
    path = workspace.path / "explanations" / _SCALE_FILE
    stamp = fingerprint([fingerprint(workspace.models / "reward"), fingerprint(estimates)])
    try:
        kept = read_json(path, _KeptScale)
        if kept.of == stamp:
            return kept.scale
    except (OSError, WorkspaceError):  # not learned yet, or by another release: learn it
        pass
    products = workspace.products()
    held_out = split.read(workspace, products).testing(products)
    clicked = clicked_products(
        model,
        read_estimates(workspace).to_pylist(),
        products={product.product_id: product for product in held_out},
        creatives={creative.creative_id: creative for creative in workspace.creatives()},
        images=lambda creative: open_image(creative.image)[..., :3],
        scenes=slots_of,
    )
    scale = fit_scale(clicked)
    with workspace.lock():
        write_text(path, to_json({"of": stamp, "scale": scale}))
    return scale


def _row(one: Credit) -> tuple[object, ...]:
    where = _WHOLE if one.department is None else one.department
    figures = (f"{value:.2f}" for value in (one.percent.value, one.percent.low, one.percent.high))
    return (where, one.slot, one.element, *figures, one.impressions, one.creatives, one.conclusion)


def find_creative(workspace: Workspace, creative_id: str) -> tuple[Creative, Product]:
    """Return a creative and its product; WorkspaceError where either is gone."""
    creative = next((one for one in workspace.creatives() if one.creative_id == creative_id), None)
    if creative is None:
        raise WorkspaceError(
            f"{workspace.path} has no creative {creative_id!r}. `clickscape review {workspace.path.name}` lists them."
        )
    product = next((one for one in workspace.products() if one.product_id == creative.product_id), None)
    if product is None:
        raise WorkspaceError(
            f"creative {creative_id!r} shows the product {creative.product_id!r}, which has left the catalog. "
            f"Ingest it again, or name another creative."
        )
    return creative, product


def _size(image: NDArray[np.uint8]) -> tuple[int, int]:
    """Width and height to draw at: the picture's own shape, at most _SIDE pixels."""
    shrink = min(_SIDE / max(image.shape[:2]), 1)
    return round(image.shape[1] * shrink), round(image.shape[0] * shrink)
