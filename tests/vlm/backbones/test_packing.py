"""Answers that share a picture say in one row what they say alone, in every family that is packed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from clickscape.vlm import batch as batches
from clickscape.vlm.batch import Sample, collate
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.packing import PACKABLE, can_pack, packed_log_probs

from .conftest import FAMILIES

Opened = Callable[[str], VisionLanguageModel]

PACKED = [family for family in FAMILIES if family in PACKABLE]


def test_all_that_may_be_packed_is_tested() -> None:
    assert set(PACKED) == PACKABLE


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_answers_share_pictures_and_their_places(opened: Opened, family: str) -> None:
    vlm = opened(family)
    assert can_pack(vlm) == (family in PACKABLE)
    if not can_pack(vlm):
        return
    generator = np.random.default_rng(0)
    shared, other = (generator.integers(0, 256, (56, 28, 3), dtype=np.uint8) for _ in range(2))
    asked = [Sample("Say what you see.", (shared,)), Sample("Say it.", (other,)), Sample("Say more.", (shared,))]
    answers = [(0, "oak table"), (1, "sand"), (0, "oak floor, noon"), (2, "oak table")]
    packed, owners = packed_log_probs(vlm, asked, answers)
    samples = [Sample(asked[number].instruction, asked[number].images, text) for number, text in answers]
    alone, numbers = batches.token_log_probs(vlm, collate(vlm, samples, side="right", answers=True))
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)
    assert owners.tolist() == numbers.tolist()
