"""A catalog moves into the workspace whole or not at all: its table and cut-outs are staged, then renamed once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from clickscape.errors import ImageError, WorkspaceError
from clickscape.files import atomic_folder, photo_file
from clickscape.types import Product
from clickscape.workspace import tables
from clickscape.workspace.folder import Workspace

_OURS = frozenset({"products.parquet", "split.json", "cutouts"})


def check_catalog(workspace: Workspace) -> None:
    """Raise WorkspaceError where the folder of the catalog, which is replaced as a whole, holds a file of the user."""
    found = os.listdir(workspace.catalog) if workspace.catalog.is_dir() else []
    if foreign := sorted(name for name in found if name not in _OURS and not name.startswith(".")):
        raise WorkspaceError(f"{workspace.catalog} holds {foreign[0]!r}, and `ingest` replaces that folder. Move it "
                             f"out of it.")  # fmt: skip


def replace_catalog(workspace: Workspace, products: Sequence[Product]) -> list[Product]:
    """Replace the workspace's catalog by products whose images are cut-outs; return them with the files' new paths.

    On any error the workspace stays as it was: WorkspaceError for no product or an id that appears twice, ImageError
    for an image that cannot be copied.
    """
    check_catalog(workspace)
    if not products:
        raise WorkspaceError("the catalog is empty. Give a feed with at least one product.")
    moved = [replace(product, image=str(workspace.cutout_path(product.product_id))) for product in products]
    table = tables.product_table(moved, name_image=workspace.name_image)
    with workspace.lock(), atomic_folder(workspace.catalog) as folder:
        for product in products:
            target = folder / workspace.cutout_path(product.product_id).relative_to(workspace.catalog)
            target.parent.mkdir(exist_ok=True)
            try:
                shutil.copyfile(product.image, target)
                if (photo := photo_file(Path(product.image))).is_file():
                    shutil.copyfile(photo, photo_file(target))
            except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
                raise ImageError(
                    f"product {product.product_id!r}: the image {product.image!r} cannot be read ({error.strerror}). "
                    "Fix its path in the feed."
                ) from None
        pq.write_table(table, folder / "products.parquet", compression="zstd")
    return moved
