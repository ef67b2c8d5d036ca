"""A shop's own ads enter the workspace with their clicks, whole or not at all, and every command lives with them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.factory import clickscape, shop_of_tins
from tests.stages.conftest import SMALL_REWARD

from clickscape.catalog.addresses import Network
from clickscape.catalog.publishable import DRAWN_ELSEWHERE
from clickscape.config import ClicksConfig
from clickscape.render.scene import slots_of
from clickscape.stages.clicks import clicks, read_estimates
from clickscape.stages.compare import compare
from clickscape.stages.load_feed import FeedOptions
from clickscape.stages.own_ads import ingest_own_ads
from clickscape.stages.progress import run
from clickscape.stages.report import report
from clickscape.stages.reward import reward
from clickscape.types import COPYWRITER, OWN, Creative
from clickscape.workspace import Workspace

COLORS = {"A": (200, 30, 30), "B": (30, 60, 200)}


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    """A workspace in the folder my-shop with two products, and beside it banners and a table of them, ads.csv."""
    made = shop_of_tins(tmp_path / "my-shop", COLORS)
    banners(tmp_path, names=("a1", "a2", "b1"))
    table(tmp_path, "a1.png,A,1000,20", "a2.png,A,1000,40", "b1.png,B,500,5")
    return made


def banners(folder: Path, *, names: tuple[str, ...]) -> None:
    """Pictures of noise, all different, PNG by their content whatever they are called."""
    for name in names:
        rng = np.random.default_rng(list(name.encode()))
        Image.fromarray(rng.integers(0, 256, (24, 32, 3)).astype(np.uint8)).save(folder / f"{name}.png")


def table(folder: Path, *rows: str, columns: str = "image,product_id,impressions,clicks") -> Path:
    path = folder / "ads.csv"
    path.write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")
    return path


def content(shop: Workspace) -> dict[str, bytes]:
    """Every file of a workspace that is not hidden."""
    files = {path.relative_to(shop.path): path for path in shop.path.rglob("*") if path.is_file()}
    return {str(name): path.read_bytes() for name, path in files.items() if not any(map(_is_hidden, name.parts))}


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def refused(shop: Workspace, *options: str) -> str:
    """The one line with which the command refuses ads.csv; nothing in the workspace is another than before."""
    before = content(shop)
    done = clickscape("ingest", shop.path, "--creatives", shop.path.parent / "ads.csv", *options)
    assert done.code == 2
    assert content(shop) == before
    assert not list(shop.path.glob(".staging*"))
    (line,) = [line for line in done.err.splitlines() if line.startswith("clickscape: ")]
    return line.removeprefix("clickscape: ")


def test_ads_lie_in_the_workspace_as_they_were_and_their_clicks_are_counted(shop: Workspace) -> None:
    folder = shop.path.parent
    done = clickscape("ingest", "my-shop", "--creatives", "ads.csv", cwd=folder)
    assert done.code == 0, done.err
    assert "3 creatives\nclicks of 3 of them are in clicks/counts.parquet\n" in done.out
    assert "next: clickscape clicks my-shop" in done.out
    first, *_ = creatives = shop.creatives()
    assert first == Creative("a1", "A", first.image, "", {}, renderer=OWN, model_id=OWN, seed=0, status="live")
    assert all(slots_of(one) is None for one in creatives)
    for one in creatives:
        assert Path(one.image).parent == shop.path / "creatives" / "images"
        assert Path(one.image).read_bytes() == (folder / f"{one.creative_id}.png").read_bytes()
    run(clicks(shop, ClicksConfig()))
    estimates = read_estimates(shop)
    assert dict(zip(estimates["creative_id"].to_pylist(), estimates["clicks"].to_pylist(), strict=True)) == {
        "a1": 20, "a2": 40, "b1": 5,
    }  # fmt: skip


def test_the_same_table_again_changes_nothing(shop: Workspace) -> None:
    run(ingest_own_ads(shop, shop.path.parent / "ads.csv"))
    before = content(shop)
    written = {path: path.stat().st_mtime_ns for path in shop.path.rglob("*.p*")}
    made = run(ingest_own_ads(shop, shop.path.parent / "ads.csv"))
    assert (len(made.creatives), made.new) == (3, 0)
    assert content(shop) == before
    assert {path: path.stat().st_mtime_ns for path in shop.path.rglob("*.p*")} == written


def test_a_second_table_adds_to_the_first_and_changes_what_it_names(shop: Workspace) -> None:
    folder = shop.path.parent
    run(ingest_own_ads(shop, folder / "ads.csv"))
    assert clickscape("review", shop.path, "--reject", "b1").code == 2  # it is live
    banners(folder, names=("b2",))
    columns = "image,product_id,description,status,impressions,clicks"
    rows = ("b1.png,B,on a table,retired,600,6", "b2.png,B,,draft,,")
    made = run(ingest_own_ads(shop, table(folder, *rows, columns=columns)))
    assert made.new == 1
    found = {one.creative_id: one for one in shop.creatives()}
    assert {name: (one.description, one.status) for name, one in found.items()} == {
        "a1": ("", "live"), "a2": ("", "live"), "b1": ("on a table", "retired"), "b2": ("", "draft"),
    }  # fmt: skip
    counts = shop.read_table(shop.counts_path).to_pylist()
    assert {row["creative_id"]: (row["impressions"], row["clicks"]) for row in counts} == {
        "a1": (1000, 20), "a2": (1000, 40), "b1": (600, 6),
    }  # fmt: skip


def test_what_review_said_stays_where_the_table_says_nothing(shop: Workspace) -> None:
    folder = shop.path.parent
    run(ingest_own_ads(shop, table(folder, "a1.png,A,draft", columns="image,product_id,status")))
    assert clickscape("review", shop.path, "--reject", "a1").code == 0
    run(ingest_own_ads(shop, table(folder, "a1.png,A", columns="image,product_id")))
    assert [one.status for one in shop.creatives()] == ["rejected"]


def test_bad_rows_refuse_all_and_can_be_left_out(shop: Workspace) -> None:
    folder = shop.path.parent
    table(folder, "a1.png,A,10,1", "a2.png,lamp,10,1", "gone.png,B,10,1", "b1.png,B,1,10")
    line = refused(shop)
    assert line.startswith(f"{folder / 'ads.csv'}, line 3: product 'lamp' is not in the catalog.")
    assert "Further bad rows (2): line 4, line 5. Or pass --skip-bad-rows" in line
    done = clickscape("ingest", shop.path, "--creatives", folder / "ads.csv", "--skip-bad-rows")
    assert done.code == 0
    assert [line.partition(":")[0] for line in done.out.splitlines() if line.startswith("left out")] == [
        "left out, line 3", "left out, line 4", "left out, line 5",
    ]  # fmt: skip
    assert [one.creative_id for one in shop.creatives()] == ["a1"]


def test_a_damaged_picture_is_seen_before_anything_is_touched(shop: Workspace) -> None:
    broken = shop.path.parent / "b1.png"
    broken.write_bytes(broken.read_bytes()[:600])  # its header is whole
    line = refused(shop)
    assert f"line 4: image of creative 'b1': {broken}: the picture is truncated or damaged" in line
    (shop.path.parent / "a1.png").write_bytes(broken.read_bytes())
    (shop.path.parent / "a2.png").write_bytes(broken.read_bytes())
    line = refused(shop, "--skip-bad-rows")
    assert f"{shop.path.parent / 'ads.csv'}: every row was left out; the first, line 2: image of creative 'a1'" in line


def test_the_same_picture_of_one_product_is_one_ad(shop: Workspace) -> None:
    folder = shop.path.parent
    shutil.copy(folder / "a1.png", folder / "again.png")
    table(
        folder,
        "a1.png,A,10,1",
        "a1.png,B,10,1,x",
        "again.png,A,10,1,",
        columns="image,product_id,impressions,clicks,creative_id",
    )
    assert "line 4: creative 'again' is the picture of line 2 again, of the same product. Keep one row" in refused(shop)


def test_an_ad_keeps_its_picture_and_its_product(shop: Workspace) -> None:
    folder = shop.path.parent
    run(ingest_own_ads(shop, folder / "ads.csv"))
    shutil.copy(folder / "a2.png", folder / "a1.png")
    table(folder, "a1.png,A,10,1")
    assert "line 2: creative 'a1' is in the workspace with another picture, of which its clicks are. Give" in refused(
        shop
    )
    table(folder, "b1.png,A,10,1")
    assert "line 2: creative 'b1' is in the workspace as an ad of product 'B'. Give" in refused(shop)


def test_no_creative_of_somebody_else_is_replaced(shop: Workspace) -> None:
    run(ingest_own_ads(shop, shop.path.parent / "ads.csv"))
    shop.write_creatives([replace(shop.creatives()[0], renderer="studio", model_id=COPYWRITER)])
    assert f"creative 'a1' is in the workspace already, made by {COPYWRITER!r}." in refused(shop)


def test_counts_do_not_enter_beside_another_log(shop: Workspace) -> None:
    folder = shop.path.parent
    log = shop.clicks / "counts.csv"
    log.write_text("creative_id,product_id,impressions,clicks\na1,A,7,1\na2,A,9,2\n", encoding="utf-8")
    assert refused(shop).startswith(f"{log} is a click log already, and the counts of ads.csv would stand beside it.")
    run(ingest_own_ads(shop, table(folder, "a1.png,A", "a2.png,A", columns="image,product_id")))
    run(clicks(shop, ClicksConfig()))  # the log names them
    assert read_estimates(shop)["impressions"].to_pylist() == [7, 9]


def test_a_catalog_comes_first(tmp_path: Path) -> None:
    shop = Workspace.create(tmp_path / "my-shop")
    banners(tmp_path, names=("a1",))
    table(tmp_path, "a1.png,A,10,1")
    assert "products.parquet is missing. Run `clickscape ingest my-shop` first." in refused(shop)


@pytest.mark.parametrize(
    "arguments", [["ads.csv", "--creatives", "ads.csv"], [], ["--creatives", "ads.csv", "--matting", "ads.csv"]]
)
def test_a_feed_or_ads_but_not_both(shop: Workspace, arguments: list[str]) -> None:
    done = clickscape("ingest", "my-shop", *arguments, cwd=shop.path.parent)
    assert done.code == 2
    assert "give either a feed, or --creatives FILE without --matting" in done.err


def test_links_are_fetched_and_what_cannot_be_is_a_bad_row(shop: Workspace, web: tuple[str, Network]) -> None:
    url, network = web
    ads = table(shop.path.parent, f"{url}/ball.png,A", f"{url}/gone.png,B", columns="image,product_id")
    options = FeedOptions(allow_remote=True, skip_bad_rows=True, network=network)
    made = run(ingest_own_ads(shop, ads, options=options))
    (ball,) = made.creatives
    assert Path(ball.image).read_bytes() == (shop.path.parent / "web" / "ball.png").read_bytes()
    (bad,) = made.table.skipped
    assert bad.reason.startswith("the image of creative 'gone' cannot be fetched: the server answers 404")


def test_own_ads_are_not_exported_nor_approved_with_all_others(shop: Workspace) -> None:
    folder = shop.path.parent
    rows = ("a1.png,A,draft", "a2.png,A,draft", "b1.png,B,live")
    run(ingest_own_ads(shop, table(folder, *rows, columns="image,product_id,status")))
    export = ("export", shop.path, "--placement", "google-display-300x50", "--out", folder / "exports")
    assert f"all 3 creatives of my-shop are {DRAWN_ELSEWHERE}" in clickscape(*export).err
    drawn = Creative("A-1", "A", shop.creatives()[0].image, "oak table", {}, "studio", "tiny", 0)
    shop.append_creatives([drawn])
    assert clickscape("review", shop.path, "--approve-all").code == 0
    assert {one.creative_id: one.status for one in shop.creatives()} == {
        "a1": "draft", "a2": "draft", "b1": "live", "A-1": "approved",
    }  # fmt: skip
    assert clickscape("review", shop.path, "--approve", "a1").code == 0
    done = clickscape(*export, "--approved-only")
    assert done.code == 0, done.err
    assert f"left out, {DRAWN_ELSEWHERE}: 3 creatives" in done.out


def test_a_first_frame_and_a_picture_of_any_size_count(shop: Workspace) -> None:
    folder = shop.path.parent
    frames = [Image.new("RGB", (30, 20), color) for color in ("red", "blue")]
    frames[0].save(folder / "moves.gif", save_all=True, append_images=frames[1:])
    Image.new("CMYK", (3_000, 10), (0, 200, 0, 0)).save(folder / "wide.jpg")
    run(ingest_own_ads(shop, table(folder, "moves.gif,A", "wide.jpg,A", columns="image,product_id")))
    assert [Path(one.image).name for one in shop.creatives()] == ["moves.gif", "wide.jpg"]


KILL = """
import os, signal, sys
from clickscape.cli import main
from clickscape.stages import own_ads
from clickscape.workspace import Workspace
def die(*given, **more):
    os.kill(os.getpid(), signal.SIGKILL)
