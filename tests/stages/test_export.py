"""From creatives in a table to files that platforms take: drawn once, whole or not at all, none that may not be."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.factory import shop_of_tins

from clickscape.errors import ConfigError, TextError, WorkspaceError
from clickscape.gates import GateResult, fidelity
from clickscape.generation import retry
from clickscape.generation.export_report import ExportReport
from clickscape.generation.rendition import OverlayText
from clickscape.render import placements, provenance
from clickscape.render.scene import Scene
from clickscape.render.studio.engine import StudioRenderer
from clickscape.stages.clicks import served_fingerprint, served_pictures
from clickscape.stages.export import export
from clickscape.stages.progress import run
from clickscape.stages.review import review
from clickscape.types import COPYWRITER, Creative, CreativeStatus, Product
from clickscape.workspace import RENDITIONS, Workspace

SCENES = (
    Scene("studio", "oak", "soft", "table", "mint", ("lemons",)),
    Scene("loft", "sand", "window", "podium", "teal"),
)
STATUS: Mapping[str, CreativeStatus] = {"A": "approved", "B": "live", "C": "draft", "D": "rejected"}
BANNERS = ("google-display-320x50", "google-display-200x200")


def shop_in(folder: Path) -> Workspace:
    """Four products, one creative each: approved, live, a draft, a rejected one."""
    colors = ((200, 30, 30), (30, 60, 200), (30, 160, 60), (90, 90, 90))
    shop = shop_of_tins(folder / "my-shop", dict(zip(STATUS, colors, strict=True)))
    shop.write_creatives(
        [
            Creative(
                creative_id=f"{name} 1",
                product_id=name,
                image=str(shop.image_path(f"{name} 1")),
                description="oak table, soft light, lemons, mint wall",
                scene=asdict(SCENES[number % 2]),
                renderer="studio",
                model_id="tiny",
                seed=number,
                status=status,
            )
            for number, (name, status) in enumerate(STATUS.items())
        ]
    )
    return shop


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    return shop_in(tmp_path)


def exported(shop: Workspace, *names: str, approved_only: bool = True, **options: Any) -> ExportReport:
    out = shop.path.parent / "exports"
    return run(export(shop, placements=names, out=out, approved_only=approved_only, **options))


def simulated(creative: Creative, name: str, status: CreativeStatus) -> Creative:
    return replace(creative, creative_id=name, model_id=COPYWRITER, status=status)


def visible(folder: Path) -> dict[str, int]:
    """Files that a person sees, with the time of their last change."""
    found = [path for path in folder.rglob("*") if path.is_file() and not any(p.startswith(".") for p in path.parts)]
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in found}


def test_every_file_is_what_its_placement_asks_for(shop: Workspace) -> None:
    made = exported(shop, *BANNERS, "google-display-120x600")
    out = shop.path.parent / "exports"
    assert (made.files, made.drawn, dict(made.left_out)) == (6, 6, {"draft, not approved": 1, "rejected": 1})
    told = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert [one["source"] for one in told["placements"]] == [placements.find(BANNERS[0])[0].source] * 3
    table = {row["rendition_id"]: row for row in shop.read_table(shop.renditions_path, RENDITIONS).to_pylist()}
    assert len(table) == len(told["renditions"]) == 6
    for record in told["renditions"]:
        (place,) = placements.find(record["placement"])
        data = (out / record["file"]).read_bytes()
        with Image.open(out / record["file"]) as image:
            assert image.size == place.size
            assert image.format == "JPEG"
        assert len(data) == record["bytes"] <= place.max_bytes
        assert hashlib.sha256(data).hexdigest() == record["sha256"]
        assert record["inside_margins"]
        assert record["file"] == f"{place.name}/{record['product_id']} 1.jpg"
        label = provenance.inspect(data)
        assert label is not None
        assert not label.altered
        assert label.provenance.creative_id == record["creative_id"]
        assert label.provenance.source == "compositeSynthetic"
        row = table[record["rendition_id"]]
        assert (row["width"], row["height"], row["bytes"]) == (*place.size, len(data))
        assert row["file"] == str((out / record["file"]).absolute())


def test_a_creative_keeps_its_own_scene_and_seed(shop: Workspace) -> None:
    """The file shows what the studio draws of the noted scene at that size; another seed would differ far more."""
    exported(shop, "google-display-200x200")
    file = shop.path.parent / "exports/google-display-200x200/B 1.jpg"
    shown = np.asarray(Image.open(file)).astype(int)
    cutout = np.asarray(Image.open(shop.cutout_path("B")))
    margins = placements.find("google-display-200x200")[0].margins
    own, other = (
        StudioRenderer().compose(cutout, SCENES[1], size=(200, 200), seed=seed, margins=margins).image
        for seed in (1, 2)
    )
    assert np.abs(shown - own).mean() < 2 < 4 < np.abs(shown - other).mean()


def test_export_twice_draws_nothing_twice(shop: Workspace) -> None:
    first = exported(shop, *BANNERS)
    out = shop.path.parent / "exports"
    before = visible(out)
    again = exported(shop, *BANNERS)
    assert (first.drawn, again.drawn, again.files) == (4, 0, 4)
    pictures = {name: changed for name, changed in before.items() if name.endswith(".jpg")}
    assert pictures.items() <= visible(out).items()
    (out / BANNERS[0] / "A 1.jpg").write_bytes(b"scribble")
    assert exported(shop, *BANNERS).drawn == 1, "a file that is no longer the one that was written is drawn again"
    assert exported(shop, *BANNERS, "google-display-250x250").drawn == 2


@pytest.mark.slow
def test_renditions_of_rejected_creatives_leave_the_folder(shop: Workspace) -> None:
    out = shop.path.parent / "exports"
    assert exported(shop, *BANNERS, approved_only=False).files == 6
    review(shop, reject=["A 1", "C 1"])
    made = exported(shop, BANNERS[0], approved_only=False, base_url="https://cdn.example.com/ads")
    assert (made.files, made.drawn, made.left_out["rejected"]) == (2, 0, 3)
    assert sorted(name for name in visible(out) if name.endswith(".jpg")) == [f"{name}/B 1.jpg" for name in
                                                                               sorted(BANNERS)]  # fmt: skip
    assert {row["creative_id"] for row in shop.read_table(shop.renditions_path).to_pylist()} == {"B 1"}
    review(shop, approve=["A 1"])
    assert [path.name for path in exported(shop, "meta-feed-landscape", base_url="https://e.org").feeds] == [
        "meta-supplemental.csv"
    ]
    assert exported(shop, "meta-feed-landscape").feeds == ()
    assert not list((out / "feeds").iterdir()), "feeds that no longer hold are removed"


@pytest.mark.parametrize("said", ["out of stock", "out_of_stock", "https://schema.org/OutOfStock"])
def test_sold_out_and_forgotten_products_are_counted_not_shown(shop: Workspace, said: str) -> None:
    products = {product.product_id: product for product in shop.products()}
    sold_out = Product("A", "Tin A", attributes={"availability": said}, image=products["A"].image)
    back = Product("C", "Tin C", attributes={"availability": "in stock"}, image=products["C"].image)
    shop.write_products([sold_out, back, products["D"]])
    made = exported(shop, BANNERS[1], approved_only=False)
    assert made.files == 1
    assert dict(made.left_out) == {"product out of stock": 1, "product no longer in the catalog": 1, "rejected": 1}
    assert "left out, product out of stock: 1 creatives" in made.lines()


def test_review_is_all_or_nothing_and_keeps_what_runs(shop: Workspace) -> None:
    before = shop.creatives_path.read_bytes()
    for wrong, word in (({"approve": ["C 1", "nobody"]}, "nobody"), ({"reject": ["B 1"]}, "is live"),
                        ({"approve": ["C 1"], "reject": ["C 1"]}, "both")):  # fmt: skip
        with pytest.raises(WorkspaceError, match=word):
            review(shop, **wrong)
        assert shop.creatives_path.read_bytes() == before
    times = shop.read_table(shop.creatives_path)["created_at"]
    marked = review(shop, approve_all=True, reject=["A 1"])
    assert [one.status for one in marked] == ["rejected", "live", "approved", "rejected"]
    assert shop.read_table(shop.creatives_path)["created_at"] == times


def test_drafts_and_reviews_make_no_learned_model_stale(shop: Workspace) -> None:
    """What a log can speak of changes when a creative goes live, not when one is made, approved or rejected."""
    before = served_fingerprint(shop)
    new = replace(shop.creatives()[2], creative_id="C 2")
    shop.append_creatives([new])
    review(shop, approve=["C 1"], reject=["A 1", "C 2"])
    assert served_fingerprint(shop) == before
    shop.mark_creatives({"C 1": "live"})
    assert served_fingerprint(shop) != before


def test_a_picture_that_is_overwritten_makes_the_reward_model_stale(shop: Workspace) -> None:
    pictures = {one.status: Path(one.image) for one in shop.creatives()}
    pictures["live"].parent.mkdir(parents=True, exist_ok=True)
    before = served_pictures(shop)
    pictures["draft"].write_bytes(b"another draft")
    assert served_pictures(shop) == before
    pictures["live"].write_bytes(b"a picture")
    first = served_pictures(shop)
    pictures["live"].write_bytes(b"b picture")
    assert len({before, first, served_pictures(shop)}) == 3


def test_what_is_shown_is_retired_by_name_and_what_is_not_is_refused(shop: Workspace) -> None:
    for wrong, word in (({"retire": ["C 1"]}, "is draft"), ({"retire": ["A 1"], "approve": ["A 1"]}, "both"),
                        ({"retire": ["nobody"]}, "nobody")):  # fmt: skip
        with pytest.raises(WorkspaceError, match=word):
            review(shop, **wrong)
    assert [one.status for one in review(shop, retire=["A 1", "B 1"])] == ["retired", "retired", "draft", "rejected"]


def test_a_model_replaces_its_own_creatives_only(shop: Workspace) -> None:
    old = shop.creatives()
    simulated = [replace(old[0], creative_id="A s", model_id="copywriter")]
    shop.replace_creatives(simulated, model_id="copywriter")
    shop.replace_creatives([replace(one, seed=9) for one in simulated], model_id="copywriter")
    assert shop.creatives() == [*old, replace(simulated[0], seed=9)]


def test_an_export_that_is_impossible_says_what_to_do(shop: Workspace, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--placement meta-feed"):
        exported(shop)
    with pytest.raises(ConfigError, match="google-display-320x50"):
        exported(shop, "google-display-32x50")
    with pytest.raises(ConfigError, match="--base-url"):
        exported(shop, BANNERS[0], base_url="https://me:pass@e.org")
    with pytest.raises(WorkspaceError, match="clickscape generate"):
        exported(Workspace.create(tmp_path / "new"), BANNERS[0])
    shop.write_creatives([one for one in shop.creatives() if one.status == "draft"])
    with pytest.raises(WorkspaceError, match="clickscape review my-shop --approve-all"):
        exported(shop, BANNERS[0])
    assert not (tmp_path / "exports").exists()
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports/manifest.json").write_text('{"workspace": "other-shop"}')
    with pytest.raises(WorkspaceError, match="other-shop"):
        exported(shop, BANNERS[0], approved_only=False)


@pytest.mark.slow
def test_a_killed_export_leaves_whole_files_and_goes_on(shop: Workspace) -> None:
    """A real process, killed as soon as two renditions are recorded; the next run draws the others only."""
    folder = shop.path.parent
    out = folder / "exports"
    command = [sys.executable, "-m", "clickscape", "export", "my-shop", "--placement", "google-display-2*", "--out",
               "exports", "--workers", "1"]  # fmt: skip
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(3_000):
            if len(list(out.glob(".renditions/*/[!.]*.json"))) >= 2 or process.poll() is not None:
                break
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    records = sorted(out.glob(".renditions/*/[!.]*.json"))
    drawn = [json.loads(path.read_text(encoding="utf-8"))["file"] for path in records]
    before = visible(out)
    assert set(drawn) <= set(before)
    for name in before:
        with Image.open(out / name) as image:
            image.load()
    (out / BANNERS[1]).mkdir(exist_ok=True)
    (out / BANNERS[1] / f".tmp-{os.getpid():012x}.jpg").write_bytes(b"half")
    made = run(export(shop, placements=["google-display-2*"], out=out))
    assert made.drawn == made.files - len(drawn)
    assert {name: before[name] for name in drawn}.items() <= visible(out).items()
    assert not list(out.rglob(".tmp-*"))

    whole = folder / "whole"
    shutil.copytree(shop.path, whole / "my-shop")
    run(export(Workspace.open(whole / "my-shop"), placements=["google-display-2*"], out=whole / "exports"))
    for name in visible(out):
        if name.endswith(".jpg"):
            assert (out / name).read_bytes() == (whole / "exports" / name).read_bytes(), "as if never interrupted"


@pytest.mark.slow
def test_a_rendition_that_never_passes_is_left_out_recorded_and_tried_no_more(shop: Workspace) -> None:
    """Nothing fills all of a picture's side inside margins; looser limits bring the files back."""
    out, place = shop.path.parent / "exports", "google-display-200x200"
    assert exported(shop, place).files == 2
    shop.settings_path.write_text("[fidelity]\nextent = 1.0\n[generate]\ntries = 3\n", encoding="utf-8")
    made = exported(shop, place, base_url="https://cdn.example.com/ads")
    assert (made.files, made.drawn, len(made.refused)) == (0, 0, 2)
    assert made.refused[0].startswith(f"B 1 at {place}: the product is too small in the picture")
    assert "(too_small: 0." in made.refused[0]
    assert "left out, no picture passed the fidelity gate: " + made.refused[0] in made.lines()
    assert not [name for name in visible(out) if name.endswith(".jpg")], "files of looser limits are gone"
    told = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert (told["renditions"], [one["creative_id"] for one in told["refused"]]) == ([], ["B 1", "A 1"])
    tries = told["refused"][0]["gate"]["rejected"]
    assert len({one["seed"] for one in tries}) == len(tries) == 3
    (record,) = [path for path in (out / ".renditions" / place).glob("*.json") if "B" in path.name]
    changed = record.stat().st_mtime_ns
    assert exported(shop, place).refused == made.refused
    assert record.stat().st_mtime_ns == changed, "what was refused is not drawn a second time"
    shop.settings_path.write_text("", encoding="utf-8")
    assert (exported(shop, place).files, exported(shop, place).refused) == (2, ())


