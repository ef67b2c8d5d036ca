"""A description falls into phrases: none is lost, none is torn, and what is left out is what goes missing."""

from __future__ import annotations

import numpy as np
import pytest

from clickscape.catalog import sample
from clickscape.render.language.parse import parse
from clickscape.render.language.phrases import phrases
from clickscape.simulator import writer

CASES = {
    "pale marble podium, leaf shadows; blurred kitchen.": [
        ("pale marble podium", {"surface", "stand"}, "leaf shadows, blurred kitchen"),
        ("leaf shadows", {"light"}, "pale marble podium, blurred kitchen"),
        ("blurred kitchen", {"setting"}, "pale marble podium, leaf shadows"),
    ],
    "a podium in a kitchen with window light": [
        ("a podium", {"stand"}, "in a kitchen with window light"),
        ("a kitchen", {"setting"}, "a podium with window light"),
        ("window light", {"light"}, "a podium in a kitchen"),
    ],
    "city at night, black and gold marble": [
        ("city at night", {"setting"}, "black and gold marble"),
        ("black and gold marble", {"surface"}, "city at night"),
    ],
    "elegant, lemons and berries": [
        ("elegant", set(), "lemons and berries"),
        ("lemons", {"prop"}, "elegant, and berries"),
        ("berries", {"prop"}, "elegant, lemons"),
    ],
    "studio": [("studio", {"setting"}, "")],
    " , ; ": [],
}


@pytest.mark.parametrize("description", CASES)
def test_every_phrase_comes_with_the_description_without_it(description: str) -> None:
    assert [(one.text, set(one.slots), one.without) for one in phrases(description)] == CASES[description]


def test_together_the_phrases_name_what_the_description_names() -> None:
    """Of 200 sentences of the copywriter: the same slots, and without a phrase no slot that it alone names."""
    rng = np.random.default_rng(2)
    for product in rng.choice(np.array(sample.products(), dtype=object), 200):
        description, _ = writer.write(product, rng)
        found = phrases(description)
        assert frozenset().union(*(one.slots for one in found)) == parse(description).named, description
        for one in found:
            others = frozenset().union(*(other.slots for other in found if other is not one))
            assert parse(one.without).named == others, (description, one)
