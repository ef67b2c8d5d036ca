"""A workspace gives back the tables and pictures that it was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clickscape.errors import LogError, WorkspaceError
from clickscape.types import Product
from clickscape.workspace import EVENTS, PRODUCTS, Workspace

from .conftest import NOW, creative


def test_products_come_back_as_they_went_in(workspace: Workspace, tmp_path: Path) -> None:
    inside = workspace.save_cutout("a/b", np.full((3, 2, 4), 9, np.uint8))
    products = [
        Product(
            "a/b", "Cup", ("Home", "Cups"), {"color": "red"}, ("new",), 3.5, "EUR", str(inside), (str(inside), "/a.png")
        ),
        Product("c", "Mug", image=str(tmp_path / "elsewhere.png")),
        Product("d", "Jug"),
    ]
    workspace.write_products(products)
    assert Workspace.open(workspace.path).products() == products
    rows = pq.read_table(workspace.products_path)
    assert rows.schema.equals(PRODUCTS)
    assert rows["image"][0].as_py() == "catalog/cutouts/a%2Fb.png"
    assert rows["more_images"].to_pylist() == [["catalog/cutouts/a%2Fb.png", "/a.png"], [], []]


def test_a_table_of_products_from_before_there_were_several_photos_is_read(workspace: Workspace) -> None:
    workspace.write_products([Product("a", "Cup", image="/a.png", more_images=("/b.png",))])
    earlier = pq.read_table(workspace.products_path).drop_columns(["more_images"])
    pq.write_table(earlier, workspace.products_path)
    assert workspace.products() == [Product("a", "Cup", image="/a.png")]


def test_a_moved_workspace_still_finds_its_pictures(workspace: Workspace, tmp_path: Path) -> None:
    workspace.write_products([Product("a", "Cup", image=str(workspace.cutout_path("a")))])
    workspace.path.rename(tmp_path / "moved")
    assert Workspace.open(tmp_path / "moved").products()[0].image == str(tmp_path / "moved/catalog/cutouts/a.png")


def test_creatives_are_appended_once(workspace: Workspace) -> None:
    assert workspace.creatives() == []
    workspace.write_creatives([creative("1")], now=NOW)
    later = NOW.replace(year=2027)
    workspace.append_creatives([creative("2", parent_id="1", status="live", scene={})], now=later)
    first, second = workspace.creatives()
    assert first == creative("1", image=str(workspace.path / "creatives/images/x.webp"))
    assert (second.parent_id, second.status, second.scene) == ("1", "live", {})
    assert pq.read_table(workspace.creatives_path)["created_at"].to_pylist() == [NOW, later]
    with pytest.raises(WorkspaceError, match="creative '2' appears twice"):
        workspace.append_creatives([creative("2")])
    assert len(workspace.creatives()) == 2


def test_images_are_kept_without_loss(workspace: Workspace) -> None:
    rng = np.random.default_rng(0)
    image, cutout = (rng.integers(0, 256, (17, 23, channels), np.uint8) for channels in (3, 4))
    assert np.array_equal(np.asarray(Image.open(workspace.save_image("x", image))), image)
    assert np.array_equal(np.asarray(Image.open(workspace.save_cutout("x", cutout))), cutout)
    with pytest.raises(WorkspaceError, match=r"expected uint8 \(height, width, 3\), got float64"):
        workspace.save_image("x", image / 255)


def test_an_image_that_leaves_the_workspace_is_refused(workspace: Workspace) -> None:
    table = pa.Table.from_pylist([{"product_id": "a", "title": "t", "image": "../../secret.png"}], schema=PRODUCTS)
    workspace.write_table(workspace.products_path, table)
    with pytest.raises(WorkspaceError, match="leaves the workspace"):
        workspace.products()
    with pytest.raises(WorkspaceError, match="leaves the workspace"):
        workspace.write_creatives([creative("1", image="../x.webp")])


def test_damaged_and_missing_tables_name_the_remedy(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match=r"missing. Run `clickscape ingest shop` first"):
        workspace.products()
    workspace.products_path.write_bytes(b"PAR1 and no more")
    with pytest.raises(WorkspaceError, match=r"cannot be read.*Delete it"):
        workspace.products()
    pq.write_table(pa.table({"product_id": ["a"]}), workspace.products_path)
    with pytest.raises(WorkspaceError, match=r"products.parquet: no column 'title'; expected product_id"):
        workspace.products()
    with pytest.raises(WorkspaceError, match="product 'a' appears twice"):
        workspace.write_products([Product("a", "x"), Product("a", "y")])


def test_the_same_part_of_events_again_replaces_it(workspace: Workspace) -> None:
    events = pa.Table.from_pylist([{"event_id": "1", "ts": NOW, "kind": "click", "position": 1}], schema=EVENTS)
    path = workspace.append_events(events, part="2026/01")
    assert workspace.append_events(events, part="2026/01") == path == workspace.events_folder / "2026%2F01.parquet"
    assert pq.read_table(path).equals(events)
    with pytest.raises(LogError, match="no column 'ts'"):
        workspace.append_events(events.drop_columns(["ts"]), part="x")
    counts = pa.table({"creative_id": ["a"], "product_id": ["p"], "impressions": [5], "clicks": [1]})
    assert pq.read_table(workspace.write_counts(counts)).column_names == counts.column_names
