"""Cut every product out of its photos, each photo once; keep the best cut-out and name what failed.

A cut-out's file is named by the content of the photos and of the matting model: a killed run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
from numpy import uint8
from numpy.typing import NDArray
from PIL import Image

from clickscape.catalog.best_photo import choose_photo
from clickscape.catalog.cutout import Cutout, examine, has_alpha, trim
from clickscape.catalog.feed_report import Skipped
from clickscape.catalog.images import open_image
from clickscape.compute.shards import map_shards
from clickscape.errors import ImageError, ModelError
from clickscape.stages.progress import Progress, Stage
from clickscape.types import Product
from clickscape.workspace import Noted, atomic_file, notes_of, png_texts

STAGE = "cut-outs"
WAY, CONFIDENCE, FLAGS, PHOTO = "clickscape:way", "clickscape:confidence", "clickscape:flags", "clickscape:photo"
_RIM = 0.01  # share of the shorter side that is added around a product whose outline is its picture's


@dataclass(frozen=True, slots=True)
class CutOuts:
    """The products with their best photo first, the file of each one's cut-out by id, and who has none and why."""

    products: list[Product]
    files: dict[str, Path]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True)
class _Cut:
    """A product and its cut-out's file, or the reason why there is none."""

    product: Product
    file: Path
    problem: str = ""


def cut_out_all(
    products: Sequence[Product], *, folder: Path, matting: Path | None = None, workers: int = 1, skip_bad: bool = False
) -> Stage[CutOuts]:
    """Cut every product out into `folder`; `matting`: an ONNX model for photos without alpha.

    ImageError names the first product of whose photos none can be cut out; with `skip_bad`, only when that is all of
    them. ModelError when the model cannot be used.
    """
    model = "" if matting is None else f"-{_model_digest(matting)}"
    folder.mkdir(parents=True, exist_ok=True)
    cuts: list[_Cut] = []
    yield Progress(STAGE, 0, len(products), "cutting out products")
    for cut in map_shards(partial(_cut, folder=folder, matting=matting, model=model), products, workers=workers):
        if cut.problem and not skip_bad:
            raise ImageError(f"product {cut.product.product_id!r}: {cut.problem} Or pass --skip-bad-rows.")
        cuts.append(cut)
        yield Progress(STAGE, len(cuts), len(products), "cutting out products")
    good = [cut for cut in cuts if not cut.problem]
    skipped = tuple(Skipped(f"product {cut.product.product_id!r}", cut.problem) for cut in cuts if cut.problem)
    if skipped and not good:
        raise ImageError(f"every product was left out; the first, {skipped[0].place}: {skipped[0].reason}")
    return CutOuts([cut.product for cut in good], {cut.product.product_id: cut.file for cut in good}, skipped)


def _cut(product: Product, *, folder: Path, matting: Path | None, model: str) -> _Cut:
    """Cut out all photos of a product and save the best one; a photo that cannot be cut out does not count."""
    photos = (product.image, *product.more_images)
    file = folder / f"{_digest(photos)}{model}.png"
    if not file.exists():
        cutouts: dict[int, Cutout] = {}
        problems: list[str] = []
        for number, photo in enumerate(photos):
            try:
                picture = open_image(photo)
            except ImageError as error:
                problems.append(str(error))
                continue
            try:
                cutouts[number] = examine(picture, matting=matting)
                trim(cutouts[number].pixels)
            except ImageError as error:
                cutouts.pop(number, None)
                problems.append(f"{photo}: {error}")
        if not cutouts:
            return _Cut(product, file, problems[0])
        best = list(cutouts)[choose_photo(list(cutouts.values())).index]
        _save(noted(cutouts[best], photo=best), file)
    image = photos[int(notes_of(file)[PHOTO])]
    return _Cut(replace(product, image=image, more_images=tuple(one for one in photos if one != image)), file)


def noted(cutout: Cutout, *, photo: int = 0) -> Noted:
    """The product without its empty border, with notes of how it was found, of what is doubtful, and in which photo."""
    flags = (*(("doubtful",) if cutout.doubtful else ()), *cutout.flags.names)
    notes = {WAY: cutout.way, FLAGS: " ".join(flags), PHOTO: str(photo)}
    if cutout.confidence is not None:
        notes[CONFIDENCE] = f"{cutout.confidence:.3f}"
    return Noted(_with_rim(trim(cutout.pixels)), notes)


def _with_rim(pixels: NDArray[uint8]) -> NDArray[uint8]:
    """A box fills its picture; the clear rim tells whoever opens the file that it is cut out already."""
    if has_alpha(pixels):
        return pixels
    rim = max(1, round(_RIM * min(pixels.shape[:2])))
    return cv2.copyMakeBorder(pixels, rim, rim, rim, rim, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0)).astype(uint8)


def _save(made: Noted, file: Path) -> None:
    with atomic_file(file) as temporary:
        Image.fromarray(made.pixels).save(temporary, pnginfo=png_texts(made.notes))


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


def _model_digest(model: Path) -> str:
    try:
        with model.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    except OSError as error:
        raise ModelError(f"{model}: no such matting model ({error.strerror}). Give the path of an ONNX file.") from None
