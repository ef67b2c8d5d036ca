"""One rendition: a creative rendered for a placement, gated, with text over it where asked, encoded and labeled.

The fidelity gate sees the picture before text covers it and before encoding changes it; one that fails is rendered with
other seeds, and a rendition that never passes has a record without a file.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

import clickscape
from clickscape import render
from clickscape.config import Settings
from clickscape.errors import ImageError, TextError
from clickscape.files import file_name, fingerprint, photo_file
from clickscape.generation.creative_record import label
from clickscape.generation.retry import GatedRendering, GateRecord, fidelity_limits, render_until_pass, retry_seeds
from clickscape.regular_files import read_bytes
from clickscape.render import provenance
from clickscape.render.c2pa_signing import Claim, Signing, manifest_bytes, sign
from clickscape.render.encode import EXTENSIONS, encode
from clickscape.render.placements import Placement
from clickscape.render.provenance import Provenance
from clickscape.render.renderer import Box, DigitalSource, Renderer, Rendering, SceneRenderer
from clickscape.render.scene import Scene
from clickscape.render.text import set_text
from clickscape.render.typeset import check_glyphs, cleaned, open_face
from clickscape.types import Creative, Product

_LABEL_SLACK = 256  # bytes by which a label may take more in one format than in another


@dataclass(frozen=True, slots=True)
class OverlayText:
    """Text over every picture, none by default; `font` is a file that has letters which the own one lacks."""

    tagline: str = ""
    badge: str = ""
    font: Path | None = None

    def __bool__(self) -> bool:
        return bool(self.tagline or self.badge)

    def check(self) -> None:
        """TextError for a font that cannot be read, words that are too long, and letters that the font lacks."""
        face = open_face(self.font)
        for role, text in (("tagline", self.tagline), ("badge", self.badge)):
            check_glyphs(cleaned(text, role=role), face, role=role)


@dataclass(frozen=True, slots=True)
class RenditionJob:
    """One rendition to make: everything a worker needs.

    `picture`: digest of the product's cut-out, with its photo's where the rendition is signed.
    """

    creative: Creative
    product: Product
    placement: Placement
    picture: str
    settings: Settings
    text: OverlayText
    signing: Signing | None = None

    @property
    def work(self) -> str:
        """Fingerprint of what decides a rendition's bytes, and whether there are any."""
        font = None if self.text.font is None else fingerprint(self.text.font)
        place, settings = self.placement, self.settings
        asked = [place.size, asdict(place.margins), place.max_bytes, place.formats]
        gate = [settings.generate.tries, settings.fidelity.model_dump()]
        made = asdict(self.creative)
        drawn_from = {key: made[key] for key in ("creative_id", "description", "scene", "renderer", "model_id", "seed")}
        text = (self.text.tagline, self.text.badge, font)
        signed = [] if self.signing is None else [self.signing.digest]
        return fingerprint([drawn_from, asked, gate, self.picture, *text, clickscape.__version__, *signed])


class RenditionRecord(BaseModel):
    """What is noted of a rendition; `file`, relative to the folder, is "" when no picture passed the gate."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    rendition_id: str
    creative_id: str
    product_id: str
    placement: str
    seed: int
    gate: GateRecord
    work: str = Field(description="fingerprint of what decides the picture, see RenditionJob.work")
    file: str = ""
    sha256: str = ""
    format: str = ""
    quality: int | None = None
    full_color: bool = True
    width: int = Field(0, ge=0, lt=1 << 31)
    height: int = Field(0, ge=0, lt=1 << 31)
    bytes: int = Field(0, ge=0, lt=1 << 31)
    inside_margins: bool = True
    signer: str = Field("", description="who signed the file by a C2PA manifest, empty: nobody")

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.rendition_id != _rendition_id(self.creative_id, self.placement):
            raise ValueError(f"rendition_id {self.rendition_id!r} is not that of its creative and placement")
        if bool(self.file) != self.gate.passed:
            raise ValueError("a file is there exactly where a picture passed the gate")
        return self

    @property
    def possible_files(self) -> tuple[str, ...]:
        """Every name that the file can have, "" for none; another one is not this rendition's."""
        name = f"{self.placement}/{file_name(self.creative_id)}"
        return ("", *(f"{name}.{extension}" for extension in EXTENSIONS.values()))


def _rendition_id(creative_id: str, placement: str) -> str:
    return f"{creative_id}@{placement}"


