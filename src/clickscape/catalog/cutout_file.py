"""The file of a product's cut-out: a PNG of the best one among its photos, with notes of how it was made.

It is named by the content of the photos and of the matting model, so that a killed run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from clickscape.catalog.best_photo import choose_photo
from clickscape.catalog.cutout import Cutout, examine, has_alpha, trim, visible_box
from clickscape.catalog.images import open_image
from clickscape.errors import ImageError, ModelError, first_line
from clickscape.files import atomic_file, photo_file
from clickscape.regular_files import open_regular
from clickscape.types import Product

WAY, CONFIDENCE, FLAGS, PHOTO = "clickscape:way", "clickscape:confidence", "clickscape:flags", "clickscape:photo"
"""Notes of a cut-out: how it was found, how likely it is right, what is doubtful, and the number of its photo."""

BOX = "clickscape:box"
"""Note of a cut-out whose photo lies beside it: the pixel of the photo (left, top) at which it begins."""

DOUBTFUL = "doubtful"
"""The flag of a cut-out that is probably not right."""

_RIM = 0.01  # share of the shorter side that is added around a product whose outline is its picture's


@dataclass(frozen=True, slots=True)
class CutProduct:
    """A product with its best photo first and the file of its cut-out, or the problem why there is none."""

    product: Product
    file: Path
    problem: str = ""


@dataclass(frozen=True, slots=True)
class FlaggedProduct:
    """A product to look at: its flags (doubtful, thin, glass), the cut-out's file, and how likely that is right.

    `confidence` is None for a photo that came with its own transparency.
    """

    product_id: str
    title: str
    flags: tuple[str, ...]
    confidence: float | None
    cutout: str


def cut_product(product: Product, *, folder: Path, matting: Path | None = None, model: str = "") -> CutProduct:
    """Cut a product out of all its photos and save the best cut-out in `folder`, unless it is there already.

    A photo that cannot be cut out does not count. model: digest of the ONNX model `matting`, "" without one.
    """
    photos = (product.image, *product.more_images)
    file = folder / f"{_digest(photos)}{model and '-'}{model}.png"
    shown = _photo_shown(file, count=len(photos))
    if shown is None:
        cutouts: dict[int, Cutout] = {}
        opaque: set[int] = set()
        problems: list[str] = []
        for number, photo in enumerate(photos):
            try:
                picture = open_image(photo)
            except ImageError as error:
                problems.append(str(error))
                continue
            try:
                found = examine(picture, matting=matting)
                trim(found.pixels)
                cutouts[number] = found
                opaque |= {number} if picture.shape[2] == 3 or picture[..., 3].min() == 255 else set()
            except ImageError as error:
                problems.append(f"{photo}: {error}")
            except cv2.error as error:  # such as "insufficient memory"
                problems.append(f"{photo}: it cannot be cut out ({first_line(error)}). Scale it down.")
        if not cutouts:
            return CutProduct(product, file, problems[0])
        shown = list(cutouts)[choose_photo(list(cutouts.values())).index]
        save(cutouts[shown], file, photo=shown, source=Path(photos[shown]) if shown in opaque else None)
    image = photos[shown]
    return CutProduct(replace(product, image=image, more_images=tuple(one for one in photos if one != image)), file)


def _photo_shown(file: Path, *, count: int) -> int | None:
    """Which of `count` photos the cut-out in a file shows; None unless it was made here and is whole."""
    try:
        notes = notes_of(file) if file.is_file() and not file.is_symlink() else {}
    except ImageError:
        return None
    if BOX in notes and not photo_file(file).is_file():
        return None
    return next((number for number in range(count) if str(number) == notes.get(PHOTO)), None)


def save(cutout: Cutout, file: Path, *, photo: int = 0, source: Path | None = None) -> None:
    """Write the product without its empty border as a PNG that carries its notes; photo: number of the one it shows.

    source: an opaque photo, copied beside it where the outline was found without transparency, a model or a person, and
    nothing was laid over it.
    """
    flags = (*((DOUBTFUL,) if cutout.doubtful else ()), *cutout.flags.names)
    notes = {WAY: cutout.way, FLAGS: " ".join(flags), PHOTO: str(photo)}
    if cutout.confidence is not None:
        notes[CONFIDENCE] = f"{cutout.confidence:.3f}"
    overlaid = cutout.flags.badge or cutout.flags.text
    if source is not None and cutout.way in ("plain", "grabcut") and not overlaid:
        left, top, _, _ = visible_box(cutout.pixels)
        notes[BOX] = f"{left} {top}"
        with (
            atomic_file(photo_file(file)) as copy,
            open(open_regular(source, os.O_RDONLY, error=ImageError), "rb") as stream,
            copy.open("wb") as written,
        ):
            shutil.copyfileobj(stream, written)
    texts = PngImagePlugin.PngInfo()
    for key, text in notes.items():
        texts.add_itxt(key, text)
    with atomic_file(file) as temporary:
        Image.fromarray(_with_rim(trim(cutout.pixels))).save(temporary, pnginfo=texts)


def notes_of(file: Path) -> Mapping[str, str]:
    """Read the notes that a cut-out's PNG carries; none when somebody else made the file."""
    try:
        with Image.open(file, formats=["PNG"]) as picture:
            return {str(key): str(text) for key, text in picture.info.items() if isinstance(text, str)}
    except (OSError, ValueError) as error:
        raise ImageError(f"{file}: the cut-out cannot be read ({error}). Run `clickscape ingest` again.") from None


def flagged(products: Sequence[Product]) -> list[FlaggedProduct]:
    """Return the products whose cut-out carries a flag, in their order."""
    found = []
    for product in products:
        notes = notes_of(Path(product.image))
        if flags := tuple(notes.get(FLAGS, "").split()):
            noted = notes.get(CONFIDENCE)
            found.append(
                FlaggedProduct(product.product_id, product.title, flags, float(noted) if noted else None, product.image)
            )
    return found


def model_digest(model: Path) -> str:
    """Return the start of the hex digest of a matting model's file; ModelError when there is none."""
    if model.is_file() and not model.stat().st_size:
        raise ModelError(f"{model}: an empty file, expected a matting model. Give the path of an ONNX file.")
    try:
        with open(open_regular(model, os.O_RDONLY, error=ModelError), "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    except OSError as error:
        raise ModelError(f"{model}: no such matting model ({error.strerror}). Give the path of an ONNX file.") from None


def _with_rim(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A box fills its picture; the clear rim tells whoever opens the file that it is cut out already."""
    if has_alpha(pixels):
        return pixels
    rim = max(1, round(_RIM * min(pixels.shape[:2])))
    return cv2.copyMakeBorder(pixels, rim, rim, rim, rim, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0)).astype(np.uint8)


def _digest(photos: Sequence[str]) -> str:
    """Hex digest of the photos' contents and order; one that is not there counts by its name."""
    whole = hashlib.sha256()
    for photo in photos:
        try:
            with open(photo, "rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError:
            whole.update(hashlib.sha256(photo.encode()).digest())
    return whole.hexdigest()
