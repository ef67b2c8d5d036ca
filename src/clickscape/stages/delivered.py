"""Stage `inspect --delivered`: whether a picture that a platform shows is still one that was approved.

Approved are the files that are named: pictures, folders of `clickscape export`, or a workspace with the images of its
approved and live creatives and the files exported of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from clickscape.catalog.images import open_image
from clickscape.errors import ImageError
from clickscape.gates.delivered import Change, Comparison, compare
from clickscape.generation.export_report import MANIFEST
from clickscape.json_files import read_json
from clickscape.regular_files import inside
from clickscape.stages.inspect import inspect
from clickscape.workspace import RENDITIONS, Workspace

_COMPARED = 6  # approved pictures that are compared in full: those that look most alike at THUMB pixels
_THUMB = 48
_WORDS: dict[Change, str] = {
    "mirrored": "mirrored",
    "stretched": "stretched",
    "cropped": "cropped",
    "extended": "extended",
    "colors": "its colors changed",
    "product": "the product changed",
    "background": "the background changed",
    "picture": "a part changed",
    "other": "another picture",
}


@dataclass(frozen=True, slots=True)
class Approved:
    """A picture that may be shown; `mask` is where it shows the product, if that is known."""

    path: Path
    creative_id: str = ""
    placement: str = ""
    mask: Path | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a delivered picture is: the approved one that is most like it, how they differ, and its label.

    comparison None: the files are the same, byte by byte.  label: the creative that the file's provenance names, ""
    when it has none.
    """

    match: Approved
    comparison: Comparison | None
    label: str

    @property
    def approved(self) -> bool:
        """Whether it is still the approved picture."""
        return self.comparison is None or self.comparison.approved

    def lines(self) -> list[str]:
        """Return what a person should know, in lines."""
        of = self.match.creative_id or str(self.match.path)
        of += f" at {self.match.placement}" if self.match.placement else ""
        found = self.comparison
        if found is None:
            lines = [f"still the approved picture {of}: the same file"]
        elif found.approved:
            how = "the same pixels" if found.identical else f"encoded again, {found.size[0]} x {found.size[1]}"
            lines = [f"still the approved picture {of}: {how}"]
        else:
            lines = [f"NOT the approved picture {of}: {', '.join(_WORDS[one] for one in found.changes)}"]
            lines += _details(found)
        label = f"names {self.label}" if self.label else "was removed, or never was there"
        return [*lines, f"provenance label: {label}"]


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    creative_id: str
    placement: str
    file: str


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    renditions: list[_File]


def inspect_delivered(path: Path, approved: Sequence[Path]) -> Delivered:
    """Compare a delivered picture with the approved ones; ImageError names a file that cannot be read."""
    candidates = [one for place in approved for one in _approved(place)]
    if not candidates:
        listed = ", ".join(str(place) for place in approved)
        raise ImageError(f"{listed}: no approved picture there. Name a picture, a folder of clickscape export, or a "
                         f"workspace with approved creatives.")  # fmt: skip
    label = inspect(path).label
    named = "" if label is None else label.provenance.creative_id
    digest = _digest(path)
    if same := next((one for one in candidates if _digest(one.path) == digest), None):
        return Delivered(same, None, named)
    picture = _pixels(path)
    found: list[tuple[Approved, Comparison]] = []
    for one in _likely(picture, candidates, named=named):
        shown = _pixels(one.path)
        found.append((one, compare(picture, shown, product=_mask(one, shown))))
        if found[-1][1].approved:
            break
    best, comparison = max(found, key=lambda one: _likeness(one[1]))
    return Delivered(best, comparison, named)


def _approved(place: Path) -> Iterator[Approved]:
    """The approved pictures of a file, a folder of exported ones or a workspace."""
    if not place.is_dir():
        yield Approved(place)
        return
    if (place / MANIFEST).exists():
        remedy = "Run clickscape export again."
        for one in read_json(place / MANIFEST, _Manifest, error=ImageError, remedy=remedy).renditions:
            yield Approved(inside(place, one.file), one.creative_id, one.placement)
        return
    shop = Workspace.open(place)
    shown = {one.creative_id: one for one in shop.creatives() if one.status in ("approved", "live")}
    for creative in shown.values():
        mask = shop.mask_path(creative.creative_id)
        yield Approved(shop.resolve(creative.image), creative.creative_id, "", mask if mask.is_file() else None)
    if shop.renditions_path.exists():
        for row in shop.read_table(shop.renditions_path, RENDITIONS).to_pylist():
            file = shop.resolve(row["file"])
            if row["creative_id"] in shown and file.is_file():
                yield Approved(file, row["creative_id"], row["placement"])


def _likely(picture: NDArray[np.uint8], candidates: Sequence[Approved], *, named: str) -> list[Approved]:
    """The approved pictures in question, most alike first: those of the label's creative, or of all."""
    chosen = [one for one in candidates if named and one.creative_id == named] or list(candidates)
    if len(chosen) == 1:
        return chosen
    small = _thumb(picture)
    return sorted(chosen, key=lambda one: -_correlation(small, _thumb(_pixels(one.path))))[:_COMPARED]


def _thumb(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The middle square of a picture, small and gray, with mean 0 and length 1."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    gray = cv2.cvtColor(np.ascontiguousarray(picture[top : top + side, left : left + side]), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA).astype(np.float64)
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return small / length if length else small


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(max(np.sum(one * other), np.sum(one * other[:, ::-1])))


def _likeness(found: Comparison) -> tuple[bool, float, float]:
    """Approved before altered, then what shares most pixels, then most of the approved picture."""
    return found.approved, (1 - found.changed) * found.similarity, -found.cut - found.extended


def _mask(approved: Approved, shown: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    if approved.mask is None:
        return None
    mask = open_image(approved.mask)[..., 0] > 128
    return mask if mask.shape == shown.shape[:2] else None


def _pixels(path: Path) -> NDArray[np.uint8]:
    """Color (height, width, 3) on white, as a page shows it."""
    picture = open_image(path)
    if (picture[..., 3] == 255).all():
        return np.ascontiguousarray(picture[..., :3])
    alpha = picture[..., 3:].astype(np.float32) / 255
    return np.rint(picture[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"{path}: the file cannot be read ({error.strerror}). Check the path.") from None


def _details(found: Comparison) -> Iterator[str]:
    """What was measured, one line each."""
    if "cropped" in found.changes:
        left, top, width, height = found.crop
        yield f"  shown: {width} x {height} pixels of it from ({left}, {top}) on; {found.cut:.1%} is cut away"
    if "extended" in found.changes:
        yield f"  {found.extended:.1%} of the delivered picture was added around it"
    if "colors" in found.changes:
        yield f"  colors changed by ΔE {found.color:.1f} on average"
    if "other" in found.changes:
        yield f"  correlation {found.similarity:.2f}; {found.changed:.1%} of the pixels differ"
        return
    for region in found.regions[:3]:
        left, top, width, height = region.box
        yield f"  changed: {width} x {height} pixels at ({left}, {top}), {region.share:.2%} of the picture"
