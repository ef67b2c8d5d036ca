"""One rendition: a creative rendered for a placement, gated, with text where asked, encoded, labeled and saved.

The fidelity gate sees the picture before words cover it and before encoding changes it; one that fails is drawn with
other seeds, and a rendition that never passes leaves a record without a file. It is finished when its record lies in
`.renditions/` of the export's folder and its file, if any, is the one that it speaks of.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

import clickscape
from clickscape import render
from clickscape.config import Settings
from clickscape.errors import ImageError, TextError, WorkspaceError
from clickscape.files import inside
from clickscape.generation.retry import GatedRendering, GateRecord, fidelity_limits, render_until_pass, retry_seeds
from clickscape.json_files import read_json
from clickscape.render import provenance
from clickscape.render.encode import EXTENSIONS, encode
from clickscape.render.placements import Placement
from clickscape.render.provenance import Provenance
from clickscape.render.renderer import Box, Renderer, Rendering, SceneRenderer
from clickscape.render.scene import Scene
from clickscape.render.text import set_text
from clickscape.types import Creative, Product
from clickscape.workspace import atomic_file, file_name, fingerprint

RECORDS = ".renditions"
_LABEL_SLACK = 256  # bytes by which a label may take more in one format than in another


@dataclass(frozen=True, slots=True)
class Words:
    """What is set over every picture, none by default; `font` is a file that has letters which the own one lacks."""

    tagline: str = ""
    badge: str = ""
    font: Path | None = None

    def __bool__(self) -> bool:
        return bool(self.tagline or self.badge)


@dataclass(frozen=True, slots=True)
class Job:
    """One rendition to draw: everything a worker needs."""

    creative: Creative
    product: Product
    placement: Placement
    work: str
    out: Path
    settings: Settings
    words: Words

    @property
    def record(self) -> Path:
        return self.out / RECORDS / self.placement.name / f"{file_name(self.creative.creative_id)}.json"


def work_of(creative: Creative, placement: Placement, picture: str, words: Words, settings: Settings) -> str:
    """Fingerprint of what decides a rendition's bytes, and whether there are any."""
    font = None if words.font is None else fingerprint(words.font)
    asked = [placement.size, asdict(placement.margins), placement.max_bytes, placement.formats]
    made = asdict(creative)
    judged = [settings.generate.tries, settings.fidelity.model_dump()]
    told = {key: made[key] for key in ("creative_id", "description", "scene", "renderer", "model_id", "seed")}
    return fingerprint([told, asked, judged, picture, words.tagline, words.badge, font, clickscape.__version__])


class RenditionRecord(BaseModel):
    """What a file under `.renditions/` says; `file`, relative to the folder, is "" when no picture passed the gate."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    rendition_id: str
    creative_id: str
    product_id: str
    placement: str
    seed: int
    gate: GateRecord
    work: str = Field(description="fingerprint of what decides the picture, see work_of")
    file: str = ""
    sha256: str = ""
    format: str = ""
    quality: int | None = None
    full_color: bool = True
    width: int = 0
    height: int = 0
    bytes: int = 0
    inside_margins: bool = True


def read(path: Path, *, out: Path) -> RenditionRecord | None:
    """Return the record at `path`, None when there is none; WorkspaceError when it is damaged or is not the path's."""
    remedy = f"Delete {out / RECORDS} and export again."
    try:
        record = read_json(inside(out, os.path.relpath(path, out)), RenditionRecord, remedy=remedy)
    except FileNotFoundError:
        return None
    placement, name = path.parent.name, path.name.removesuffix(".json")
    files = ("", *(f"{placement}/{name}.{extension}" for extension in EXTENSIONS.values()))
    if (record.placement, file_name(record.creative_id)) != (placement, name) or record.file not in files:
        raise WorkspaceError(f"{path} speaks of {record.file!r} and {record.rendition_id!r}, not its own. {remedy}")
    return record


def whole(record: RenditionRecord, out: Path) -> bool:
    """Whether the file is the one that the record speaks of; a rendition that the gate refused has none."""
    if not record.file:
        return True
    file = inside(out, record.file)
    return file.is_file() and fingerprint(file) == record.sha256


def remove_file(record: RenditionRecord, out: Path) -> None:
    """Remove the rendition's file, if it has one."""
    if record.file:
        inside(out, record.file).unlink(missing_ok=True)


def finished(job: Job) -> bool:
    record = read(job.record, out=job.out)
    return record is not None and record.work == job.work and whole(record, job.out)


@lru_cache(maxsize=4)
def _renderer(name: str, settings: Settings) -> Renderer:
    """One renderer of each name per process, so that its caches serve every rendition."""
    return render.load(name, settings=settings)


