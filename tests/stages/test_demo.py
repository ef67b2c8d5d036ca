"""The demo at less than its small scale: every stage, real and connected, and a report that says what it is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from clickscape import report as report_room
from clickscape.demo import SCALES, DemoResult, demo
from clickscape.stages import compare
from clickscape.stages.progress import Progress, run
from clickscape.workspace import Workspace

pytestmark = pytest.mark.slow
TINY = replace(
    SCALES["small"],
    variants=("original",),
    learning_creatives=2,
    testing_creatives=2,
    descriptions=1,
    optimize=SCALES["small"].optimize.model_copy(update={"products_per_round": 24}),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, DemoResult]:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    made = run(demo(folder, world="harmony", seed=0, scale=TINY, workers=1))
    return Workspace.open(folder), made


def test_the_report_holds_every_part(finished: tuple[Workspace, DemoResult]) -> None:
    workspace, made = finished
    page = report_room.load(workspace.path / "report.json")
    assert page.simulated
    assert page.world == "harmony"
    assert page.accuracy is not None
    assert page.accuracy.ceiling is not None
    assert page.gallery is not None
    assert len(page.gallery.items) == 12
    assert {curve.role for curve in page.learning} == {"preference_only", "product_centric"}
    assert page.comparison is not None
    names = [row.name for row in page.comparison.rows]
    assert names[:3] == ["pre-trained", "preference-only", "product-centric"]
    assert "best scene per category" in names
    assert names[-1] == "oracle"
    for row in page.comparison.rows:
        assert row.matching_share is not None
        assert row.name == "pre-trained" or row.true_uplift is not None
    html = made.report.read_text(encoding="utf-8")
    assert "simulated clicks" in html.lower()
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "<script" not in html


def test_the_oracle_wins_and_uplift_is_relative_to_the_pretrained_model(finished: tuple[Workspace, DemoResult]) -> None:
    page = report_room.load(finished[0].path / "report.json")
    assert page.comparison is not None
    uplift = {row.name: row.true_uplift for row in page.comparison.rows}
    assert uplift["pre-trained"] is None
    oracle = uplift.pop("oracle")
    assert oracle is not None
    assert oracle.value > 0.5
    assert all(value.value < oracle.value for value in uplift.values() if value is not None)


def test_policies_are_compared_on_the_same_held_out_products_and_seeds(finished: tuple[Workspace, DemoResult]) -> None:
    (folder,) = (path.parent for path in finished[0].runs_folder.glob("*/ads.jsonl"))
    ads = compare.read_ads(folder)
    seeds = {name: [(ad.product_id, ad.seed) for ad in own] for name, own in ads.items()}
    assert seeds["pre-trained"] == seeds["preference-only"] == seeds["product-centric"]
    held = json.loads((finished[0].catalog / "split.json").read_text())
    assert {held["groups"][ad.product_id] for own in ads.values() for ad in own} <= set(held["held_out"])


def test_a_finished_demo_is_not_repeated_and_its_report_is_written_as_it_was(
    finished: tuple[Workspace, DemoResult],
) -> None:
    workspace, made = finished
    before = {path: path.stat().st_mtime_ns for path in workspace.models.rglob("*.safetensors")}
    page, written = made.report.read_bytes(), made.report.stat().st_mtime_ns
    notes: list[Progress] = []
    again = run(demo(workspace.path, world="harmony", seed=0, scale=TINY, workers=1), on_progress=notes.append)
    assert {progress.note for progress in notes} == {"reused"}
    assert again.summary == made.summary
    assert again.report.read_bytes() == page
    assert again.report.stat().st_mtime_ns > written
    assert before == {path: path.stat().st_mtime_ns for path in workspace.models.rglob("*.safetensors")}
