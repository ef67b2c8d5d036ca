"""What the user put into a folder that a command writes to stays: the command refuses, and says which file it is."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.factory import write_feed

from clickscape.errors import ModelError, WorkspaceError
from clickscape.stages.checkpoints import convert, merge
from clickscape.stages.export import export
from clickscape.stages.generate import generate
from clickscape.stages.progress import run
from clickscape.stages.simulate import simulate
from clickscape.workspace import Workspace

from .conftest import SMALL_WORLD
from .test_export import shop_in

PLACE = "google-display-200x200"


@pytest.mark.parametrize("own", ["clicks/events/2026.parquet", "clicks/events/day-00.parquet", "clicks/counts.parquet"])
def test_simulate_does_not_replace_a_log_that_it_did_not_write(tmp_path: Path, own: str) -> None:
    shop = shop_in(tmp_path)
    log = shop.path / own
    log.parent.mkdir(exist_ok=True)
    log.write_text("precious")
    with pytest.raises(WorkspaceError, match=rf"{log.name} is no log that `simulate` wrote.*Move it"):
        run(simulate(shop, SMALL_WORLD))
    assert log.read_text() == "precious"


@pytest.mark.slow
def test_simulate_replaces_the_log_that_it_wrote(tmp_path: Path) -> None:
    shop = shop_in(tmp_path)
    small = SMALL_WORLD.model_copy(update={"creatives_per_product": 2, "median_impressions": 50, "size": 64})
    first = run(simulate(shop, small))
    second = run(simulate(shop, small.model_copy(update={"seed": 9})))
    assert first.outputs.keys() & second.outputs.keys()


def test_simulate_draws_over_no_creative_of_somebody_else(tmp_path: Path) -> None:
    shop = shop_in(tmp_path)
    small = SMALL_WORLD.model_copy(update={"creatives_per_product": 2, "median_impressions": 50, "size": 64})
    run(simulate(shop, small))
    shop.write_creatives([replace(one, model_id="agency") for one in shop.creatives()])
    before = {path: path.read_bytes() for path in shop.path.rglob("*") if path.is_file()}
    with pytest.raises(WorkspaceError, match=r"has a creative .* that `simulate` did not draw"):
        run(simulate(shop, small.model_copy(update={"seed": 9})))
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("own", ["index.html", "cutouts/A.png", "running_shoe-original.json"])
def test_generate_refuses_a_folder_of_somebody_else(tmp_path: Path, own: str) -> None:
    write_feed(tmp_path, side=96, product_ids=("running_shoe-original",))
    file = tmp_path / "site" / own
    file.parent.mkdir(parents=True)
    file.write_text("precious")
    with pytest.raises(WorkspaceError, match=rf"site holds '{Path(own).parts[0]}'.*Choose a new or an empty folder"):
        run(generate(workspace=None, catalog=tmp_path / "catalog.jsonl", out=tmp_path / "site"))
    assert file.read_text() == "precious"
    assert len(list(file.parent.iterdir())) == 1


def test_export_refuses_a_folder_of_somebody_else(tmp_path: Path) -> None:
    shop, file = shop_in(tmp_path), tmp_path / "site" / PLACE / "B 1.jpg"
    file.parent.mkdir(parents=True)
    file.write_text("precious")
    with pytest.raises(WorkspaceError, match=rf"site holds '{PLACE}'.*Choose a new or an empty folder"):
        run(export(shop, placements=[PLACE], out=tmp_path / "site", approved_only=True))
    assert file.read_text() == "precious"


def test_a_new_checkpoint_replaces_no_folder_that_holds_what_it_is_made_from(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for name in ("config.json", "model.safetensors", "source/config.json", "tower/config.json"):
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        (models / name).write_text("{}")
    shutil.copytree(models / "source", tmp_path / "source")
    for stage in (
        convert(tmp_path / "source", vision_tower=models / "tower", out=models),
        merge(models / "source", out=models),
        merge(tmp_path / "source", base=models / "tower", out=models),
    ):
        with pytest.raises(ModelError, match=r"would replace what it is made from. Name another with --out"):
            run(stage)


def test_a_folder_with_a_config_but_no_weights_is_no_older_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="exists and is no checkpoint"):
        run(merge(tmp_path / "adapter", out=tmp_path / "project"))


def test_what_a_kill_left_of_a_first_generation_is_gone_on_with(tmp_path: Path) -> None:
    write_feed(tmp_path, side=96, product_ids=("running_shoe-original",))
    asked: dict[str, int | str] = {"size": 64, "keep": 1, "per_product": 1}
    stage = generate(workspace=None, catalog=tmp_path / "catalog.jsonl", out=tmp_path / "ads", overrides=asked)
    while next(stage).stage != "cut-outs":
        pass
    stage.close()
    assert [path.name for path in (tmp_path / "ads").iterdir()] == [".clickscape"]
    (tmp_path / "ads" / "cutouts").mkdir()
    run(generate(workspace=None, catalog=tmp_path / "catalog.jsonl", out=tmp_path / "ads", overrides=asked))


def test_what_a_kill_left_of_a_first_export_is_gone_on_with(tmp_path: Path) -> None:
    shop = shop_in(tmp_path)
    stage = export(shop, placements=[PLACE], out=tmp_path / "exports", approved_only=True)
    next(stage)
    next(stage)
    stage.close()
    assert not (tmp_path / "exports" / "manifest.json").exists()
    assert run(
        export(Workspace.open(shop.path), placements=[PLACE], out=tmp_path / "exports", approved_only=True)
    ).files
