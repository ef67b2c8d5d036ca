"""What is chosen under rules: those of content pages, those of the brand, and why each that was refused was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.generation.conftest import MARBLE, NOW, OAK, SAND, SLATE, Bright, Scripted, asked, texts

from clickscape.config import GenerateConfig
from clickscape.config.brand import Rules
from clickscape.errors import ConfigError
from clickscape.gates.style import Style
from clickscape.generation import select as select_module
from clickscape.generation.pipeline import AdPipeline
from clickscape.generation.select import CandidateSelector
from clickscape.render.renderer import Renderer
from clickscape.render.scene import Scene
from clickscape.types import Product
from clickscape.vlm.prompts import brand_instructions


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
