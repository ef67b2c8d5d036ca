"""A catalog moves into the workspace whole or not at all: cut-outs are staged first, then everything is renamed once.

How an image is cut out and how work is spread are arguments: this room lies below `catalog` and beside `compute`.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, PngImagePlugin

from clickscape.errors import ImageError, WorkspaceError
from clickscape.files import atomic_file, atomic_folder, file_name
from clickscape.types import Product
from clickscape.workspace import tables
from clickscape.workspace.folder import Workspace


@dataclass(frozen=True, slots=True, eq=False)
class Noted:
    """A cut-out, uint8 (height, width, 4), with short texts about it, which its PNG carries and `notes_of` reads."""

    pixels: np.ndarray
    notes: Mapping[str, str] = field(default_factory=dict)


CutOut = Callable[[Path], np.ndarray | Noted | Path]
"""Path of an image → its cut-out, or the PNG file of one; picklable when the work goes to processes."""

_Job = tuple[Path, Path]
_STAGING = ".staging-catalog"


class Mapper(Protocol):
    """The built-in `map`, or `functools.partial(compute.map_shards, workers=…)`."""

    def __call__(self, function: Callable[[_Job], Path], items: Iterable[_Job], /) -> Iterable[Path]:
        """Results in the order of `items`."""
        ...


def ingest(
    workspace: Workspace, products: Sequence[Product], *, cut_out: CutOut, mapping: Mapper = map, way: str = ""
) -> list[Product]:
    """Replace the workspace's catalog by `products` and return them with the paths of their cut-outs.

    On any error the workspace stays as it was; a killed ingest goes on where it stopped, unless its `way` of cutting
    out (a name, such as the digest of a model) was another.
    """
    steps = ingesting(workspace, products, cut_out=cut_out, mapping=mapping, way=way)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def ingesting(
    workspace: Workspace, products: Sequence[Product], *, cut_out: CutOut, mapping: Mapper = map, way: str = ""
) -> Generator[tuple[int, int], None, list[Product]]:
    """`ingest` as a generator that yields (images done, images in all) for whoever draws a bar."""
    if not products:
        raise WorkspaceError("the catalog is empty. Give a feed with at least one product.")
    tables.check_unique([product.product_id for product in products], what="product")
    staging = workspace.path / _STAGING
    with workspace.lock():
        staging.mkdir(exist_ok=True)
        try:
            staged = {product.product_id: staging / f"{_digest(product)}{way}.png" for product in products}
            sources = {staged[product.product_id]: Path(product.image) for product in products}
            done = sum(path.exists() for path in sources)
            yield done, len(sources)
            jobs = [(source, path) for path, source in sources.items() if not path.exists()]
            for number, _ in enumerate(mapping(functools.partial(_cut, cut_out), jobs), start=1):
                yield done + number, len(sources)
            moved = _move_in(workspace, products, staged)
        except Exception:  # a kill or Ctrl-C keeps what is staged, for the next attempt
            shutil.rmtree(staging, ignore_errors=True)
            raise
        shutil.rmtree(staging, ignore_errors=True)
        return moved


def png_texts(notes: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    """Notes as the texts of a PNG, which `notes_of` reads."""
    texts = PngImagePlugin.PngInfo()
    for key, text in notes.items():
        texts.add_itxt(key, text)
    return texts


def notes_of(cutout: Path) -> Mapping[str, str]:
    """The texts that a cut-out's PNG carries; none when somebody else made the file."""
    try:
        with Image.open(cutout, formats=["PNG"]) as picture:
            return {str(key): str(text) for key, text in picture.info.items() if isinstance(text, str)}
    except (OSError, ValueError) as error:
        raise ImageError(f"{cutout}: the cut-out cannot be read ({error}). Run `clickscape ingest` again.") from None


def _move_in(workspace: Workspace, products: Sequence[Product], staged: dict[str, Path]) -> list[Product]:
    moved = [replace(product, image=str(workspace.cutout_path(product.product_id))) for product in products]
    table = tables.product_table(moved, name_image=workspace.name_image)
    with atomic_folder(workspace.catalog) as folder:
        (folder / "cutouts").mkdir()
        for product in products:
            shutil.copyfile(staged[product.product_id], folder / "cutouts" / f"{file_name(product.product_id)}.png")
        pq.write_table(table, folder / "products.parquet", compression="zstd")
    return moved


def _digest(product: Product) -> str:
    try:
        with open(product.image, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(
            f"product {product.product_id!r}: the image {product.image!r} cannot be read ({error.strerror}). "
            "Fix its path in the feed."
        ) from None


def _cut(cut_out: CutOut, job: _Job) -> Path:
    source, target = job
    with atomic_file(target) as temporary:
        made = cut_out(source)
        if isinstance(made, Path):
            shutil.copyfile(made, temporary)
        else:
            noted = made if isinstance(made, Noted) else Noted(made)
            Image.fromarray(noted.pixels).save(temporary, pnginfo=png_texts(noted.notes))
    return target
