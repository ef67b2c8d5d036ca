"""Stage `simulate`: the log, the creatives and the truth agree, nothing is repeated, and a kill is survived."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.factory import clickscape, write_feed

from clickscape.catalog import sample
from clickscape.catalog.images import open_image
from clickscape.config import ClicksConfig, OptimizeConfig, RewardConfig, SimulateConfig
from clickscape.errors import ConfigError, WorkspaceError
from clickscape.generation.audience import original_id, product_for
from clickscape.json_files import read_json_lines
from clickscape.preference.records import CANDIDATES
from clickscape.render.language.parse import parse
from clickscape.render.scene import Scene, slots_of
from clickscape.simulator import world
from clickscape.simulator.family import draw_world
from clickscape.simulator.unseen import UNSEEN_PROPS, UNSEEN_SURFACES, unseen
from clickscape.simulator.vocabulary import SLOTS
from clickscape.stages import split, truth
from clickscape.stages.clicks import clicks
from clickscape.stages.generate import generate
from clickscape.stages.generate_block import BrandOptions
from clickscape.stages.ingest import ingest
from clickscape.stages.optimize import optimize
from clickscape.stages.progress import Progress, run
from clickscape.stages.reward import reward
from clickscape.stages.simulate import draw, simulate
from clickscape.workspace import Workspace

from .conftest import SMALL_WORLD

pytestmark = pytest.mark.slow  # one preparation of seconds serves the whole module


def test_a_drawn_world_is_chosen_by_its_name_and_its_log_is_read(tmp_path: Path) -> None:
    feed = write_feed(tmp_path, side=128, product_ids=[one.product_id for one in sample.products()[::200]])
    assert clickscape("new", "shop", cwd=tmp_path).code == 0
    assert clickscape("ingest", "shop", feed, cwd=tmp_path).code == 0
    settings = "[simulate]\nworld = 'drawn-7'\nsize = 64\nmedian_impressions = 300\n"
    (tmp_path / "shop" / "clickscape.toml").write_text(settings, encoding="utf-8")
    for more, name in ((), "drawn-7"), (("--world", "drawn-8"), "drawn-8"):
        assert f"clicks of the world {name}\n" in clickscape("simulate", "shop", *more, cwd=tmp_path).out
        assert clickscape("clicks", "shop", cwd=tmp_path).code == 0
    assert clickscape("simulate", "shop", "--fatigue", "0.3", "--days", "3", cwd=tmp_path).code == 0
    assert sorted(path.name for path in (tmp_path / "shop/clicks/events").iterdir())[-1] == "day-02.parquet"
    shop = Workspace.open(tmp_path / "shop")
    newest = shop.newest("simulate")
    assert newest is not None
    told = pq.read_table(newest[0] / truth.FILE)
    assert told["fatigue"].to_numpy().mean() == pytest.approx(0.3, rel=0.4)
    assert clickscape("clicks", "shop", cwd=tmp_path).code == 0
    assert truth.read(shop) is not None
    wrong = clickscape("simulate", "shop", "--world", "drawn-07", cwd=tmp_path)
    assert wrong.code == 2
    assert "no world 'drawn-07'; expected harmony, siren, or drawn-N" in wrong.err


def test_ads_are_made_for_the_audience_that_a_drawn_world_clicks_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the log's column to the reward that an ad is kept for, and to the writer once he has learned."""
    shop = Workspace.create(tmp_path / "shop")
    run(ingest(shop, write_feed(tmp_path, side=128, product_ids=[one.product_id for one in sample.products()[::100]])))
    made = run(simulate(shop, SimulateConfig(world="drawn-0", size=64, median_impressions=4_000, record_segments=True)))
    names = list(draw_world(0).segments)
    told = pq.read_table(next(shop.path / name for name in made.outputs if name.endswith(truth.FILE)))
    everybody = np.log(
        sum(share * np.exp(told[f"log_ctr of {name}"].to_numpy()) for name, share in draw_world(0).segments.items())
    )
    assert np.allclose(everybody, told["log_ctr"].to_numpy())
    run(clicks(shop, ClicksConfig()))
    counted = pq.read_table(shop.clicks / "audiences.parquet")
    assert sorted(set(counted["audience"].to_pylist())) == sorted(names)
    summary = run(reward(shop, RewardConfig())).result["summary"]
    assert "who knows the audience finds its clicks on held-out products likelier by" in summary[-1]

    some = [product.product_id for product in shop.products()[:4]]

    def ads(audience: str, out: str) -> dict[tuple[str, str], float]:
        options, small = BrandOptions(audience=audience), {"keep": 2, "size": 128}
        run(
            generate(
                workspace=shop.path, catalog=None, out=tmp_path / out, overrides=small, brand_options=options, only=some
            )
        )
        lines = (tmp_path / out / "creatives.jsonl").read_text().splitlines()
        return {(ad["product_id"], ad["description"]): ad["reward"] for ad in map(json.loads, lines)}

    one, other = (ads(name, f"for {name}") for name in names[:2])
    assert one.keys() & other.keys(), "the writer does not know of audiences yet"
    assert all(abs(one[ad] - other[ad]) > 1e-6 for ad in one.keys() & other.keys())
    with pytest.raises(ConfigError, match=f"The reward model knows: {', '.join(sorted(names))}"):
        ads("nobody", "for nobody")

    small = OptimizeConfig(audiences=True, rounds=1, products_per_round=8, candidates=3, epochs=1)
    run(optimize(shop, small, target=shop.models / "prompt"))
    run_folder, _ = shop.newest("optimize") or (tmp_path, None)
    asked = {one["product_id"] for one in read_json_lines(run_folder / "rounds" / "round-1" / CANDIDATES, dict)}
    assert {original_id(name) for name in asked} <= {product.product_id for product in shop.products()}
    assert len({name.partition("\x1f")[2] for name in asked}) > 1
    heard: list[str] = []
    monkeypatch.setattr(
        "clickscape.stages.generate.product_for", lambda product, name: heard.append(name) or product_for(product, name)
    )
    ads(names[0], "from who knows")
    assert heard == [names[0]] * len(some)