place, *arguments = sys.argv[1:]
if place == "open_image":
    own_ads.open_image = die
elif place == "replace":
    moved = []
    rename = os.replace
    def once(*paths):
        die() if moved else moved.append(rename(*paths))
    class System:
        replace = staticmethod(once)
    own_ads.os = System
else:
    setattr(Workspace, place, die)
main(arguments)
"""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["open_image", "replace", "update_creatives", "write_counts"])
def test_a_killed_ingest_is_repeated_as_if_it_had_never_begun(shop: Workspace, place: str) -> None:
    arguments = ["ingest", str(shop.path), "--creatives", str(shop.path.parent / "ads.csv"), "--workers", "1"]
    killed = subprocess.run([sys.executable, "-c", KILL, place, *arguments], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert (len(shop.creatives()) == 3) == (place == "write_counts")
    assert not shop.counts_path.exists()
    assert clickscape(*arguments).code == 0
    assert [one.creative_id for one in shop.creatives()] == ["a1", "a2", "b1"]
    assert sorted(path.name for path in (shop.path / "creatives/images").iterdir()) == ["a1.png", "a2.png", "b1.png"]
    assert shop.read_table(shop.counts_path)["clicks"].to_pylist() == [20, 40, 5]
    assert not list(shop.path.glob(".staging*"))


@pytest.fixture(scope="module")
def with_own_ads(logged_shop: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A catalog without departments whose ads are all own ones: what `simulate` drew elsewhere, and its log."""
    folder = tmp_path_factory.mktemp("own")
    shop = Workspace.create(folder / "my-shop")
    catalog = folder / "catalog.jsonl"
    rows = [
        {"id": one.product_id, "title": one.title, "image": Path(one.image).name,
         "item_group_id": one.product_id.rpartition("-")[0]}
        for one in logged_shop.products()
    ]  # fmt: skip
    for one in logged_shop.products():
        shutil.copy(one.image, folder)
    catalog.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert clickscape("ingest", shop.path, catalog).code == 0
    ads = logged_shop.creatives_path
    done = clickscape("ingest", shop.path, "--creatives", ads)
    assert done.code == 0, done.err
    assert "columns not read: scene, renderer, model_id, seed, parent_id, …" in done.out
    shutil.copytree(logged_shop.clicks / "events", shop.events_folder, dirs_exist_ok=True)
    return shop


