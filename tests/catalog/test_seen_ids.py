"""What was seen before: a dictionary in seventeen bytes a text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickscape.catalog import seen_ids
from clickscape.catalog.seen_ids import SeenIds


@given(st.lists(st.integers(0, 60)), st.integers(1, 20))
@settings(max_examples=100)
def test_seen_ids_behave_like_a_dictionary(values: list[int], recent: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen_ids, "_RECENT", recent)  # so that a short list goes through many merges
        known: dict[int, int] = {}
        compact = SeenIds()
        for number, value in enumerate(values):
            assert compact.find(str(value)) == known.get(value)
            assert compact.add(str(value), number) == known.get(value)
            known.setdefault(value, number)


def test_a_hundred_thousand_texts_are_all_found_again() -> None:
    compact = SeenIds()
    assert all(compact.add(f"SKU-{number}", number) is None for number in range(100_000))
    assert [compact.find(f"SKU-{number}") for number in range(0, 100_000, 997)] == list(range(0, 100_000, 997))
    assert compact.find("SKU-100000") is None