def _passed(job: Job, renderer: Renderer) -> GatedRendering:
    """The picture drawn with the creative's own seed, or with the first of a few others that passes the gate."""
    creative, placement, settings = job.creative, job.placement, job.settings
    return render_until_pass(
        partial(_rendered, job, renderer),
        seeds=retry_seeds(creative.creative_id, placement.name, first=creative.seed, tries=settings.generate.tries),
        limits=fidelity_limits(settings.fidelity, source=renderer.digital_source, margins=placement.margins),
    )


def _rendered(job: Job, renderer: Renderer, seed: int) -> Rendering:
    """The creative's own scene where the renderer draws scenes, else its description, at the placement's size."""
    creative, placement = job.creative, job.placement
    if isinstance(renderer, SceneRenderer) and creative.scene:
        scene = Scene.from_json(json.dumps(dict(creative.scene)))
        return renderer.render_scene(job.product, scene, size=placement.size, seed=seed, margins=placement.margins)
    return renderer.render(job.product, creative.description, size=placement.size, seed=seed, margins=placement.margins)


def _spoken(job: Job, rendering: Rendering) -> NDArray[np.uint8]:
    """The picture with the words that were asked for, inside the placement's safe zone."""
    if not job.words:
        return rendering.image
    left, top, right, bottom = job.placement.margins.inside(job.placement.size)
    try:
        return set_text(
            rendering.image,
            rendering.product,
            safe=Box(left, top, right - left, bottom - top),
            tagline=job.words.tagline,
            badge=job.words.badge,
            font_path=job.words.font,
        ).image
    except TextError as error:
        raise TextError(f"creative {job.creative.creative_id!r} at {job.placement.name}: {error}") from None


def draw(job: Job) -> RenditionRecord:
    """Draw, judge, encode, label and save one rendition (in a worker: only its record travels)."""
    renderer = _renderer(job.creative.renderer, job.settings)
    outcome = _passed(job, renderer)
    old = read(job.record, out=job.out)
    if outcome.rendering is None and old is not None:
        remove_file(old, job.out)  # before its record goes: nothing else knows the file
    record = RenditionRecord(
        rendition_id=f"{job.creative.creative_id}@{job.placement.name}",
        creative_id=job.creative.creative_id,
        product_id=job.creative.product_id,
        placement=job.placement.name,
        seed=outcome.seed,
        gate=outcome.gate,
        work=job.work,
        **({} if outcome.rendering is None else _saved(job, outcome.rendering, outcome.seed, renderer)),
    )
    with atomic_file(job.record) as temporary:
        temporary.write_text(record.model_dump_json() + "\n", encoding="utf-8")
    if old is not None and old.file != record.file:
        remove_file(old, job.out)  # another format took its place
    return record


def _saved(job: Job, rendering: Rendering, seed: int, renderer: Renderer) -> dict[str, Any]:
    """Write the picture's file; returns what its record says of it."""
    creative, placement = job.creative, job.placement
    label = Provenance(
        creative.creative_id,
        renderer=creative.renderer,
        model_id=creative.model_id,
        source=renderer.digital_source,
        seed=seed,
        description=creative.description,
    )
    try:
        room = placement.max_bytes - _label_bytes(label)
        made = encode(_spoken(job, rendering), max_bytes=room, formats=placement.formats)
    except ImageError as error:
        raise ImageError(f"creative {creative.creative_id!r} at {placement.name}: {error}") from None
    data = provenance.embed(made.data, label)
    if len(data) > placement.max_bytes:
        raise ImageError(f"creative {creative.creative_id!r} at {placement.name}: its label takes too many bytes.")
    file = job.out / placement.name / f"{file_name(creative.creative_id)}.{made.extension}"
    with atomic_file(file) as temporary:
        temporary.write_bytes(data)
    return {
        "file": file.relative_to(job.out).as_posix(),
        "format": made.format,
        "quality": made.quality,
        "full_color": made.full_color,
        "width": placement.width,
        "height": placement.height,
        "bytes": len(data),
        "inside_margins": _inside(rendering, placement),
        "sha256": fingerprint(file),
    }


def _label_bytes(label: Provenance) -> int:
    """Bytes that a label adds to a file, and a little more."""
    dot = encode(np.zeros((1, 1, 3), np.uint8), max_bytes=4096, formats=("png",)).data
    return len(provenance.embed(dot, label)) - len(dot) + _LABEL_SLACK


def _inside(rendering: Rendering, placement: Placement) -> bool:
    """Whether the product keeps the placement's margins free."""
    rows, columns = (np.flatnonzero((rendering.product_mask > 128).any(axis)) for axis in (1, 0))
    left, top, right, bottom = placement.margins.inside(placement.size)
    return bool(rows.size and left <= columns[0] and columns[-1] < right and top <= rows[0] and rows[-1] < bottom)
