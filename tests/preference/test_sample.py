from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickscape.catalog.cutout import open_cutout
from clickscape.errors import PreferenceError
from clickscape.gates import GateResult
from clickscape.gates.relevance import verdict
from clickscape.preference.sample import Candidate, PreferencePair, choose_pairs, image_seeds, judge, sample_candidates
from clickscape.render import load
from clickscape.render.studio.parse import parse
from clickscape.reward.model import build as build_reward
from clickscape.types import Product
from clickscape.vlm.generate import Writer
from clickscape.vlm.model import VisionLanguageModel

Build = Callable[..., VisionLanguageModel]


class Brightness:
    """A reward that can be checked by eye: the mean lightness of the picture."""

    def score(self, products: Sequence[Product], images: Sequence[np.ndarray], _scenes: object = None, /) -> np.ndarray:
        return np.array([image.mean() / 25 for image in images])


class Broken:
    def score(self, products: Sequence[Product], images: Sequence[np.ndarray], _scenes: object = None, /) -> np.ndarray:
        return np.full(len(images), np.nan)


def candidates(*rows: tuple[str, bool, float]) -> list[Candidate]:
    return [Candidate("p", text, number, "{}", *rest) for number, (text, *rest) in enumerate(rows)]


def texts_of(pairs: Sequence[PreferencePair]) -> list[str]:
    return [pair.chosen + pair.rejected for pair in pairs]


def test_the_best_wins_over_the_worst() -> None:
    own = candidates(("a", True, 0.3), ("b", True, 1.5), ("c", True, -0.25))
    assert choose_pairs([own], min_margin=0.1) == [PreferencePair("p", "b", "c", 1.75)]


@pytest.mark.parametrize(
    "rows",
    [
        [("a", True, 1.0), ("b", True, 1.0)],  # a tie
        [("a", True, 1.0), ("a", True, 3.0)],  # the same words, drawn twice
        [("a", True, 1.0), ("b", True, 1.05)],  # too close
        [("a", False, 1.0), ("b", False, 3.0)],  # nothing that parsed
    ],
)
def test_what_makes_no_pair(rows: list[tuple[str, bool, float]]) -> None:
    assert choose_pairs([candidates(*rows)], min_margin=0.1) == []


def test_a_tie_makes_no_pair_without_a_least_margin_either() -> None:
    assert choose_pairs([candidates(("a", True, 1.0), ("b", True, 1.0))], min_margin=0.0) == []


def test_a_description_that_did_not_parse_can_lose_but_never_win() -> None:
    own = candidates(("a", False, 9.0), ("b", True, 0.5), ("c", True, 0.4))
    assert choose_pairs([own], min_margin=0.1) == [PreferencePair("p", "b", "a", None)]


def test_several_pairs_go_from_both_ends_of_the_ranking_inwards() -> None:
    own = candidates(("a", True, 1.0), ("b", True, 5.0), ("c", True, 3.0), ("d", True, 2.95), ("e", False, 9.0))
    # ranked: b 5, c 3, d 2.95, a 1, e (not parsed)
    assert choose_pairs([own], min_margin=0.1, per_product=2) == [
        PreferencePair("p", "b", "e", None),
        PreferencePair("p", "c", "a", 2.0),
    ]
    assert texts_of(choose_pairs([own], min_margin=0.1, per_product=9)) == ["be", "ca"]  # the middle one has no peer
    assert texts_of(choose_pairs([own], min_margin=2.5, per_product=2)) == ["be"]
    twice = candidates(("a", True, 1.0), ("a", True, 1.1), ("b", True, 3.0), ("b", True, 3.1))
    assert texts_of(choose_pairs([twice], min_margin=0.1, per_product=2)) == ["ba"]


def test_losers_that_did_not_parse_are_limited_where_the_least_is_lost() -> None:
    def own(unparsed: bool, gap: float) -> list[Candidate]:
        return candidates(("x", not unparsed, -9.0), ("a", True, 0.0), ("b", True, gap))

    judged = [own(True, 1.0), own(True, 3.0), own(True, 0.05), own(False, 1.0)]
    limited = {
        share: texts_of(choose_pairs(judged, min_margin=0.1, unparsed_share=share)) for share in (1, 0.7, 0.5, 0.3, 0)
    }
    assert limited == {
        1: ["bx", "bx", "bx", "bx"],  # three of four: without a limit
        0.7: ["bx", "ba", "bx", "bx"],  # the second product has the best pair to offer instead
        0.5: ["bx", "ba", "bx", "bx"],  # two of four are allowed
        0.3: ["ba", "ba", "bx", "bx"],
        0: ["ba", "ba", "bx"],  # the third product's parsed two lie too close
    }


def test_the_probability_of_a_pair_is_the_reward_model_s() -> None:
    assert PreferencePair("p", "a", "b", 0.0).probability == 0.5
    assert PreferencePair("p", "a", "b", 2.0).probability == pytest.approx(0.880797)
    assert PreferencePair("p", "a", "b", None).probability == 1.0


scored = st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.floats(-5, 5)), min_size=2, max_size=8)


@given(rows=scored, least=st.floats(0, 2), count=st.integers(1, 4), share=st.sampled_from([0.0, 0.4, 1.0]))
def test_pairs_are_always_worth_learning(
    rows: list[tuple[str, bool, float]], least: float, count: int, share: float
) -> None:
    pairs = choose_pairs([candidates(*rows)] * 3, min_margin=least, per_product=count, unparsed_share=share)
    parsed = {text for text, known, _ in rows if known}
    assert len(pairs) <= 3 * count
    assert sum(pair.margin is None for pair in pairs) <= share * len(pairs)
    for pair in pairs:
        assert pair.chosen in parsed
        assert pair.chosen != pair.rejected
        if pair.margin is None:
            assert any(text == pair.rejected and not known for text, known, _ in rows)
        else:
            assert pair.margin >= least
            assert pair.margin > 0