@pytest.mark.slow
@pytest.mark.parametrize("some_have_scenes", [False, True])
def test_every_command_lives_with_creatives_without_scenes(
    with_own_ads: Workspace, tmp_path: Path, some_have_scenes: bool
) -> None:
    shutil.copytree(with_own_ads.path, tmp_path / "my-shop")
    shop = Workspace.open(tmp_path / "my-shop")
    assert {one.renderer for one in shop.creatives()} == {OWN}
    if some_have_scenes:
        scene = {
            "setting": "studio",
            "surface": "oak",
            "light": "soft",
            "stand": "table",
            "palette": "mint",
            "props": [],
        }
        mixed = [
            replace(one, scene=scene | {"surface": ("oak", "sand")[place % 4 // 2]}, renderer="studio")
            if place % 2
            else one
            for place, one in enumerate(shop.creatives())
        ]
        shop.write_creatives(mixed)
    run(clicks(shop, ClicksConfig()))
    made = run(reward(shop, SMALL_REWARD))
    assert made.result["accuracy"]["value"] >= 0
    assert report(shop).is_file()
    one, other = [each for each in shop.creatives() if each.product_id == shop.creatives()[0].product_id][:2]
    assert clickscape("explain", shop.path, "--creative", one.creative_id).code == 0
    scored = clickscape("score", shop.path, "--product", one.product_id, one.image, other.image)
    assert scored.code == 0, scored.err
    elements = clickscape("explain", shop.path, "--elements")
    assert elements.code == (0 if some_have_scenes else 2)
    assert "Traceback" not in elements.err
    assert clickscape("refresh", shop.path).code == 0
    if not some_have_scenes:
        assert (
            "best scene per category" in run(compare(shop, {}, truth="harmony", descriptions=1, size=64)).result["rows"]
        )
