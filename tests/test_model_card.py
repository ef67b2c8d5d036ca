"""Model cards: what the hub's library reads back, what survives, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.utils import validate_repo_id

from clickscape import model_card
from clickscape.errors import ModelError
from clickscape.model_card import JUDGE, PROMPT, REWARD, Figure
from clickscape.types import Estimate
from clickscape.vlm.shipped import TINY_FOLDER

FIGURE = Figure("pair accuracy", "accuracy", Estimate(0.61, 0.58, 0.64))


@pytest.mark.parametrize("kind", [PROMPT, REWARD, JUDGE])
def test_the_hubs_library_reads_back_what_was_written(kind: model_card.Kind, tmp_path: Path) -> None:
    model_card.write(tmp_path, kind, base="llava-hf/llava-1.5-7b-hf", tags=["effects"])
    assert model_card.check(tmp_path).data.eval_results is None
    model_card.add_figures(tmp_path, kind, [FIGURE], data="a shop", base=None, note="Trained twice.")
    card = ModelCard.load(tmp_path / "README.md")
    validate_repo_id(card.data.base_model)
    assert card.data.base_model == "llava-hf/llava-1.5-7b-hf"
    assert set(card.data.tags) == {"clickscape", "effects", *kind.tags}
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("accuracy", 0.61, "a shop")
    assert result.metric_args == {"low": 0.58, "high": 0.64, "level": 0.95}
    assert "| pair accuracy | 0.610 | 95%: [0.580, 0.640] |" in card.text
    assert "Trained twice." in card.text


@pytest.mark.parametrize(
    ("name", "base"),
    [("tiny", "clickscape-tiny"), ("org/model", "org/model"), ("/home/me/model", None), ("other", None)],
)
def test_only_what_others_can_find_is_named_as_base(name: str, base: str | None, tmp_path: Path) -> None:
    model_card.write(tmp_path, PROMPT, base=name)
    assert model_card.check(tmp_path).data.base_model == base
    assert model_card.base_of(tmp_path) == base
    assert "/home/me" not in (tmp_path / "README.md").read_text()


def test_the_shipped_model_has_a_card_with_its_tags() -> None:
    card = model_card.check(TINY_FOLDER)
    assert card.data.license == "apache-2.0"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "no model card"),
        ("# nothing\n", "no library_name"),
        ("---\nlibrary_name: x\n---\n", "no tags"),
        ("---\nmodel-index: 3\nlibrary_name: x\ntags: [a]\n---\n", "not a model card"),
        ("---\n- a list\n---\n", "not a model card"),
        ("---\na: [\n---\n", "not a model card"),
        ("x" * (1 << 20) + "x", "over 1,048,576 bytes"),
    ],
)
def test_a_card_that_the_hub_would_refuse_is_one_clear_line(text: str | None, told: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "README.md").write_text(text)
    with pytest.raises(ModelError, match=re.escape(told)):
        model_card.check(tmp_path)
    assert model_card.base_of(tmp_path) is None
