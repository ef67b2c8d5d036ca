"""Stage `explain` of one creative: where the reward model looks, and what each phrase of its description earns.

Phrases are taken away one by one and the rest drawn again by the creative's own renderer, with its own seed and more.
Rewards become per cent of CTR by a scale that is learned on the clicks of held-out products; where there is none,
they stay log-odds.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clickscape import clicks as click_room
from clickscape import render
from clickscape import reward as reward_room
from clickscape.catalog.images import open_image
from clickscape.compute.device import best_device
from clickscape.errors import WorkspaceError
from clickscape.render.registry import RENDERERS
from clickscape.render.renderer import Renderer
from clickscape.render.studio.phrases import phrases
from clickscape.reward.explain.occlusion import occlude
from clickscape.reward.explain.overlay import overlay
from clickscape.reward.explain.phrases import weigh
from clickscape.reward.explain.scale import Clicked, Scale, learn_scale
from clickscape.reward.model import RewardModel
from clickscape.stages import split
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.reward import slots_of
from clickscape.types import Creative, Estimate, Product
from clickscape.workspace import Workspace, atomic_file, file_name
from clickscape.workspace.files import fingerprint, to_json

STAGE = "explain"
SEEDS = 4
"""Pictures drawn with and without each phrase."""

_SIDE = 256  # pixels of the longer side of what is drawn again: more than any reward model looks at
_SCALE_CREATIVES = 1_500  # creatives of held-out products that the scale is learned on, at most
_SCALE_FILE = "scale.json"


@dataclass(frozen=True)
class Phrased:
    """Without a phrase: change of the reward, of the CTR in per cent (None: not known), and slot → (with, without)."""

    phrase: str
    reward: Estimate
    ctr: Estimate | None
    instead: Mapping[str, tuple[str | None, str | None]]

    @property
    def enough(self) -> bool:
        """Whether it makes a difference that the interval does not span."""
        shown = self.ctr or self.reward
        return not shown.low <= 0 <= shown.high


@dataclass(frozen=True)
class CreativeExplanation:
    """What was found about one creative, and the files that hold it; reason: why there are no phrases, else ""."""

    creative_id: str
    product_id: str
    title: str
    phrases: tuple[Phrased, ...]
    reason: str
    seeds: tuple[int, ...]
    scale: Scale | None
    picture: Path
    record: Path

    @property
    def unit(self) -> str:
        """What the phrases' figures are."""
        return "CTR, %" if self.scale is not None and self.scale.known else "reward, log-odds"

    def lines(self) -> list[str]:
        """A table for people: the phrases that matter most first."""
        lines = [f"creative {self.creative_id} of {self.product_id}: {self.title}"]
        if self.reason:
            return [*lines, f"no phrases: {self.reason}"]
        width = max(len(one.phrase) for one in self.phrases) + 2
        lines.append(f"{'without':<{width}}  {self.unit:>16}  95 % interval    then")
        for one in sorted(self.phrases, key=lambda one: -abs(one.reward.value)):
            shown = one.ctr or one.reward
            digits = 1 if one.ctr else 2
            low, high = (f"{bound:+z.{digits}f}" for bound in (shown.low, shown.high))
            known = "" if one.enough else "  (not enough evidence)"
            then = ", ".join(f"{slot} {after or 'none'}" for slot, (_, after) in one.instead.items())
            if one.reward.low == one.reward.high == 0:
                known = "  (changes nothing)"
            name = f"'{one.phrase}'"
            lines.append(
                f"{name:<{width}}  {shown.value:>+z16.{digits}f}  {f'[{low}, {high}]':<15}  {then}{known}".rstrip()
            )
        return [*lines, self._measured()]

    def _measured(self) -> str:
        drawn = f"{len(self.seeds)} pictures with and without each phrase"
        if self.scale is None or not self.scale.known:
            return f"{drawn}; too few clicks on held-out products to say what a log-odds is in CTR"
        error, misfit = 1.96 * self.scale.error, 100 * 1.96 * self.scale.misfit
        return (
            f"{drawn}; by the clicks of {self.scale.products} held-out products a log-odds of reward is "
            f"{self.scale.slope:.3f} ± {error:.3f} of log CTR, and wrong by ± {misfit:.0f} % a slot"
        )


