"""What lies in a folder of exports is data: a record cannot make an export touch anything else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from clickscape.errors import WorkspaceError
from clickscape.files import file_name
from clickscape.stages.export import export
from clickscape.stages.progress import run
from clickscape.stages.review import review
from clickscape.workspace import Workspace

from .test_export import shop_in

PLACE = "google-display-200x200"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two exported creatives, of which one was rejected since, so that the next export removes its file."""
    folder = tmp_path_factory.mktemp("exported")
    shop = shop_in(folder)
    run(export(shop, placements=[PLACE], out=folder / "exports", approved_only=True))
    review(shop, reject=["A 1"])
    (folder / "victim.txt").write_text("precious")
    (folder / "exports" / "own.txt").write_text("precious")
    return shop


@pytest.fixture
def shop(exported: Workspace, tmp_path: Path) -> Workspace:
    """A copy of all that, to do harm to."""
    shutil.copytree(exported.path.parent, tmp_path, dirs_exist_ok=True)
    return Workspace.open(tmp_path / exported.path.name)


def again(shop: Workspace) -> None:
    run(export(shop, placements=[PLACE], out=shop.path.parent / "exports", approved_only=True))


def record_of(shop: Workspace, creative_id: str) -> Path:
    return shop.path.parent / "exports" / ".renditions" / PLACE / f"{file_name(creative_id)}.json"


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["../victim.txt", "{folder}/victim.txt", "own.txt", "manifest.json",
                                  f"{PLACE}/B 1.jpg", f"{PLACE}/../own.txt", ".", "../exports/own.txt"])  # fmt: skip
def test_a_record_that_names_another_file_is_refused_and_nothing_is_deleted(shop: Workspace, name: str) -> None:
    folder = shop.path.parent
    change(record_of(shop, "A 1"), file=name.format(folder=folder))
    with pytest.raises(WorkspaceError, match=r"A 1\.json speaks of .* Delete .*\.renditions and export again"):
        again(shop)
    assert (folder / "victim.txt").read_text() == (folder / "exports" / "own.txt").read_text() == "precious"
    assert (folder / "exports" / "manifest.json").exists()
    assert (folder / "exports" / PLACE / "B 1.jpg").exists()


@pytest.mark.parametrize("part", [PLACE, ".renditions", f".renditions/{PLACE}", "feeds"])
def test_a_symlink_in_the_place_of_a_folder_is_refused_and_nothing_behind_it_changes(
    shop: Workspace, part: str
) -> None:
    elsewhere, folder = shop.path.parent / "elsewhere", shop.path.parent / "exports" / part
    if folder.exists():
        folder.rename(elsewhere)
    else:
        elsewhere.mkdir()
    before = sorted(elsewhere.rglob("*"))
    folder.symlink_to(elsewhere)
    with pytest.raises(WorkspaceError, match=f"{part} is a symlink"):
        again(shop)
    assert sorted(elsewhere.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{}", "rendition_id: Field required"),
        ("[" * 100_000, "recursion limit"),
        ('{"file": 3}', "Field required"),
        ("", "EOF"),
        ("\\xff", "expected value"),
    ],
)
def test_a_damaged_record_is_one_line_with_the_file_and_the_remedy(shop: Workspace, text: str, word: str) -> None:
    path = record_of(shop, "B 1")
    path.write_text(text)
    with pytest.raises(WorkspaceError, match=word) as caught:
        again(shop)
    assert str(path) in str(caught.value)
    assert "export again" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [{"sha256": 3}, {"gate": {"passed": True}}, {"gate": None}, {"width": "200"},
                                    {"placement": "google-display-320x50"}, {"creative_id": "A 1"}, {"file": ""},
                                    {"bytes": 10**30}, {"height": -1}, {"rendition_id": "../B 1"}])  # fmt: skip
def test_a_record_with_a_wrong_part_is_refused(shop: Workspace, values: dict[str, Any]) -> None:
    path = record_of(shop, "B 1")
    change(path, **values)
    with pytest.raises(WorkspaceError, match=str(path)):
        again(shop)


def test_a_record_that_speaks_of_another_product_is_made_anew(shop: Workspace) -> None:
    path = record_of(shop, "B 1")
    right = json.loads(path.read_text())
    change(path, product_id="../victim")
    again(shop)
    assert json.loads(path.read_text())["product_id"] == right["product_id"] != "../victim"


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", '{"workspace": 3}', ""])
def test_a_damaged_manifest_is_refused_before_anything_is_written(shop: Workspace, text: str) -> None:
    manifest = shop.path.parent / "exports" / "manifest.json"
    manifest.write_text(text)
    with pytest.raises(WorkspaceError, match=str(manifest)):
        again(shop)
    assert manifest.read_text() == text
