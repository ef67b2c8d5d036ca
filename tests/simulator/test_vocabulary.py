"""The simulator's words are frozen: what the studio learns later moves no world, no sentence and no click."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from scripts.invented_texts import text_product

from clickscape.render import scene
from clickscape.render.language import lexicon
from clickscape.render.language.parse import parse
from clickscape.render.scene import Scene
from clickscape.simulator import traffic, unseen, vocabulary, world, writer
from clickscape.simulator.world import SEGMENTS
from clickscape.types import Creative, Product


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _written(count: int = 300) -> list[tuple[Product, str, Scene]]:
    rng = np.random.default_rng(20)
    products = [text_product(rng) for _ in range(count)]
    return [(product, *writer.write(product, rng)) for product in products]


WRITTEN = _written()


def test_the_studio_can_draw_and_read_all_of_it() -> None:
    for slot, values in vocabulary.SLOTS.items():
        known = scene.SLOTS[slot]
        assert [value for value in known if value in values] == list(values), "the studio's order has changed"
    assert set(vocabulary.WALLED) == set(vocabulary.SETTINGS) & set(scene.WALLED)


def test_the_phrases_are_those_that_the_worlds_were_frozen_with() -> None:
    assert _digest(vocabulary.PHRASES) == "f2dea2c0e7c07090"


def test_what_the_copywriter_writes_is_frozen_and_so_is_how_it_reads() -> None:
    """Both digests were recorded before the studio knew more words than the vocabulary."""
    assert _digest([text for _, text, _ in WRITTEN]) == "930ca3939e6e218e"
    read = [parse(text) for _, text, _ in WRITTEN]
    assert _digest([[one.scene.to_json(), sorted(one.named), one.unknown] for one in read]) == "ab7becc2c59224a4"


@pytest.mark.parametrize(
    ("name", "effects", "judgments"),
    [("harmony", "221e2a07606fb3fd", "7990a80ac1bd9563"), ("siren", "7c76c6d8ad4668e7", "61545e6b35edabc3")],
)
def test_the_true_ctr_of_frozen_descriptions_is_frozen(name: str, effects: str, judgments: str) -> None:
    truth = world.load(name)
    segments = [truth.segment_log_ctrs(product, drawn) for product, _, drawn in WRITTEN]
    assert _digest([[round(value, 9) for value in row] for row in segments]) == effects
    judged = [[truth.best_scene(product).to_json(), world.matching(product, drawn)] for product, _, drawn in WRITTEN]
    assert _digest(judged) == judgments


def test_traffic_is_frozen() -> None:
    truth = world.load("harmony")
    creatives = [Creative(f"c{i}", product.product_id, "", "", {}, "studio", "test", 0)
                 for i, (product, _, _) in enumerate(WRITTEN)]  # fmt: skip
    log_ctr = np.array([truth.segment_log_ctrs(product, drawn) for product, _, drawn in WRITTEN])
    drawn = traffic.simulate(creatives, log_ctr, rng=np.random.default_rng(0), shares=SEGMENTS)
    assert _digest([drawn.impressions.tolist(), drawn.clicks.tolist()]) == "dc0ce8a178b79a66"


def test_a_value_that_no_world_knows_has_no_effect_and_fits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    later = {slot: (*values, "later") for slot, values in scene.SLOTS.items()}
    monkeypatch.setattr(scene, "SLOTS", later)
    monkeypatch.setattr(scene, "PROPS", later["prop"])
    monkeypatch.setitem(lexicon.DEFAULTS, "later", lexicon.DEFAULTS["studio"])
    truth, product = world.load("harmony"), Product("cola", "Cola", ("Drinks",))
    served = Scene("beach", "sand", "noon", "floor", None, ("ice",))
    elsewhere = Scene("later", "sand", "noon", "floor", None, ("ice",))
    beside = Scene("beach", "sand", "noon", "floor", None, ("later",))
    assert world.matching(product, served)
    assert not world.matching(product, elsewhere)
    assert not world.matching(product, beside)
    assert not unseen.unseen(elsewhere)
    for changed, slot, value in ((elsewhere, "setting", "beach"), (beside, "prop", "ice")):
        lost = truth.slot_effect(product, slot, value)
        assert lost > 0.1
        assert truth.scene_effect(product, changed) == pytest.approx(truth.scene_effect(product, served) - lost)
        assert len(truth.segment_log_ctrs(product, changed)) == len(SEGMENTS)
