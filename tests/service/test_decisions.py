"""Decision ids carry what was chosen and cannot be made up."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickscape.service.decisions import MOST_POSITIONS, Decision, hashed_user, sign, verify

KEY = bytes(range(32))
_HEX = st.binary(min_size=8, max_size=8).map(bytes.hex)
_DECISIONS = st.builds(
    Decision, st.integers(0, 2**64 - 1), _HEX, _HEX, st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1),
    st.booleans(), st.booleans(), st.none() | st.integers(1, MOST_POSITIONS),
)  # fmt: skip
ONE = Decision(7, "0" * 15 + "1", "a" * 16, 1_790_000_000, 2, holdback=True)


@given(_DECISIONS)
def test_what_is_signed_is_read_back(decision: Decision) -> None:
    text = sign(decision, KEY)
    assert verify(text, KEY) == decision
    assert len(text) <= 60
    assert set(text) <= set(string.ascii_letters + string.digits + "-_")


def test_every_changed_character_is_noticed() -> None:
    text = sign(ONE, KEY)
    for place, letter in enumerate(text):
        for other in "AZaz09-_":
            if other != letter:
                assert verify(text[:place] + other + text[place + 1 :], KEY) is None


def test_another_key_reads_nothing() -> None:
    assert verify(sign(ONE, KEY), KEY[::-1]) is None


@pytest.mark.parametrize("text", ["", "a", "=" * 58, "é" * 58, "a" * 58, "a" * 10_000, "\0" * 58, " " + "a" * 57])
def test_what_is_no_decision_is_none(text: str) -> None:
    assert verify(text, KEY) is None


def test_a_user_is_kept_only_as_a_keyed_hash() -> None:
    assert hashed_user("ann@example.com", KEY) == hashed_user("ann@example.com", KEY)
    assert hashed_user("ann@example.com", KEY) != hashed_user("ann@example.com", KEY[::-1])
    assert len(hashed_user("ann@example.com", KEY)) == 16


def test_the_name_in_tables_does_not_hold_the_user() -> None:
    assert ONE.user not in ONE.name
    assert ONE.name == f"{7:016x}"
