"""What is drawn of what was written: nothing forbidden, nothing twice, the brand's rules first, and always a reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from tests.factory import shipped
from tests.generation.conftest import AS_WRITTEN, MARBLE, NOW, OAK, SAND, Bright, Scripted, asked, texts

from clickscape.config import GenerateConfig
from clickscape.config.brand import Rules
from clickscape.gates.style import Style
from clickscape.generation.pipeline import AdPipeline
from clickscape.generation.select import CandidateSelector, overlap, scene_key, select
from clickscape.render.language.parse import parse
from clickscape.render.renderer import Renderer
from clickscape.render.scene import Scene
from clickscape.types import Product

PLAIN, CACTUS = "oak table, soft light, no props, living room", "oak table, window light, cactus, loft"
WORKSHOP, GIFT = "oak table, soft light, log, workshop", "oak table, soft light, gift box, desert"
BAUBLES = "oak table, soft light, baubles, living room"


def test_without_a_reward_model_what_promises_most_is_drawn(decide) -> None:
    """For a mug: a place at home, and no prop or one with a reason; four of five are scored."""
    choice = decide([GIFT, WORKSHOP, PLAIN, MARBLE, CACTUS], rewrites=0)
    assert set(texts(choice)) == {PLAIN, CACTUS}
    assert choice.chosen[0].promise > choice.chosen[1].promise


def test_what_does_not_suit_is_replaced_and_what_was_written_is_kept(decide) -> None:
    (one,) = decide([GIFT], rewrites=0, rules=Rules(), keep=1).chosen
    assert one.written == GIFT
    scene = Scene.from_json(one.candidate.scene)
    assert (scene.props, scene.surface) == ((), "oak")
    assert scene.setting != "desert"
    assert parse(one.candidate.text).scene == scene, "what is drawn is what is said"
    (one,) = decide([GIFT], rewrites=0, rules=Rules(), keep=1, reward=Bright()).chosen
    assert one.candidate.text == GIFT, "a reward model knows better"


def test_of_what_lies_only_surface_light_and_props_tell_scenes_apart(decide, mug: Product) -> None:
    same = ["oak table, soft light, nothing else, living room", "oak podium, soft light, uncluttered, terrace"]
    assert len(decide(same, rewrites=0).chosen) == 2
    lying = decide(same, rewrites=0, product=replace(mug, title="T-Shirt"))
    assert len(lying.chosen) == 1
    assert lying.refused[0].rule == "duplicate"


def test_the_spare_ones_are_the_next_best_without_duplicates(decide) -> None:
    choice = decide([GIFT, WORKSHOP, PLAIN, PLAIN, MARBLE, CACTUS], rewrites=0)
    ranked = [one.promise for one in (*choice.chosen, *choice.spare)]
    assert ranked == sorted(ranked, reverse=True)
    assert len({one.candidate.text for one in (*choice.chosen, *choice.spare)}) == 5


def test_with_a_reward_model_the_reward_decides(decide) -> None:
    beach = "white marble podium, noon sun, gift box, beach"
    dark = "black marble podium, spotlight, no props, living room"
    assert texts(decide([dark, beach], reward=Bright(), keep=1, rewrites=0)) == [beach]


def test_more_are_sampled_less_warm_where_no_reward_model_scores_them(studio: Renderer, mug: Product) -> None:
    for reward, temperature, expected in (
        (None, "auto", (12, 0.5)),
        (Bright(), "auto", (4, 0.7)),
        (None, 0.0, (12, 0.0)),
        (None, 0.9, (12, 0.9)),
        (Bright(), 0.9, (4, 0.9)),
    ):
        writer = Scripted([OAK, MARBLE])
        asked(writer, studio, mug, reward=reward, temperature=temperature)
        assert writer.sampled == [expected]


def test_what_is_out_of_season_comes_last_whoever_decides(decide, mug: Product) -> None:
    december = NOW.replace(month=12)
    for reward in (None, Bright()):
        ranked = [
            decide([BAUBLES, MARBLE, WORKSHOP], reward=reward, rewrites=0, keep=3, now=now) for now in (NOW, december)
        ]
        assert texts(ranked[0])[-1] == BAUBLES
        assert [one.in_season for one in ranked[0].chosen] == [True, True, False]
        assert all(one.in_season for one in ranked[1].chosen)
        asked = decide([BAUBLES, MARBLE], reward=reward, rewrites=0, product=replace(mug, title="Christmas Mug"))
        assert all(one.in_season for one in asked.chosen)


def test_the_shipped_model_is_shown_the_department_of_a_shops_category(studio: Renderer, mug: Product) -> None:
    class Reader(Scripted):
        def describe_all(self, products, **more):  # type: ignore[no-untyped-def,override]
            self.read = [product.category for product in products]
            return super().describe_all(products, **more)

    writer = Reader([OAK])
    asked(writer, studio, replace(mug, category=("Home & Garden", "Kitchen & Dining", "Drinkware")))
    assert writer.read == [("Home", "Kitchen & Dining", "Drinkware")]


def test_a_description_that_did_not_parse_comes_last_whatever_its_reward(decide) -> None:
    dark = "oak table, spotlight, charcoal wall, studio"
    chosen = decide(["zork grue frobozz", dark], reward=Bright(), keep=2, rewrites=0).chosen
    assert [one.candidate.parsed for one in chosen] == [True, False]
    assert chosen[1].candidate.score > chosen[0].candidate.score


def test_one_product_gets_no_scene_twice_and_no_near_equal_words(decide) -> None:
    same = "studio, mint wall, oak table, soft light"
    near = "oak table, soft light, mint wall, photo studio, calm airy quiet scene"
    choice = decide([OAK, same, near, MARBLE], rewrites=0)
    assert texts(choice) == [OAK, MARBLE]
    assert [one.rule for one in choice.refused] == ["duplicate"] * 2
    assert choice.refused[0].reason == f"shows the scene of {OAK!r}"
    worded = ["oak table, soft light, mint wall, studio, calm", "oak table, soft light, pink wall, studio, calm"]
    assert len(decide(worded, max_overlap=1, rewrites=0).chosen) == 2
    nearly = decide(worded, max_overlap=0.6, rewrites=0)
    assert texts(nearly) == worded[:1]
    assert nearly.refused[0].reason == f"says nearly what {worded[0]!r} says"
    assert overlap(*worded) == 7 / 9  # of oak table soft light mint pink wall studio calm


@pytest.mark.slow
def test_a_scene_recurs_in_a_catalog_as_often_as_the_setting_says(studio: Renderer, mug: Product) -> None:
    products = [replace(mug, product_id=f"mug-{number}") for number in range(4)]
    for limit in (0, 1, 2):
        config = GenerateConfig(keep=1, per_product=3, max_same_scene=limit)
        selector = CandidateSelector(
            Scripted([OAK, MARBLE, SAND]), AdPipeline(studio, None), config, Style.of(AS_WRITTEN), NOW
        )
        drawn: Counter[str] = Counter()
        found = []
        for choice in select(selector, products, scenes=drawn, wanted=frozenset(one.product_id for one in products)):
            drawn.update(scene_key(one.candidate.scene, one.candidate.text) for one in choice.chosen)
            found.append(choice.chosen[0].candidate.text if choice.chosen else None)
        counts = Counter(text for text in found if text is not None)
        if limit:
            assert found[:limit] == [OAK] * limit, "the best scene first"
            assert set(counts.values()) <= set(range(1, limit + 1))
            assert found.count(None) == max(0, len(products) - 3 * limit), "three scenes in all"
        else:
            assert found == [OAK] * 4
    assert choice.refused[0].reason == "shows a scene that 2 creatives of the catalog show already"


def test_of_two_scenes_that_promise_the_same_the_rarer_one_is_drawn(decide) -> None:
    first, second = "oak table, soft light, no props, living room", "walnut table, soft light, no props, living room"
    shown = scene_key(parse(first).scene.to_json(), first)
    for times, expected in ((0, first), (1, second)):
        assert texts(decide([first, second], rewrites=0, keep=1, drawn=Counter({shown: times}))) == [expected]


@pytest.mark.slow
def test_a_product_is_written_for_with_its_neighbors_whatever_is_left_to_do(studio: Renderer, mug: Product) -> None:
    """The shipped model's own words: asked for one product of nine, it writes what it writes for all."""
    products = [replace(mug, product_id=f"p-{number}", title=f"Blue Mug No. {number}") for number in range(9)]
    selector = CandidateSelector(
        shipped(),
        AdPipeline(studio, None),
        GenerateConfig(per_product=2, keep=1, rewrites=1),
        Style.of(Rules(use=("oak",))),
        NOW,
    )
    everything = frozenset(one.product_id for one in products)
    whole = {
        one.product.product_id: texts(one) for one in select(selector, products, scenes=Counter(), wanted=everything)
    }
    for name in ("p-3", "p-8"):
        (alone,) = select(selector, products, scenes=Counter(), wanted=frozenset([name]))
        assert texts(alone) == whole[name]