@given(rows=scored, least=st.floats(0, 2))
def test_one_pair_per_product_is_the_best_over_the_worst(rows: list[tuple[str, bool, float]], least: float) -> None:
    own = candidates(*rows)
    rank = lambda one: (one.parsed, one.score)  # noqa: E731
    best, worst = max(own, key=rank), min(own, key=rank)
    for pair in choose_pairs([own], min_margin=least):
        assert (pair.chosen, pair.rejected) == (best.text, worst.text)


def test_a_pair_needs_two_descriptions() -> None:
    with pytest.raises(ValueError, match="two different"):
        PreferencePair("p", "a", "a", 1.0)


@given(count=st.integers(0, 200), seed=st.integers(0, 99))
def test_every_image_has_its_own_seed(count: int, seed: int) -> None:
    seeds = image_seeds(count, rng=np.random.default_rng(seed))
    assert len(set(seeds)) == count
    assert all(0 <= one < 2**31 for one in seeds)


def test_candidates_are_drawn_with_their_own_seeds_and_scored_by_a_real_reward_model(
    build: Build, shelf: list[Product], texts: list[str]
) -> None:
    renderer, reward = load("studio"), build_reward(build(3), seed=1)
    asked = [texts[:3], [texts[0], "window light", "glorp, oak table, soft light, kitchen"]]
    rng = np.random.default_rng(5)
    judged = judge(shelf[:2], asked, reward=reward, renderer=renderer, render_size=64, rng=rng)
    flat = [candidate for own in judged for candidate in own]
    assert [[candidate.text for candidate in own] for own in judged] == asked
    assert [candidate.product_id for candidate in flat] == [shelf[0].product_id] * 3 + [shelf[1].product_id] * 3
    assert len({candidate.seed for candidate in flat}) == 6
    # too little said, or a word that means nothing: the picture is not what the words say
    assert [candidate.parsed for candidate in flat] == [True, True, True, True, False, False]
    assert flat[1].scene == parse(texts[1]).scene.to_json()
    for candidate, product in zip(flat, [shelf[0]] * 3 + [shelf[1]] * 3, strict=True):
        image = renderer.render(product, candidate.text, size=(64, 64), seed=candidate.seed).image
        assert reward.score([product], [image])[0] == pytest.approx(candidate.score, abs=1e-4)


def test_a_reward_that_is_not_a_number_is_refused(shelf: list[Product], texts: list[str]) -> None:
    with pytest.raises(PreferenceError, match="2 of them not a number"):
        judge(
            shelf[:1],
            [texts[:2]],
            reward=Broken(),
            renderer=load("studio"),
            render_size=64,
            rng=np.random.default_rng(0),
        )


def test_sampling_is_reproducible_and_what_the_limit_cut_never_wins(
    taught: Callable[[], VisionLanguageModel], shelf: list[Product], texts: list[str]
) -> None:
    writer, renderer = Writer(taught()), load("studio")

    def draw(seed: int, limit: int) -> list[list[Candidate]]:
        some = sample_candidates(
            writer,
            shelf,
            reward=Brightness(),
            renderer=renderer,
            candidates=3,
            temperature=1.0,
            max_new_tokens=limit,
            render_size=64,
            pictures=lambda product: np.full((32, 32, 3), open_cutout(product.image).mean(), np.uint8),
            rng=np.random.default_rng(seed),
        )
        return [own for part in some for own in part]

    first = draw(0, 48)
    assert first == draw(0, 48)
    assert first != draw(1, 48)
    assert [own[0].product_id for own in first] == [product.product_id for product in shelf]
    assert {len(own) for own in first} == {3}
    assert np.mean([candidate.parsed for own in first for candidate in own]) > 0.5
    shortest = min(len(writer.vlm.tokenizer(text, add_special_tokens=False).input_ids) for text in texts)
    assert not any(candidate.parsed for own in draw(0, shortest - 2) for candidate in own)


class Refusing:
    """A gate that finds every description irrelevant that names `word`."""

    def __init__(self, word: str) -> None:
        self.word = word

    def judge(self, products: Sequence[Product], descriptions: Sequence[str]) -> list[GateResult]:
        return [verdict(-1.0 if self.word in text else 1.0, limit=0.0) for text in descriptions]


def test_what_is_irrelevant_can_lose_but_never_win(shelf: list[Product]) -> None:
    """The brightest scene wins until the gate refuses it; then it is what the winner is preferred over."""
    texts = [["white marble podium, soft light, pink wall, eucalyptus", "black marble blocks, spotlight, charcoal wall",
              "slate slab, neon light, teal wall, ice"]]  # fmt: skip
    told = {"reward": Brightness(), "renderer": load("studio"), "render_size": 64}
    free = judge(shelf[:1], texts, rng=np.random.default_rng(0), **told)
    gated = judge(shelf[:1], texts, rng=np.random.default_rng(0), relevance=Refusing("pink"), **told)
    assert [one.score for one in gated[0]] == [one.score for one in free[0]]
    assert [one.relevant for one in gated[0]] == [False, True, True]
    assert all(one.parsed for one in gated[0])
    (before,), (after,) = (choose_pairs(own, min_margin=0.0) for own in (free, gated))
    assert before.chosen == texts[0][0]
    assert (after.rejected, after.margin) == (texts[0][0], None)
