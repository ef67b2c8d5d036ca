"""Names of slots: the saved maps predict as the classifiers of the warm-up, also after the tokens were rescaled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scripts.warm_ups import DEPARTMENT, SlotHeads, named_slots

from clickscape import vlm
from clickscape.errors import ModelError
from clickscape.reward.features import pool
from clickscape.vlm import slots
from clickscape.vlm.shipped import TINY_FOLDER
from clickscape.vlm.slots import NamedSlots

VALUES = {"setting": ("desert", "snow", "kitchen"), "prop": ("candle", "none"), DEPARTMENT: ("Toys", "Shoes")}


@pytest.fixture
def heads() -> SlotHeads:
    torch.manual_seed(0)
    return SlotHeads(VALUES, width=5)


@torch.no_grad()
def test_the_saved_maps_predict_as_the_warm_ups_classifiers(heads: SlotHeads, tmp_path: Path) -> None:
    tokens = torch.randn(4, 36, 5, generator=torch.Generator().manual_seed(1))
    said = heads(tokens)
    named_slots(heads).rescaled(3.0).write(tmp_path)
    kept = slots.read(tmp_path)
    assert kept is not None
    assert kept.values == {"setting": VALUES["setting"], "prop": VALUES["prop"]}
    logits = pool(3.0 * tokens) @ kept.weight.T + kept.bias
    assert torch.allclose(logits, torch.cat([said["setting"], said["prop"]], dim=1), atol=1e-5)


def test_a_model_without_names_has_none(tmp_path: Path) -> None:
    assert slots.read(tmp_path) is None


@pytest.mark.parametrize("damage", ["cut", "names", "shape"])
def test_a_damaged_file_is_named(heads: SlotHeads, tmp_path: Path, damage: str) -> None:
    named = named_slots(heads)
    if damage == "shape":
        named = NamedSlots(named.values, named.weight[1:], named.bias)
    if damage == "names":
        named = NamedSlots({"setting": ()}, named.weight, named.bias)
    named.write(tmp_path)
    file = tmp_path / slots.FILE
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ModelError, match=slots.FILE):
        slots.read(tmp_path)


def test_the_shipped_model_names_slots_of_its_own_tokens() -> None:
    named = slots.read(TINY_FOLDER)
    assert named is not None
    assert named.weight.shape[1] == 9 * vlm.load("tiny").vlm.hidden_size
    assert {"setting", "surface", "light", "stand", "palette", "prop"} == set(named.values)
