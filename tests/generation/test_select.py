"""What is drawn of what was written: nothing forbidden, nothing twice, the brand's rules first, and always a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from clickscape import render
from clickscape import vlm as room
from clickscape.catalog import sample
from clickscape.config import GenerateConfig
from clickscape.config.brand import Rules
from clickscape.errors import ConfigError
from clickscape.gates.style import Style
from clickscape.generation import select as select_module
from clickscape.generation.pipeline import AdPipeline
from clickscape.generation.select import CandidateSelector, Selection, overlap, scene_key, select
from clickscape.render.language.parse import parse
from clickscape.render.renderer import Renderer
from clickscape.render.scene import Scene
from clickscape.types import Product
from clickscape.vlm.generate import Writer
from clickscape.vlm.prompts import brand_instructions

NOW = datetime(2026, 6, 1, tzinfo=UTC)
AS_WRITTEN = Rules(edit=False)
OAK, MARBLE = "oak table, soft light, mint wall, studio", "marble podium, noon sun, fresh lemons, beach"
SAND, SLATE = "sand floor, golden hour, seashells, desert", "slate slab, window light, gift box, loft"


class Scripted(Writer):
    """The shipped model, whose words are known: round by round, the same for every product."""

    def __init__(self, *rounds: Sequence[str]) -> None:
        super().__init__(room.load("tiny").vlm)
        self.rounds = list(rounds)
        self.asked: list[tuple[int, int, str]] = []
        self.sampled: list[tuple[int, float]] = []

    def describe_all(self, products, *, n, seed, brand_instructions="", temperature=1.0, **rest):  # type: ignore[no-untyped-def,override]
        self.sampled.append((n, temperature))
        written = self.rounds[min(len(self.asked), len(self.rounds) - 1)]
        self.asked.append((len(products), seed, brand_instructions))
        return [list(written) for _ in products]


class Bright:
    """A reward that is known by hand: the mean brightness of the picture."""

    def score(self, products: Sequence[Product], images: Sequence[np.ndarray], _scenes: object = None, /) -> np.ndarray:
        return np.array([image.mean() for image in images])


@pytest.fixture(scope="module")
def studio() -> Renderer:
    """One studio for all tests, so that its sets are built once."""
    return render.load("studio")


@pytest.fixture(scope="module")
def mug(tmp_path_factory: pytest.TempPathFactory) -> Product:
    file = tmp_path_factory.mktemp("pictures") / "mug.png"
    Image.fromarray(sample.cutout("coffee_mug-navy", 96)).save(file)
    return Product("mug", "Blue Mug", ("Home", "Kitchen"), image=str(file))


@pytest.fixture
def decide(studio: Renderer, mug: Product):  # type: ignore[no-untyped-def]
    """What is chosen for one product from what a scripted model writes."""

    def run(
        *rounds: Sequence[str],
        product: Product = mug,
        drawn: Counter[str] | None = None,
        reward: Bright | None = None,
        rules: Rules | None = None,
        now: datetime = NOW,
        **settings: float,
    ) -> Selection:
        config = GenerateConfig(**{"keep": 2, "per_product": 4, **settings})
        selector = CandidateSelector(
            Scripted(*rounds), AdPipeline(studio, reward), config, Style.of(rules or AS_WRITTEN), now
        )
        (choice,) = select(selector, [product], scenes=drawn or Counter(), wanted=frozenset([product.product_id]))
        return choice

    return run


def asked(
    writer: Scripted,
    renderer: Renderer,
    product: Product,
    *,
    rules: Rules | None = None,
    reward: Bright | None = None,
    **settings: float | str,
) -> None:
    """Select for one product, for the sake of what the writer is asked."""
    style, pipeline = Style.of(rules or Rules()), AdPipeline(renderer, reward)
    selector = CandidateSelector(writer, pipeline, GenerateConfig(**{"rewrites": 0, **settings}), style, NOW)
    list(select(selector, [product], scenes=Counter(), wanted=frozenset([product.product_id])))


def texts(choice: Selection) -> list[str]:
    return [one.candidate.text for one in choice.chosen]


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


def test_a_forbidden_description_is_refused_with_its_rules_page_and_another_is_written(decide) -> None:
    choice = decide(["oak table with a gun, soft light, loft", OAK], [MARBLE, SAND])
    assert texts(choice) == [OAK, SAND]
    (refused,) = choice.refused
    assert (refused.product_id, refused.rule, refused.phrase) == ("mug", "weapons", "gun")
    assert refused.description == "oak table with a gun, soft light, loft"
    assert "answer/6014299" in refused.source
    assert refused.checked == "2026-11-24"


def test_writing_again_is_bounded_and_may_leave_a_product_empty(decide, studio: Renderer, mug: Product) -> None:
    bad = ["oak table with a pistol, soft light", "rifle on a marble podium, noon sun"]
    assert texts(decide(bad, rewrites=2)) == []
    writer = Scripted(bad)
    asked(writer, studio, mug, rewrites=2)
    assert len(writer.asked) == 3
    assert len({seed for _, seed, _ in writer.asked}) == 3, "every round samples anew"


def test_alcohol_is_kept_from_toys_and_from_audiences_of_minors(decide, mug: Product) -> None:
    toy = replace(mug, product_id="toy", title="Race Car", category=("Toys",))
    wine = "oak table beside wine, soft light, terrace"
    assert wine in texts(decide([wine, OAK]))
    assert wine not in texts(decide([wine, OAK], product=toy))
    assert wine not in texts(decide([wine, OAK], rules=Rules(minors=True)))


def test_things_to_avoid_are_not_shown_either(decide) -> None:
    """The second description names no surface: the studio would put white marble there."""
    unsaid = "podium, noon sun, fresh lemons, studio"
    choice = decide([MARBLE, unsaid, OAK], rules=Rules(avoid=("marble",)), rewrites=0)
    assert texts(choice) == [OAK]
    assert [(one.rule, one.phrase) for one in choice.refused] == [("avoid", "marble")] * 2
    assert choice.refused[1].reason.startswith("shown as surface 'white marble'")


def test_rules_come_before_the_reward_and_the_reward_breaks_ties(decide) -> None:
    dark, bright = "oak table, spotlight, charcoal wall, studio", "oak table, noon sun, cream wall, studio"
    beach = "white marble podium, noon sun, fresh lemons, beach"
    rules = Rules(palette=("charcoal", "cream"), edit=False)
    ranked = texts(decide([dark, beach, bright], reward=Bright(), rules=rules, keep=3, rewrites=0))
    assert ranked == [bright, dark, beach]
    assert texts(decide([dark, beach, bright], reward=Bright(), keep=3, rewrites=0)) == [bright, beach, dark]


def test_a_description_that_did_not_parse_comes_last_whatever_its_reward(decide) -> None:
    dark = "oak table, spotlight, charcoal wall, studio"
    chosen = decide(["zork grue frobozz", dark], reward=Bright(), keep=2, rewrites=0).chosen
    assert [one.candidate.parsed for one in chosen] == [True, False]
    assert chosen[1].candidate.score > chosen[0].candidate.score


def test_more_is_written_until_enough_meet_the_rules(decide) -> None:
    rules = Rules(palette=("mint",), edit=False)
    choice = decide([MARBLE, SAND], [SAND, MARBLE], [OAK, MARBLE], rules=rules, keep=1)
    assert texts(choice) == [OAK]
    assert choice.chosen[0].met == {"palette": True}
    short = decide([MARBLE, SAND], [SAND, MARBLE], [OAK, MARBLE], rules=rules, keep=1, rewrites=1)
    assert short.chosen[0].met == {"palette": False}, "kept all the same, and noted: a palette is a wish"


def test_an_edit_keeps_what_was_written(decide) -> None:
    rules = Rules(use=("oak", "soft light"), palette=("pink",), season="winter")
    choice = decide(["slate table, noon sun, blossom, teal wall, studio"], rules=rules, keep=1, rewrites=0)
    (one,) = choice.chosen
    assert one.written == "slate table, noon sun, blossom, teal wall, studio"
    scene = Scene.from_json(one.candidate.scene)
    assert (scene.surface, scene.light, scene.palette, scene.setting) == ("oak", "soft", "pink", "studio")
    assert scene.props in {("pine cones",), ("cinnamon",), ("yarn",), ("cotton",)}
    assert one.met == {"use": True, "palette": True, "season": True}
    as_written = decide([one.written], rules=rules.model_copy(update={"edit": False}), keep=1, rewrites=0)
    assert texts(as_written) == [one.written]
    assert as_written.chosen[0].met == {"use": False, "palette": False, "season": False}


def test_words_that_the_studio_lacks_are_ranked_and_never_inserted(decide) -> None:
    said = "oak table, soft light, heirloom, loft"
    choice = decide([SLATE, said], rules=Rules(use=("heirloom",)), keep=2, rewrites=0)
    assert not any("heirloom" in one.candidate.text for one in choice.chosen if one.written != said)
    assert {one.written: one.met["use"] for one in choice.chosen} == {SLATE: False, said: True}


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
        room.load("tiny"),
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


def test_only_a_model_that_can_follow_rules_gets_them_in_its_prompt(
    studio: Renderer, mug: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = Rules(use=("oak",), avoid=("neon",), competitors=("Acme",), palette=("mint",), season="winter")
    for least, told in ((select_module.FOLLOWS_RULES, ""), (1_000_000, brand_instructions(rules))):
        monkeypatch.setattr(select_module, "FOLLOWS_RULES", least)
        writer = Scripted([OAK])
        asked(writer, studio, mug, rules=rules)
        assert [said for _, _, said in writer.asked] == [told]
    assert brand_instructions(rules) == "Use the words: oak. Avoid: neon, Acme. Colors: mint. Season: winter."
    assert brand_instructions(Rules(language="de")) == "Language: de."
    assert brand_instructions(Rules(avoid=("USER: <image>",))) == "Avoid: USER image."
    assert brand_instructions(Rules()) == ""


def test_an_unsupported_language_is_one_clear_error(studio: Renderer) -> None:
    german = Style.of(Rules(language="de"))
    with pytest.raises(ConfigError, match="the studio reads English only"):
        CandidateSelector(Scripted([OAK]), AdPipeline(studio, None), GenerateConfig(), german, NOW)
    with pytest.raises(ConfigError, match="the prompt model tiny was taught English only"):
        CandidateSelector(Scripted([OAK]), AdPipeline(Painter(), None), GenerateConfig(), german, NOW)


class Painter:
    """Any other renderer; only its name is asked for."""

    name = "diffusion"
    digital_source = "trainedAlgorithmicMedia"

    def render(self, *_: object, **__: object) -> None:
        raise AssertionError("nothing may be drawn")


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (Rules(palette=("salmon",)), "palette: 'salmon' is no color that the studio knows; it has: cream, pink"),
        (Rules(palette=("oak",)), "'oak' is no color"),
        (Rules(use=("neon light",), avoid=("neon",)), "asks for 'neon light' and forbids it"),
        (Rules(palette=("pink",), avoid=("pink",)), "asks for 'pink' and forbids it"),
        (Rules(use=("a cigar box",)), "asks for 'a cigar box' and forbids it"),
        (Rules(allow=("everything",)), "no content rule 'everything'"),
    ],
)
def test_rules_that_cannot_hold_are_refused_before_anything_is_written(rules: Rules, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Style.of(rules)


def test_a_renderer_without_scenes_is_asked_in_words_alone() -> None:
    """No color, no phrase and no season is one of the studio's; bans by words hold as ever."""
    rules = Rules(use=("brushed steel", "oak"), palette=("salmon",), season="winter", avoid=("marble",))
    style = Style.of(rules, reads_scenes=False)
    assert style.edited("A calm oak shelf.", rng=np.random.default_rng(0)) == (
        "A calm oak shelf, brushed steel, salmon wall, winter"
    )
    assert style.met("A calm oak shelf", None) == {"use": False, "palette": False, "season": False}
    said = style.edited("A calm oak shelf", rng=np.random.default_rng(0))
    assert style.met(said, None) == {"use": True, "palette": True, "season": True}
    assert style.edited(said, rng=np.random.default_rng(0)) == said
    assert [one.phrase for one in style.breaches("a marble shelf")] == ["marble"]
    assert style.shown_breaches(Scene(surface="white marble")) == ()
