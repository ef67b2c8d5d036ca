"""Start and end of an optimization on held-out products: what is equal is no change, what is garbled is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tests.factory import Brightness, noise_picture

from clickscape.generation.pipeline import AdPipeline
from clickscape.preference.outcome import DESCRIPTIONS, LEAST_GROUPS, Change, Outcome, outcome
from clickscape.render import load
from clickscape.types import Estimate, Product
from clickscape.vlm.generate import Writer
from clickscape.vlm.model import VisionLanguageModel

Compare = Callable[[VisionLanguageModel], Outcome]


@pytest.fixture
def compare(taught: Callable[[], VisionLanguageModel], shelf: list[Product]) -> Compare:
    """The taught model against another on a shelf whose every product is a group of its own."""

    return lambda after: compared(taught(), after, shelf)


def compared(before: VisionLanguageModel, after: VisionLanguageModel, shelf: list[Product]) -> Outcome:
    return outcome(
        Writer(before),
        Writer(after),
        shelf,
        pipeline=AdPipeline(load("studio"), Brightness(), noise_picture),
        groups={product.product_id: product.product_id for product in shelf},
        temperature=1.0,
        max_new_tokens=40,
        size=64,
        seed=3,
    )


def test_a_model_against_itself_changes_nothing(
    build: Callable[..., VisionLanguageModel], shelf: list[Product]
) -> None:
    held_out = compared(build(0), build(0), shelf)
    assert not held_out.worse
    assert all(change.before == change.after for change in held_out.changes)
    assert held_out.before == held_out.after
    assert len(held_out.before) == DESCRIPTIONS * len(held_out.products)


@pytest.mark.slow
def test_a_model_that_writes_nonsense_is_worse(compare: Compare, taught: Callable[[], VisionLanguageModel]) -> None:
    garbled = taught()
    with torch.no_grad():
        for weight in garbled.core.model.language_model.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    held_out = compare(garbled)
    assert held_out.groups >= LEAST_GROUPS
    assert "parsed" in [change.name for change in held_out.worse]
    few = replace(held_out, groups=LEAST_GROUPS - 1)
    assert not few.worse


@pytest.mark.parametrize(
    ("low", "high", "allowed", "worse"),
    [(-0.3, -0.1, 0.0, True), (-0.3, 0.01, 0.0, False), (-0.3, -0.1, 0.2, False), (0.1, 0.3, 0.0, False)],
)
def test_only_a_fall_beyond_what_is_allowed_is_sure(low: float, high: float, allowed: float, worse: bool) -> None:
    change = Change("parsed", 0.9, 0.7, Estimate((low + high) / 2, low, high), ".0%", allowed)
    assert change.is_worse == worse


def test_a_change_is_written_with_its_interval() -> None:
    change = Change("parsed", 0.9, 0.95, Estimate(0.05, 0.02, 0.08), ".0%")
    assert str(change) == "parsed 90% → 95% (+2% to +8%)"
