"""The stages that go over a catalog write the same bytes on a Ray cluster as in this process, though workers die."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.factory import tin, tiny_vlm, write_feed
from tests.stages.dying_blocks import KILLER, dying_block

from clickscape.compute.ray_workers import session
from clickscape.config import ComputeConfig
from clickscape.reward.two_branch import Branches, TwoBranch
from clickscape.stages import generate as generate_stage
from clickscape.stages import generate_block
from clickscape.stages.export import export
from clickscape.stages.generate import generate
from clickscape.stages.ingest import ingest
from clickscape.stages.progress import Progress, run
from clickscape.stages.refresh import refresh
from clickscape.stages.score import score_lines
from clickscape.workspace import Workspace

SETTINGS = """
[generate]
size = 96
keep = 1
per_product = 1
tries = 1
[fidelity]
edge = 100
seam = 100
blending = 1
clutter = 8
contact_shadow = -0.03
extent = 0
room = 0
"""
ON_RAY = '[compute]\nengine = "ray"\n'
IDS = ("coffee_mug-navy", "soccer_ball-crimson", "camera-navy", "doughnut-original", KILLER)
TORN = "camera-navy"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning"),  # of a start of Ray that a busy machine gave up
]


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its name, but for locks and the records of runs, which say when."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "runs" not in path.parts and path.name not in (".lock", ".clickscape")
    }


def rows(shop: Workspace) -> list[dict[str, Any]]:
    """The table of creatives, without times and the workspace's own path."""
    return [
        {name: value for name, value in row.items() if name != "created_at"}
        for row in shop.read_table(shop.creatives_path).to_pylist()
    ]


class Life:
    """A shop that goes through every stage, and what each one says."""

    def __init__(self, folder: Path, feed: Path, compute: str) -> None:
        self.shop = Workspace.create(folder / "shop")
        self.shop.settings_path.write_text(SETTINGS + compute, encoding="utf-8")
        self.ads, self.exports = folder / "ads", folder / "exports"
        run(ingest(self.shop, feed))
        torn = self.shop.cutout_path(TORN)
        torn.write_bytes(torn.read_bytes()[:-2_000])
        self.progress: list[Progress] = []
        self.made = self.generate()
        self.exported = self.export()
        drawn = self.drawn()
        self.again = self.generate(), self.export(), self.drawn() == drawn
        self.shop.save_cutout(IDS[0], tin((20, 60, 160)))
        self.shop.save_cutout(IDS[1], tin((200, 60, 60)))
        self.refreshed = run(refresh(self.shop))
        weights = torch.randn(2, 1, 2, 32, generator=torch.Generator().manual_seed(0))
        TwoBranch(tiny_vlm(["a mug", "a ball"]), Branches(weights[0], weights[1])).save(self.shop.models / "reward")
        self.scores = self.score()

    def drawn(self) -> dict[str, tuple[bytes, int]]:
        """Pictures and when they were written."""
        pictures = [*self.ads.glob("*.png"), *self.exports.rglob("*.jpg"), *self.shop.path.glob("creatives/*/*")]
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in pictures}

    def generate(self) -> Any:
        stage = generate(workspace=self.shop.path, catalog=None, out=self.ads, workers=2)
        return run(stage, on_progress=self.progress.append)

    def export(self) -> Any:
        return run(export(self.shop, placements=["google-display-300x250"], out=self.exports))

    def score(self) -> list[dict[str, Any]]:
        pictures = [str(path) for path in sorted(self.ads.glob("*.png"))]
        lines: Sequence[object] = [
            {"id": 1, "product_id": IDS[0], "images": pictures},
            {"id": 2, "product_id": IDS[0], "images": ["nowhere.png"]},
            {"id": 3, "product": {"title": "A ball"}, "images": pictures[1:]},
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        return list(score_lines(self.shop, io.BytesIO(text.encode()), workers=1))


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Life, Life]]:
    """The same catalog in this process, and on a cluster where a product kills two workers in the middle of a block."""
    feed = write_feed(tmp_path_factory.mktemp("feed"), side=128, product_ids=IDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate_block, "NEIGHBORS", 3)
        patch.setenv("RAY_worker_niceness", "0")  # 15 by default: other tests on the machine would go first
        patch.setattr(generate_stage, "draw_block", dying_block)
        here = Life(tmp_path_factory.mktemp("here"), feed, "")
        with session(ComputeConfig(engine="ray"), workers=2):
            yield here, Life(tmp_path_factory.mktemp("there"), feed, ON_RAY)


def test_the_same_items_seeds_and_bytes(lives: tuple[Life, Life]) -> None:
    here, there = lives
    assert len([*there.shop.path.parent.glob("died-*")]) == 2, "workers did die"
    assert files(here.shop.path / "catalog") == files(there.shop.path / "catalog")
    assert files(here.ads) == files(there.ads)
    assert files(here.exports) == files(there.exports)
    assert files(here.shop.path / "creatives" / "images") == files(there.shop.path / "creatives" / "images")
    assert rows(here.shop) == rows(there.shop)
    assert len(rows(here.shop)) == 5, "three were drawn, two of them anew"


def test_what_cannot_be_drawn_is_that_products_error_and_not_the_end(lives: tuple[Life, Life]) -> None:
    told = [dict(one.split(": ", 1) for one in life.made.failed) for life in lives]
    for life, failed in zip(lives, told, strict=True):
        assert failed.keys() == {TORN, KILLER}
        assert "the picture is truncated or damaged" in failed[TORN]
        assert life.made.images == life.exported.files == 3
        assert life.refreshed.drawn == 2
    assert told[1][KILLER] == "the process that drew it was killed, perhaps for want of memory."
    assert told[0][KILLER] == "it is too much"


def test_one_bar_counts_the_products_of_all_workers(lives: tuple[Life, Life]) -> None:
    for life in lives:
        assert [(one.done, one.total) for one in life.progress[:6]] == [(done, 5) for done in range(6)]


def test_scores_are_those_of_this_process_and_a_bad_line_is_its_own_error(lives: tuple[Life, Life]) -> None:
    here, there = lives
    assert [one["line"] for one in there.scores] == [1, 2, 3]
    assert "error" in there.scores[1]
    for mine, theirs in zip(here.scores, there.scores, strict=True):
        assert [one["score"] for one in mine.get("ranking", ())] == [one["score"] for one in theirs.get("ranking", ())]


def test_a_second_run_changes_nothing_and_tries_what_failed_again(lives: tuple[Life, Life]) -> None:
    for life in lives:
        made, exported, unchanged = life.again
        assert unchanged
        assert (made.images, len(made.failed)) == (3, 2)
        assert (exported.drawn, exported.files) == (0, 3)