@pytest.mark.slow
def test_the_gate_sees_the_picture_before_words_cover_it(shop: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is judged is the same with words as without, to the last pixel; what is exported is not."""
    out, judge = shop.path.parent / "exports", fidelity.check
    judged: list[np.ndarray] = []

    def watched(image: np.ndarray, product: np.ndarray, **options: Any) -> GateResult:
        judged.append(image.copy())
        return judge(image, product, **options)

    monkeypatch.setattr(retry.fidelity, "check", watched)
    seen: list[list[np.ndarray]] = []
    pictures: list[dict[str, bytes]] = []
    for text in (OverlayText(), OverlayText(tagline="Made to last", badge="New")):
        judged.clear()
        made = exported(shop, "google-display-300x250", text=text)
        assert (made.files, made.refused) == (2, ())
        seen.append(list(judged))
        pictures.append({path.name: path.read_bytes() for path in out.rglob("*.jpg")})
    assert len(seen[0]) == 2
    assert all(np.array_equal(plain, spoken) for plain, spoken in zip(*seen, strict=True))
    assert all(pictures[0][name] != pictures[1][name] for name in pictures[0])


@pytest.mark.slow
def test_a_picture_that_fails_is_drawn_with_another_seed_of_its_own(shop: Workspace) -> None:
    """A limit between what two seeds measure lets the later one pass; the file is the one that its record names."""
    out, place = shop.path.parent / "exports", placements.find("google-display-200x200")[0]
    cutout = np.asarray(Image.open(shop.cutout_path("B")))
    seeds = retry.retry_seeds("B 1", place.name, first=1, tries=4)
    grounded = []
    for seed in seeds:
        drawn = StudioRenderer().compose(cutout, SCENES[1], size=place.size, seed=seed, margins=place.margins)
        grounded.append(fidelity.measure(drawn.image, drawn.product).contact_shadow or 0.0)
    later = next(number for number in range(1, 4) if grounded[number] > max(grounded[:number]))
    limit = (grounded[later] + max(grounded[:later])) / 2
    shop.settings_path.write_text(f"[fidelity]\ncontact_shadow = {limit}\nedge = 100\nseam = 100\n", encoding="utf-8")
    exported(shop, place.name)
    told = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    (record,) = [one for one in told["renditions"] if one["creative_id"] == "B 1"]
    assert (record["seed"], [one["seed"] for one in record["gate"]["rejected"]]) == (seeds[later], seeds[:later])
    label = provenance.inspect((out / record["file"]).read_bytes())
    assert label is not None
    assert label.provenance.seed == seeds[later]


def test_words_are_set_where_they_are_allowed_and_drawn_again_when_they_change(shop: Workspace) -> None:
    out = shop.path.parent / "exports"
    plain = exported(shop, "google-display-300x250")
    before = visible(out)
    text = OverlayText(tagline="Made to last", badge="New")
    spoken = exported(shop, "google-display-300x250", text=text)
    assert spoken.drawn == plain.drawn == 2
    assert all(when != before[name] for name, when in visible(out).items() if name.endswith(".jpg"))
    assert exported(shop, "google-display-300x250", text=text).drawn == 0


@pytest.mark.slow
def test_words_that_a_placement_forbids_or_has_no_room_for_are_refused(shop: Workspace) -> None:
    out = shop.path.parent / "exports"
    forbidding = next(place.name for place in placements.load() if not place.allows_text)
    with pytest.raises(TextError, match=f"{forbidding} forbids text"):
        exported(shop, forbidding, "1x1", text=OverlayText(badge="New"))
    assert not out.exists(), "refused before anything is drawn"
    with pytest.raises(TextError, match=r"creative '[AB] 1' at google-display-320x50: .*fit nowhere"):
        exported(shop, "google-display-320x50", text=OverlayText(tagline="Made to last " * 8))


def test_what_the_simulator_drew_is_neither_approved_nor_published(shop: Workspace) -> None:
    first = shop.creatives()[0]
    shop.append_creatives([simulated(first, "A s1", "draft"), simulated(first, "A s2", "live")])
    status = {one.creative_id: one.status for one in review(shop, approve_all=True)}
    assert (status["A s1"], status["A s2"], status["C 1"]) == ("draft", "live", "approved")
    for approved_only in (True, False):
        made = exported(shop, BANNERS[0], approved_only=approved_only)
        assert [one.creative_id for one in made.renditions] == ["B 1", "A 1", "C 1"]
        assert dict(made.left_out) == {
            "rejected": 1,
            "simulated: `clickscape simulate` drew it for trying things out, not for shoppers": 2,
        }


def test_a_simulated_creative_cannot_be_approved_by_name(shop: Workspace) -> None:
    shop.append_creatives([simulated(shop.creatives()[0], "A s1", "draft")])
    with pytest.raises(WorkspaceError, match=r"'A s1' is simulated: .* `clickscape generate my-shop --out ads/`"):
        review(shop, approve=["A s1"])


def test_a_shop_with_nothing_but_simulated_creatives_is_told_to_draw_some(shop: Workspace) -> None:
    shop.write_creatives([simulated(one, one.creative_id, "live") for one in shop.creatives()])
    with pytest.raises(WorkspaceError, match=r"4 .* simulated.*`clickscape generate my-shop --out ads/`"):
        exported(shop, BANNERS[0])