def test_segments_are_recorded_in_logs_that_do_not_change() -> None:
    with pytest.raises(ValueError, match="record_segments is for logs that do not change"):
        SimulateConfig(record_segments=True, fatigue=0.1)


def test_creatives_show_what_their_descriptions_say(logged_shop: Workspace) -> None:
    creatives = logged_shop.creatives()
    assert len(creatives) == 18 * SMALL_WORLD.creatives_per_product
    assert len({creative.seed for creative in creatives}) == len(creatives), "every image has its own seed"
    for creative in creatives[:10]:
        assert parse(creative.description).scene.slots == slots_of(creative)
        assert open_image(creative.image).shape == (96, 96, 4)


def test_the_truth_is_the_world_and_stays_out_of_the_tables(logged_shop: Workspace) -> None:
    known = truth.read(logged_shop)
    assert known is not None
    products = {product.product_id: product for product in logged_shop.products()}
    harmony = world.load("harmony")
    for creative in logged_shop.creatives():
        base = harmony.base(products[creative.product_id])
        assert abs(known[creative.creative_id] - base) < 2.5
    for path in (logged_shop.creatives_path, *logged_shop.events_folder.glob("*.parquet")):
        assert "log_ctr" not in pq.ParquetFile(path).schema_arrow.names


def test_some_scenes_and_props_are_shown_for_held_out_products_alone(logged_shop: Workspace) -> None:
    held = split.read(logged_shop, logged_shop.products())
    kept_back = {True: 0, False: 0}
    for creative in logged_shop.creatives():
        kept_back[held.is_held_out(creative.product_id)] += unseen(Scene.of(creative.scene))
    assert kept_back[False] == 0
    assert kept_back[True] > 0
    assert set(UNSEEN_SURFACES) == set(SLOTS["setting"])
    assert set(UNSEEN_SURFACES.values()) <= set(SLOTS["surface"])
    assert set(SLOTS["prop"]) > UNSEEN_PROPS


