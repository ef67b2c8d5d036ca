"""Catalog life: what a changed photo or title makes stale, and the same ads drawn anew when asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.factory import clickscape, shop_of_tins, tin

from clickscape import render
from clickscape.catalog.images import open_image
from clickscape.catalog.publishable import product_digest, stale
from clickscape.stages.export import export
from clickscape.stages.progress import run
from clickscape.stages.refresh import Refreshed, refresh
from clickscape.types import Creative
from clickscape.workspace import Workspace

DESCRIPTION = "oak podium, soft light, matching wall in a photo studio"


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    """Two products with a creative each; the second creative is live."""
    workspace = shop_of_tins(tmp_path / "shop", {"mug": (200, 30, 40), "tin": (30, 90, 200)})
    studio = render.load("studio")
    for product, status in zip(workspace.products(), ("approved", "live"), strict=True):
        made = studio.render(product, DESCRIPTION, size=(160, 160), seed=5)
        name = f"{product.product_id}-1"
        image, scene = workspace.save_image(name, made.image), json.loads(made.content)
        own = Creative(name, product.product_id, str(image), DESCRIPTION, scene, "studio", "m", 5)
        workspace.append_creatives([replace(own, status=status, product_digest=product_digest(product))])
    return workspace


def _stale(shop: Workspace) -> frozenset[str]:
    return stale(shop.creatives(), {product.product_id: product for product in shop.products()})


def test_a_changed_title_or_photo_is_noticed_and_stock_is_not(shop: Workspace) -> None:
    assert _stale(shop) == frozenset()
    mug, can = shop.products()
    shop.write_products([replace(mug, title="A larger mug"), replace(can, attributes={"availability": "in stock"})])
    assert _stale(shop) == {"mug-1"}
    shop.write_products([mug, can])
    shop.save_cutout("tin", tin((240, 200, 20)))
    assert _stale(shop) == {"tin-1"}
    shop.write_products([mug])
    assert _stale(shop) == frozenset(), "a product that is gone is another matter"


def test_refreshing_draws_the_same_ad_for_the_product_as_it_is_now(shop: Workspace) -> None:
    mug, _ = shop.products()
    shop.save_cutout("mug", tin((20, 60, 160)))
    shop.save_cutout("tin", tin((240, 200, 20)))
    before = {one.creative_id: one for one in shop.creatives()}
    assert run(refresh(shop)) == Refreshed(2, ())
    after = {one.creative_id: one for one in shop.creatives()}
    assert after["mug-1"].status == "retired"
    assert after["tin-1"].status == "live", "what runs is not stopped behind anybody's back"
    (new,) = (one for one in after.values() if one.parent_id == "mug-1")
    assert (new.status, new.description, new.seed) == ("draft", DESCRIPTION, 5)
    assert before["mug-1"].scene["palette"] == "pink"
    assert new.scene["palette"] == "lavender", "a matching wall answers to the new photo"
    expected = render.load("studio").render(mug, DESCRIPTION, size=(160, 160), seed=5)
    assert np.array_equal(open_image(new.image)[..., :3], expected.image)
    assert np.array_equal(open_image(shop.mask_path(new.creative_id))[..., 0], expected.product_mask)
    assert run(refresh(shop)).drawn == 0
    assert _stale(shop) == {"mug-1", "tin-1"}


def test_what_the_gate_refuses_stays_stale_and_is_named(shop: Workspace) -> None:
    """A product that fills a third of its photo cannot fill nine tenths of a picture's side, whatever the seed."""
    shop.settings_path.write_text("[fidelity]\nextent = 0.9\n[generate]\ntries = 2\n", encoding="utf-8")
    shop.save_cutout("mug", tin((20, 60, 160)))
    before = shop.creatives()
    told = clickscape("refresh", shop.path).out
    assert "0 creatives drawn anew" in told
    assert "left out and still stale: mug-1: no picture passed the fidelity gate: the product is too small" in told
    assert "; 2 pictures were tried" in told
    assert shop.creatives() == before
    (manifest,) = shop.runs_folder.glob("*-refresh/manifest.json")
    assert "the product is too small" in json.loads(manifest.read_text(encoding="utf-8"))["result"]["refused"][0]
    shop.settings_path.write_text("", encoding="utf-8")
    assert run(refresh(shop)) == Refreshed(1, ()), "looser limits let it be drawn"


def test_a_kill_before_the_old_creative_is_retired_is_recovered_from(
    shop: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.save_cutout("mug", tin((20, 60, 160)))
    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "mark_creatives", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(refresh(shop))
    again = Workspace.open(shop.path)
    assert run(refresh(again)).drawn == 0
    assert {one.creative_id: one.status for one in again.creatives()}["mug-1"] == "retired"
    assert len(again.creatives()) == 3


def test_what_is_stale_is_shown_and_not_exported(shop: Workspace) -> None:
    shop.save_cutout("mug", tin((20, 60, 160)))
    made = run(export(shop, placements=["google-display-300x250"], out=shop.path / "exports"))
    assert made.files == 1
    assert any("stale" in reason and count == 1 for reason, count in made.left_out.items())
    assert "approved, stale mug-1" in " ".join(clickscape("review", shop.path).out.split())


def test_a_table_from_before_is_read_and_nothing_in_it_is_stale(shop: Workspace) -> None:
    table = pq.read_table(shop.creatives_path).drop_columns(["product_digest"])
    pq.write_table(table, shop.creatives_path)
    shop.save_cutout("mug", tin((20, 60, 160)))
    assert [one.product_digest for one in shop.creatives()] == ["", ""]
    assert _stale(shop) == frozenset()
