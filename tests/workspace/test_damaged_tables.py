"""A table that something damaged is one line when it is read, with the file, the place and the remedy."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickscape.errors import WorkspaceError
from clickscape.types import Product
from clickscape.workspace import Workspace

from .conftest import creative

Change = Callable[[pa.Table], pa.Table]


def put(name: str, values: list[object], kind: pa.DataType) -> Change:
    """Put other values into a column."""
    return lambda table: table.set_column(table.column_names.index(name), name, pa.array(values, kind))


def twice(name: str) -> Change:
    return lambda table: table.append_column(name, table[name])


def doubled(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table, table])


HALF_LETTER = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff"))

PRODUCTS: dict[str, Change] = {
    "null id": put("product_id", [None], pa.string()),
    "empty id": put("product_id", [""], pa.string()),
    "null title": put("title", [None], pa.string()),
    "null image": put("image", [None], pa.string()),
    "image that leaves": put("image", ["../secret.png"], pa.string()),
    "null in a list": put("category", [[None]], pa.list_(pa.string())),
    "category that is text": put("category", ["Home"], pa.string()),
    "null attribute": put("attributes", [[("color", None)]], pa.map_(pa.string(), pa.string())),
    "price that is text": put("price", ["much"], pa.string()),
    "infinite price": put("price", [float("inf")], pa.float64()),
    "negative price": put("price", [-1.0], pa.float64()),
    "column twice": twice("title"),
    "row twice": doubled,
    "NUL in a path": put("image", ["a\0b.png"], pa.string()),
    "NUL in a whole path": put("image", ["/a\0b.png"], pa.string()),
    "links in a loop": put("image", ["loop"], pa.string()),
    "half a letter": lambda table: table.set_column(1, "title", HALF_LETTER),
    "no column": lambda table: table.drop_columns(["title"]),
}
CREATIVES: dict[str, Change] = {
    "null image": put("image", [None], pa.string()),
    "null id": put("creative_id", [None], pa.string()),
    "null product": put("product_id", [None], pa.string()),
    "null seed": put("seed", [None], pa.int64()),
    "negative seed": put("seed", [-1], pa.int64()),
    "row twice": doubled,
    "NUL in a path": put("image", ["a\0b.webp"], pa.string()),
    "links in a loop": put("image", ["loop/a.webp"], pa.string()),
    "scene that is a list": put("scene", ["[]"], pa.string()),
    "scene that is deep": put("scene", ["[" * 100_000], pa.string()),
    "scene that is no JSON": put("scene", ["{"], pa.string()),
    "unknown status": put("status", ["sold"], pa.string()),
    "time that is text": put("created_at", ["today"], pa.string()),
}


@pytest.mark.parametrize("damage", PRODUCTS)
def test_damaged_products_are_one_line(workspace: Workspace, damage: str) -> None:
    (workspace.path / "loop").symlink_to("loop")
    workspace.write_products([Product("a", "Cup", ("Home",), {"color": "red"}, image="/a.png")])
    pq.write_table(PRODUCTS[damage](pq.read_table(workspace.products_path)), workspace.products_path)
    with pytest.raises(WorkspaceError, match=r"products\.parquet|leaves the workspace|is no path") as caught:
        workspace.products()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", CREATIVES)
def test_damaged_creatives_are_one_line(workspace: Workspace, damage: str) -> None:
    (workspace.path / "loop").symlink_to("loop")
    workspace.write_creatives([creative("1")])
    pq.write_table(CREATIVES[damage](pq.read_table(workspace.creatives_path)), workspace.creatives_path)
    with pytest.raises(WorkspaceError, match=r"creatives\.parquet|is no path"):
        workspace.creatives()


def test_the_place_of_a_wrong_value_is_named(workspace: Workspace) -> None:
    workspace.write_creatives([creative("1"), creative("2")])
    changed = put("status", ["draft", "sold"], pa.string())(pq.read_table(workspace.creatives_path))
    pq.write_table(changed, workspace.creatives_path)
    with pytest.raises(WorkspaceError, match=r"creatives\.parquet, row 2, status: .*Delete the file"):
        workspace.creatives()


def test_a_cut_table_and_what_is_no_file_are_one_line(workspace: Workspace) -> None:
    path: Path = workspace.creatives_path
    workspace.write_creatives([creative("1")])
    path.write_bytes(path.read_bytes()[:-40])
    for make in (None, path.mkdir, lambda: os.mkfifo(path)):
        if make is not None:
            path.rmdir() if path.is_dir() else path.unlink()
            make()
        with pytest.raises(WorkspaceError, match=r"creatives\.parquet"):
            workspace.creatives()