def test_clicks_follow_the_truth(logged_shop: Workspace) -> None:
    known = truth.read(logged_shop)
    assert known is not None
    table = pq.read_table(logged_shop.clicks / "estimates.parquet")
    estimated = table["log_ctr"].to_numpy()
    true = np.array([known[name] for name in table["creative_id"].to_pylist()])
    error = (estimated - true) / table["log_ctr_se"].to_numpy()
    assert np.corrcoef(estimated, true)[0, 1] > 0.5
    assert np.sqrt(np.mean((error - error.mean()) ** 2)) < 1.6


def test_finished_stages_are_not_repeated(logged_shop: Workspace) -> None:
    before = {path: path.stat().st_mtime_ns for path in logged_shop.path.rglob("*.webp")}
    notes: list[Progress] = []
    run(simulate(logged_shop, SMALL_WORLD), on_progress=notes.append)
    run(clicks(logged_shop, ClicksConfig()), on_progress=notes.append)
    assert [progress.note for progress in notes] == ["reused", "reused"]
    assert before == {path: path.stat().st_mtime_ns for path in logged_shop.path.rglob("*.webp")}


def test_a_killed_simulation_ends_like_one_that_was_not(
    new_shop: Callable[[], Workspace], logged_shop: Workspace
) -> None:
    other = new_shop()
    lines = [f"{key} = {json.dumps(value)}" for key, value in SMALL_WORLD.model_dump().items()]
    other.settings_path.write_text("[simulate]\n" + "\n".join(lines) + "\n")
    command = [sys.executable, "-m", "clickscape", "simulate", str(other.path), "--workers", "1"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    images = other.path / "creatives" / "images"
    deadline = time.monotonic() + 120
    while len(list(images.glob("*.webp")) if images.exists() else []) < 12 and time.monotonic() < deadline:
        assert child.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    again = Workspace.open(other.path)
    assert again.creatives() == [], "nothing half-made is ever read"
    run(simulate(again, SMALL_WORLD))
    mine, theirs = again.creatives(), logged_shop.creatives()
    assert [(c.creative_id, c.description, c.seed) for c in mine] == [
        (c.creative_id, c.description, c.seed) for c in theirs
    ]
    for left, right in zip(mine[:20], theirs[:20], strict=True):
        assert np.array_equal(open_image(left.image), open_image(right.image))
    assert truth.read(again) == truth.read(logged_shop)
    assert len(list(again.runs_folder.iterdir())) == 1, "the killed run was taken up again"


def test_drawn_creatives_are_the_simulated_ones_with_masks_and_without_clicks(
    new_shop: Callable[[], Workspace], logged_shop: Workspace
) -> None:
    """Clicks of one's own go beside them, as any log; over what was simulated nothing is drawn."""
    shop = new_shop()
    run(draw(shop, SMALL_WORLD))
    drawn, simulated = shop.creatives(), logged_shop.creatives()
    assert [(c.creative_id, c.description, c.scene) for c in drawn] == [
        (c.creative_id, c.description, c.scene) for c in simulated
    ]
    assert not list(shop.clicks.iterdir())
    assert truth.read(shop) is None
    for one, other in zip(drawn[:12], simulated[:12], strict=True):
        image, mask = open_image(one.image), np.asarray(Image.open(shop.mask_path(one.creative_id)))
        assert np.array_equal(image, open_image(other.image))
        assert mask.shape == image.shape[:2]
        assert mask.dtype == np.uint8
        assert 0.02 < (mask > 127).mean() < 0.7
    written = [one.creative_id for one in drawn]
    table = {"creative_id": written, "product_id": [one.product_id for one in drawn],
             "impressions": [500] * len(drawn), "clicks": list(range(len(drawn)))}  # fmt: skip
    shop.write_counts(pa.table(table))
    assert run(clicks(shop, ClicksConfig())).result["creatives"] == len(drawn)
    notes: list[Progress] = []
    run(draw(shop, SMALL_WORLD), on_progress=notes.append)
    assert [progress.note for progress in notes] == ["reused"]
    with pytest.raises(WorkspaceError, match="has simulated clicks of creatives that would be drawn over"):
        run(draw(logged_shop, SMALL_WORLD))
