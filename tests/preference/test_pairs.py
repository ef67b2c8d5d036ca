from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickscape.generation.sample import Candidate
from clickscape.preference.pairs import PreferencePair, choose_pairs


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
def test_which_candidates_make_no_pair(rows: list[tuple[str, bool, float]]) -> None:
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


def test_unparsed_losers_are_limited_where_the_margin_loss_is_least() -> None:
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
def test_every_winner_parsed_and_unparsed_losers_stay_within_their_share(
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