def make_rendition(job: RenditionJob) -> tuple[RenditionRecord, bytes]:
    """Render, gate, encode, label and sign one rendition; returns its record and file's bytes, none when none passed.

    ImageError where a placement's bytes do not suffice, TextError where it has no room for the text, ConfigError where
    the signer's key or time stamp cannot be had.
    """
    creative, placement = job.creative, job.placement
    renderer = open_renderer(creative.renderer, job.settings)
    gated = _gated(job, renderer)
    noted: dict[str, Any] = {
        "rendition_id": _rendition_id(creative.creative_id, placement.name),
        "creative_id": creative.creative_id,
        "product_id": creative.product_id,
        "placement": placement.name,
        "seed": gated.seed,
        "gate": gated.gate,
        "work": job.work,
    }
    if gated.rendering is None:
        return RenditionRecord(**noted), b""
    said = label(creative, source=renderer.digital_source, seed=gated.seed)
    where = f"creative {creative.creative_id!r} at {placement.name}"
    try:
        marks = _label_bytes(said) + _manifest_bytes(job, source=said.source)
        if marks >= placement.max_bytes:
            raise ImageError(
                f"its label and manifest take {marks:,} bytes of {placement.max_bytes:,}. Take the manifest out of the "
                "product's photo, or export without [c2pa]."
            )
        room = placement.max_bytes - marks
        made = encode(_with_text(gated.rendering, job), max_bytes=room, formats=placement.formats)
        data = _signed(provenance.embed(made.data, said), job, source=said.source)
    except (ImageError, TextError) as error:
        raise type(error)(f"{where}: {error}") from None
    if len(data) > placement.max_bytes:
        raise ImageError(f"{where}: its label and manifest take too many bytes.")
    noted |= {
        "file": f"{placement.name}/{file_name(creative.creative_id)}.{made.extension}",
        "sha256": hashlib.sha256(data).hexdigest(),
        "format": made.format,
        "quality": made.quality,
        "full_color": made.full_color,
        "width": placement.width,
        "height": placement.height,
        "bytes": len(data),
        "inside_margins": _inside(gated.rendering, placement),
        "signer": "" if job.signing is None else job.signing.name,
    }
    return RenditionRecord(**noted), data


@lru_cache(maxsize=4)
def open_renderer(name: str, settings: Settings) -> Renderer:
    """Return the one renderer of each name that a process has, so that its caches serve every rendition."""
    return render.load(name, settings=settings)


def _gated(job: RenditionJob, renderer: Renderer) -> GatedRendering:
    """The creative's scene where the renderer draws scenes, else its description; its own seed, or one that passes."""
    creative, placement, settings = job.creative, job.placement, job.settings

    def rendered(seed: int) -> Rendering:
        size, margins = placement.size, placement.margins
        if isinstance(renderer, SceneRenderer) and creative.scene:
            scene = Scene.of(creative.scene)
            return renderer.render_scene(job.product, scene, size=size, seed=seed, margins=margins)
        return renderer.render(job.product, creative.description, size=size, seed=seed, margins=margins)

    return render_until_pass(
        rendered,
        seeds=retry_seeds(creative.creative_id, placement.name, first=creative.seed, tries=settings.generate.tries),
        limits=fidelity_limits(settings.fidelity, source=renderer.digital_source, margins=placement.margins),
    )


def _with_text(rendering: Rendering, job: RenditionJob) -> NDArray[np.uint8]:
    """The picture with the text that was asked for, inside the placement's safe zone."""
    if not job.text:
        return rendering.image
    left, top, right, bottom = job.placement.margins.inside(job.placement.size)
    return set_text(
        rendering.image,
        rendering.product,
        safe=Box(left, top, right - left, bottom - top),
        tagline=job.text.tagline,
        badge=job.text.badge,
        font_path=job.text.font,
    ).image


def product_photo(product: Product) -> Path:
    """The photo that a product's cut-out was made of where it is kept, else the cut-out."""
    photo = photo_file(Path(product.image))
    return photo if photo.is_file() else Path(product.image)


def _claim(job: RenditionJob, *, source: DigitalSource) -> Claim:
    """What the signer of a rendition says of it."""
    return Claim(
        title=f"{job.creative.creative_id} at {job.placement.name}",
        source=source,
        photo_title=f"photo of product {job.product.product_id}",
        photo=read_bytes(product_photo(job.product), error=ImageError),
        has_text=bool(job.text),
    )


def _signed(data: bytes, job: RenditionJob, *, source: DigitalSource) -> bytes:
    """The file with a manifest where somebody signs; else as it is."""
    return data if job.signing is None else sign(data, _claim(job, source=source), job.signing)


def _manifest_bytes(job: RenditionJob, *, source: DigitalSource) -> int:
    return 0 if job.signing is None else manifest_bytes(_claim(job, source=source), job.signing)


def _label_bytes(label: Provenance) -> int:
    """Bytes that a label adds to a file, and a little more."""
    dot = encode(np.zeros((1, 1, 3), np.uint8), max_bytes=4096, formats=("png",)).data
    return len(provenance.embed(dot, label)) - len(dot) + _LABEL_SLACK


def _inside(rendering: Rendering, placement: Placement) -> bool:
    """Whether the product keeps the placement's margins free."""
    rows, columns = (np.flatnonzero((rendering.product_mask > 128).any(axis)) for axis in (1, 0))
    left, top, right, bottom = placement.margins.inside(placement.size)
    return bool(rows.size and left <= columns[0] and columns[-1] < right and top <= rows[0] and rows[-1] < bottom)
