"""A catalog moves in whole or not at all, with what was noted about its cut-outs."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clickscape.compute import map_shards
from clickscape.errors import ImageError, WorkspaceError
from clickscape.types import Product
from clickscape.workspace import (
    Noted,
    Workspace,
    ingest,
    ingesting,
    notes_of,
)

from .conftest import files


def cut_out(path: Path) -> np.ndarray:
    try:
        return np.asarray(Image.open(path).convert("RGBA"))
    except OSError:
        raise ImageError(f"{path} is not an image. Replace it.") from None


def feed(folder: Path, *, number: int = 6) -> list[Product]:
    folder.mkdir(exist_ok=True)
    for n in range(number):
        Image.new("RGB", (4, 4), (n, 0, 0)).save(folder / f"{n}.png")
    return [Product(f"../{n}", f"Cup {n}", ("Home",), image=str(folder / f"{n}.png")) for n in range(number)]


@pytest.mark.parametrize("workers", [1, 2])
def test_ingest_moves_the_whole_catalog_in(workspace: Workspace, tmp_path: Path, workers: int) -> None:
    mapping = functools.partial(map_shards, workers=workers, chunk=2)
    moved = ingest(workspace, feed(tmp_path / "feed"), cut_out=cut_out, mapping=mapping)
    assert Workspace.open(workspace.path).products() == moved
    assert sorted(files(workspace.catalog)) == [*(f"cutouts/%2E.%2F{n}.png" for n in range(6)), "products.parquet"]
    assert np.asarray(Image.open(moved[5].image))[0, 0].tolist() == [5, 0, 0, 255]
    assert not list(workspace.path.glob(".staging*"))


def test_what_is_noted_about_a_cut_out_stays_with_it(workspace: Workspace, tmp_path: Path) -> None:
    def noting(path: Path) -> Noted:
        return Noted(cut_out(path), {"shop:flags": f"thin {path.stem} · é"})

    moved = ingest(workspace, feed(tmp_path / "feed", number=2), cut_out=noting)
    assert notes_of(Path(moved[1].image))["shop:flags"] == "thin 1 · é"
    assert np.asarray(Image.open(moved[1].image))[0, 0].tolist() == [1, 0, 0, 255]
    plain = ingest(workspace, feed(tmp_path / "feed", number=2), cut_out=cut_out)
    assert notes_of(Path(plain[1].image)) == {}
    Path(plain[1].image).write_bytes(b"torn")
    with pytest.raises(ImageError, match="the cut-out cannot be read"):
        notes_of(Path(plain[1].image))


def test_what_was_staged_in_another_way_is_not_taken(workspace: Workspace, tmp_path: Path) -> None:
    products = feed(tmp_path / "feed", number=3)
    steps: Iterator[tuple[int, int]] = ingesting(workspace, products, cut_out=cut_out, way="-old")
    assert [next(steps) for _ in range(3)] == [(0, 3), (1, 3), (2, 3)]
    steps.close()  # type: ignore[attr-defined]
    first, *_ = ingesting(workspace, products, cut_out=cut_out, way="-new")
    assert first == (0, 3)


def test_one_bad_image_leaves_the_workspace_as_it_was(workspace: Workspace, tmp_path: Path) -> None:
    ingest(workspace, feed(tmp_path / "feed", number=2), cut_out=cut_out)
    before = files(workspace.path)
    products = feed(tmp_path / "feed")
    (tmp_path / "feed" / "4.png").write_bytes(b"not a picture")
    with pytest.raises(ImageError, match=r"4.png is not an image"):
        ingest(workspace, products, cut_out=cut_out)
    (tmp_path / "feed" / "4.png").unlink()
    with pytest.raises(ImageError, match=r"product '../4': the image .*4.png' cannot be read.*Fix its path"):
        ingest(workspace, products, cut_out=cut_out)
    with pytest.raises(WorkspaceError, match="catalog is empty"):
        ingest(workspace, [], cut_out=cut_out)
    with pytest.raises(WorkspaceError, match="appears twice"):
        ingest(workspace, [products[0], products[0]], cut_out=cut_out)
    assert files(workspace.path) == before


def test_an_ingest_that_was_stopped_goes_on_where_it_was(workspace: Workspace, tmp_path: Path) -> None:
    products = feed(tmp_path / "feed")
    steps: Iterator[tuple[int, int]] = ingesting(workspace, products, cut_out=cut_out)
    assert [next(steps) for _ in range(4)] == [(0, 6), (1, 6), (2, 6), (3, 6)]
    steps.close()  # type: ignore[attr-defined]
    assert not workspace.products_path.exists()
    first, *_ = ingesting(workspace, products, cut_out=cut_out)
    assert first == (3, 6)
    assert len(workspace.products()) == 6