def explain_creative(workspace: Workspace, creative_id: str, *, seeds: int = SEEDS) -> Stage[CreativeExplanation]:
    """Write explanations/creatives/<id>.png (heat map) and .json (map, phrases, scale), each whole or not at all.

    WorkspaceError for an id that is not there, ModelError without a reward model.
    """
    creative, product = _find(workspace, creative_id)
    image = open_image(creative.image)[..., :3]
    model = reward_room.load(workspace.models / "reward", device=best_device())
    yield Progress(STAGE, 0, 3, "hiding places")
    heat = occlude(model, product, image)
    yield Progress(STAGE, 1, 3, "learning what a log-odds is in clicks")
    model = (
        model.with_given_scenes()
    )  # what is drawn here is known: no phrase pays for what the model's eye would misread
    scale = _scale(workspace, model)
    yield Progress(STAGE, 2, 3, "drawing without each phrase")
    chosen = (creative.seed, *(zlib.crc32(f"{creative_id}/{number}".encode()) for number in range(1, seeds)))
    reason = _why_not(creative)
    found = (
        ()
        if reason
        else _phrased(workspace, creative, product, model=model, size=_size(image), seeds=chosen, scale=scale)
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
    values = {**asdict(made), "unit": made.unit, "places": heat.cells.tolist()}
    with workspace.lock():
        with atomic_file(made.picture) as temporary:
            Image.fromarray(overlay(image, heat)).save(temporary)
        with atomic_file(made.record) as temporary:
            temporary.write_text(to_json(values), encoding="utf-8")
    yield Progress(STAGE, 3, 3)
    return made


class _Drawing:
    """Draws descriptions around one product, and remembers what each of them shows."""

    def __init__(self, renderer: Renderer, product: Product, size: tuple[int, int]) -> None:
        self.renderer, self.product, self.size = renderer, product, size
        self.slots: dict[str, Mapping[str, str | None]] = {}

    def __call__(self, description: str, seed: int) -> NDArray[np.uint8]:
        drawn = self.renderer.render(self.product, description, size=self.size, seed=seed)
        self.slots[description] = drawn.scene.slots if drawn.scene is not None else {}
        return drawn.image

    def instead(self, description: str, rest: str) -> dict[str, tuple[str | None, str | None]]:
        """Slots that differ, with what they show of each description."""
        before, after = self.slots[description], self.slots[rest]
        return {slot: (value, after[slot]) for slot, value in before.items() if value != after[slot]}


def _find(workspace: Workspace, creative_id: str) -> tuple[Creative, Product]:
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


def _why_not(creative: Creative) -> str:
    """Why the creative cannot be drawn again, or ""."""
    if not phrases(creative.description):
        return "the creative has no description"
    if creative.renderer not in RENDERERS:
        return f"nothing here draws as {creative.renderer!r} does"
    return ""


def _size(image: NDArray[np.uint8]) -> tuple[int, int]:
    """Width and height to draw at: the picture's own shape, at most _SIDE pixels."""
    shrink = min(_SIDE / max(image.shape[:2]), 1)
    return round(image.shape[1] * shrink), round(image.shape[0] * shrink)


def _phrased(
    workspace: Workspace,
    creative: Creative,
    product: Product,
    *,
    model: RewardModel,
    size: tuple[int, int],
    seeds: Sequence[int],
    scale: Scale | None,
) -> tuple[Phrased, ...]:
    description = creative.description
    drawing = _Drawing(render.load(creative.renderer, settings=workspace.settings), product, size)
    apart = {phrase.text: phrase for phrase in phrases(description)}
    without = {text: phrase.without for text, phrase in apart.items()}
    found = []
    for one in weigh(model, product, description, without=without, draw=drawing, seeds=seeds, read=drawing.slots.get):
        instead = drawing.instead(description, without[one.phrase])
        slots = len(instead) or len(apart[one.phrase].slots)
        ctr = scale.percent(one.reward, slots=slots) if scale is not None and scale.known else None
        unchanged = one.reward.low == one.reward.high == 0
        found.append(Phrased(one.phrase, one.reward, one.reward if ctr and unchanged else ctr, instead))
    return tuple(found)


def _scale(workspace: Workspace, model: RewardModel) -> Scale | None:
    """The scale of this reward model on these clicks; learned once and kept beside the explanations."""
    estimates = click_room.estimates_path(workspace)
    if not estimates.exists():
        return None
    path = workspace.path / "explanations" / _SCALE_FILE
    reading = "given" if model.heads.shape.given_scenes else "predicted"
    stamp = fingerprint([fingerprint(workspace.models / "reward"), fingerprint(estimates), reading])
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["of"] == stamp:
            return None if kept["scale"] is None else Scale(**kept["scale"])
    except (OSError, ValueError, KeyError, TypeError):  # not learned yet, or by another release: learn it
        pass
    scale = learn_scale(_held_out(workspace, model))
    with workspace.lock(), atomic_file(path) as temporary:
        temporary.write_text(to_json({"of": stamp, "scale": scale}), encoding="utf-8")
    return scale


def _held_out(workspace: Workspace, model: RewardModel) -> list[Clicked]:
    """The creatives of held-out products, those with most clicks first."""
    products = workspace.products()
    tested = {product.product_id: product for product in split.read(workspace, products).testing(products)}
    creatives = {creative.creative_id: creative for creative in workspace.creatives()}
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in click_room.read_estimates(workspace).to_pylist():
        if row["product_id"] in tested and row["creative_id"] in creatives and row["examinations"] > 0:
            rows.setdefault(row["product_id"], []).append(row)
    found: list[Clicked] = []
    looked = 0
    for name, own in sorted(rows.items(), key=lambda item: (-sum(row["clicks"] for row in item[1]), item[0])):
        if len(own) < 2 or looked + len(own) > _SCALE_CREATIVES:
            continue
        looked += len(own)
        shown = [creatives[row["creative_id"]] for row in own]
        first, *others = (open_image(creative.image)[..., :3] for creative in shown)
        count = len(others)
        whole, *rest = (slots_of(creative) for creative in shown)
        odds = model.log_odds([tested[name]] * count, others, [first] * count, [(one, whole) for one in rest]).mean(0)
        found.append(
            Clicked(
                rewards=np.array([0.0, *odds]),
                clicks=np.array([row["clicks"] for row in own], np.float64),
                examinations=np.array([row["examinations"] for row in own], np.float64),
                differing=_differing([slots_of(creative) or {} for creative in shown]),
            )
        )
    return found


def _differing(scenes: Sequence[Mapping[str, str | None]]) -> NDArray[np.float64]:
    """In how many slots two scenes differ, at least 1: (scene, scene)."""
    return np.array(
        [[max(sum(one[slot] != two.get(slot) for slot in one), 1) for two in scenes] for one in scenes], float
    )
