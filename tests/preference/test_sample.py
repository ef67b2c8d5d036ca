from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.factory import Brightness

from clickscape.catalog.cutout import open_cutout
from clickscape.config import RewardConfig
from clickscape.errors import PreferenceError
from clickscape.gates import GateResult
from clickscape.gates.relevance import check_contrast
from clickscape.generation.pipeline import AdPipeline
from clickscape.generation.sample import Candidate, sample_candidates, score_candidates
from clickscape.generation.score import image_seeds
from clickscape.preference.pairs import choose_pairs
from clickscape.render import load
from clickscape.render.language.parse import parse
from clickscape.reward import effects_model, training
from clickscape.reward.data import RewardData
from clickscape.types import Product
from clickscape.vlm.generate import Writer
from clickscape.vlm.model import VisionLanguageModel

pytestmark = pytest.mark.slow  # one preparation of seconds serves the whole module

Build = Callable[..., VisionLanguageModel]


class Broken:
    def score(self, products: Sequence[Product], images: Sequence[np.ndarray], _scenes: object = None, /) -> np.ndarray:
        return np.full(len(images), np.nan)


@given(count=st.integers(0, 200), seed=st.integers(0, 99))
def test_every_image_has_its_own_seed(count: int, seed: int) -> None:
    seeds = image_seeds(count, rng=np.random.default_rng(seed))
    assert len(set(seeds)) == count
    assert all(0 <= one < 2**31 for one in seeds)


def _reward(backbone: VisionLanguageModel) -> effects_model.EffectsModel:
    """A reward model that learned something from pictures of noise."""
    rng = np.random.default_rng(1)
    names = [f"p{number // 4}" for number in range(24)]
    data = RewardData(
        products={name: Product(name, "a thing") for name in names},
        creative_ids=[str(number) for number in range(24)],
        product_of=names,
        images=list(rng.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)),
        pairs=[],
        clicks=rng.poisson(np.exp(rng.normal(4, 0.5, 24))).astype(float),
        examinations=np.full(24, 4_000.0),
    )
    return training.run(effects_model.train(backbone, data, config=RewardConfig(), slots={}))


def test_candidates_are_drawn_with_their_own_seeds_and_scored_by_a_real_reward_model(
    build: Build, shelf: list[Product], texts: list[str]
) -> None:
    renderer, reward = load("studio"), _reward(build(3))
    asked = [texts[:3], [texts[0], "window light", "glorp, oak table, soft light, kitchen"]]
    rng = np.random.default_rng(5)
    judged = score_candidates(shelf[:2], asked, pipeline=AdPipeline(renderer, reward), render_size=64, rng=rng)
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
        score_candidates(
            shelf[:1],
            [texts[:2]],
            pipeline=AdPipeline(load("studio"), Broken()),
            render_size=64,
            rng=np.random.default_rng(0),
        )


def test_sampling_is_reproducible_and_truncated_descriptions_never_win(
    taught: Callable[[], VisionLanguageModel], shelf: list[Product], texts: list[str]
) -> None:
    writer = Writer(taught())
    images = lambda product: np.full((32, 32, 3), open_cutout(product.image).mean(), np.uint8)  # noqa: E731
    pipeline = AdPipeline(load("studio"), Brightness(), images)

    def draw(seed: int, limit: int) -> list[list[Candidate]]:
        some = sample_candidates(
            writer,
            shelf,
            pipeline=pipeline,
            candidates=3,
            temperature=1.0,
            max_new_tokens=limit,
            render_size=64,
            rng=np.random.default_rng(seed),
        )
        return [own for part in some for own in part]

    first = draw(0, 48)
    assert first == draw(0, 48)
    assert first != draw(1, 48)
    assert [own[0].product_id for own in first] == [product.product_id for product in shelf]
    assert {len(own) for own in first} == {3}
    assert np.mean([candidate.parsed for own in first for candidate in own]) > 0.5
    lengths = [len(writer.vlm.tokenizer(text, add_special_tokens=False).input_ids) for text in texts]
    limit = min(lengths) - 2
    cut = [
        candidate
        for own in draw(0, limit)
        for candidate in own
        if len(writer.vlm.tokenizer(candidate.text, add_special_tokens=False).input_ids) >= limit
    ]
    assert len(cut) > len(first)
    assert not any(candidate.parsed for candidate in cut)


class Refusing:
    """A gate that finds every description irrelevant that names `word`."""

    def __init__(self, word: str) -> None:
        self.word = word

    def check(self, products: Sequence[Product], descriptions: Sequence[str]) -> list[GateResult]:
        return [check_contrast(-1.0 if self.word in text else 1.0, limit=0.0) for text in descriptions]


def test_an_irrelevant_description_can_lose_but_never_win(shelf: list[Product]) -> None:
    """The brightest scene wins until the gate refuses it; then it is what the winner is preferred over."""
    texts = [["white marble podium, soft light, pink wall, eucalyptus", "black marble blocks, spotlight, charcoal wall",
              "slate slab, neon light, teal wall, ice"]]  # fmt: skip
    pipeline = AdPipeline(load("studio"), Brightness())
    free, gated = (
        score_candidates(shelf[:1], texts, pipeline=one, render_size=64, rng=np.random.default_rng(0))
        for one in (pipeline, replace(pipeline, relevance=Refusing("pink")))
    )
    assert [one.score for one in gated[0]] == [one.score for one in free[0]]
    assert [one.relevant for one in gated[0]] == [False, True, True]
    assert all(one.parsed for one in gated[0])
    (before,), (after,) = (choose_pairs(each, min_margin=0.0) for each in (free, gated))
    assert before.chosen == texts[0][0]
    assert (after.rejected, after.margin) == (texts[0][0], None)
