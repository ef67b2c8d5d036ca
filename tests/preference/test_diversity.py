"""Diversity by arithmetic: what repeats, what is all different, and one BLEU worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickscape.preference.diversity import diversity, self_bleu
from clickscape.render.language.parse import parse

MARBLE = "white marble podium, soft light, pink wall, eucalyptus"
OAK = "oak table, golden hour, in a kitchen, lemons"
SAND = "sand, noon sun, on a beach, palm leaves"


def test_self_bleu_worked_out_by_hand() -> None:
    """a b c d e against a b c d x y: precisions 4/5, 3/4, 2/3, 1/2, one word shorter; and the other way round."""
    short = math.exp(1 - 6 / 5) * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    long = (4 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert self_bleu(["a b c d e", "a b c d x y"]) == pytest.approx((short + long) / 2)


def test_counts_are_clipped_by_the_one_reference_that_has_most() -> None:
    """a a a b: the first text may count three a's of the second, not four; nothing longer than a bigram repeats."""
    first = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25  # a a a a b: a three times and b; aa twice and ab; aaa, aab; aaab
    second = math.exp(1 - 5 / 4) * (4 / 4 * 3 / 3 * 2 / 2 * 1 / 1) ** 0.25
    assert self_bleu(["a a a a b", "a a a b"]) == pytest.approx((first + second) / 2)


def test_self_bleu_is_one_for_equal_texts_and_near_zero_for_different_ones() -> None:
    assert self_bleu([MARBLE] * 3) == pytest.approx(1)
    assert self_bleu(["a b c d", "e f g h"]) == pytest.approx((0.1**4 / (4 * 3 * 2 * 1)) ** 0.25)


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=4, max_size=7), min_size=2, max_size=6))
def test_order_does_not_matter_and_a_repeated_text_counts_as_equal(texts: list[list[str]]) -> None:
    written = [" ".join(words) for words in texts]
    assert 0 < self_bleu(written) <= 1
    assert self_bleu(written) == pytest.approx(self_bleu(written[::-1]))
    assert self_bleu(written * 2) == pytest.approx(1)


@dataclass(frozen=True)
class Ad:
    """A description, and what a renderer drew of it."""

    text: str
    scene: str = ""
    slots: Mapping[str, str | None] | None = None


def drawn(*texts: str) -> list[Ad]:
    return [Ad(text, scene.to_json(), scene.slots) for text in texts for scene in [parse(text).scene]]


def test_departments_are_measured_apart_and_averaged() -> None:
    found = diversity(drawn(MARBLE, MARBLE, MARBLE, OAK), departments=["A", "A", "B", "B"])
    assert found.scenes == 1.5
    assert found.entropy["surface"] == pytest.approx(math.log(2) / 2)
    assert found.entropy["setting"] == pytest.approx(math.log(2) / 2)
    assert found.self_bleu == pytest.approx((1 + self_bleu([MARBLE, OAK])) / 2)
    assert diversity(drawn(MARBLE), departments=["A"]).self_bleu is None


def test_remaining_diversity_is_a_share_of_the_first_rounds() -> None:
    first = diversity(drawn(MARBLE, OAK, SAND, MARBLE), departments=["A"] * 4)
    left = diversity(drawn(MARBLE, OAK, MARBLE, MARBLE), departments=["A"] * 4).shares_of(first)
    assert left["distinct scenes"] == pytest.approx(2 / 3)
    assert all(0 < share < 1 for share in left.values())
    assert set(first.shares_of(first).values()) == {1.0}
    gone = diversity(drawn(MARBLE) * 4, departments=["A"] * 4)
    assert gone.shares_of(first)["scene entropy"] == 0
    assert set(gone.shares_of(gone)) == {"distinct scenes"}  # of what it never had, nothing can be left


def test_a_renderer_without_scenes_is_measured_by_the_words_alone() -> None:
    """Words that the studio would read as one scene are two pictures for another renderer."""
    found = diversity([Ad("oak table, zork"), Ad("oak table, grue")], departments=["A", "A"])
    assert (found.scenes, dict(found.entropy)) == (2, {})
    assert diversity(drawn("oak table, zork", "oak table, grue"), departments=["A", "A"]).scenes == 1
    assert "scene entropy" not in found.shares_of(found)
