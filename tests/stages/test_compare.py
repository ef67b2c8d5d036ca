"""Stage `compare`: which ad is the best of several, and true CTRs that somebody else's function says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.factory import copy_of

from clickscape import render
from clickscape.render.scene import Scene
from clickscape.report.results import ORACLE, PRETRAINED
from clickscape.simulator.evaluation import TrueAd
from clickscape.stages.compare import _best, compare, read_ads
from clickscape.stages.progress import Progress, run
from clickscape.types import Product
from clickscape.workspace import Workspace


def test_best_of_n_never_keeps_an_ad_that_did_not_parse_while_another_did() -> None:
    ads = [
        TrueAd("p", text, 0, "{}", parsed, reward, 1.0, True)
        for text, parsed, reward in [("a", True, 0.1), ("b", False, 9.0), ("c", True, 0.5)]
    ]
    assert _best(ads).description == "c"
    assert _best([ads[1]]).description == "b"


def darkness(product: Product, scene: Scene, image: np.ndarray, mask: np.ndarray) -> float:
    """Shoppers of no world of ours: they like dark surroundings, and mugs twice as much."""
    assert scene.slots
    return float(2 - image[mask < 128].mean() / 255) * (1 + product.product_id.startswith("coffee_mug"))


@pytest.mark.slow
def test_true_ctrs_of_somebody_elses_function_take_the_place_of_a_worlds(shop: Workspace, tmp_path: Path) -> None:
    other = copy_of(shop, tmp_path / "shop")
    made = run(compare(other, {}, truth=darkness, descriptions=2, size=96))
    rows = made.result["rows"]
    assert PRETRAINED in rows
    assert ORACLE not in rows, "whose best scenes nobody knows"
    (folder,) = other.runs_folder.glob("*-compare")
    ad = read_ads(folder)[PRETRAINED][0]
    product = next(one for one in other.products() if one.product_id == ad.product_id)
    drawn = render.load().render(product, ad.description, size=(96, 96), seed=ad.seed)
    assert ad.relative_ctr == pytest.approx(darkness(product, Scene(), drawn.image, drawn.product_mask))
    notes: list[Progress] = []
    assert run(compare(other, {}, truth=darkness, descriptions=2, size=96), on_progress=notes.append) == made
    assert [progress.note for progress in notes] == ["reused"]
