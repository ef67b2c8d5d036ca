"""The relevance gate: the contrast is what its formula says, it knows what suits, and its limit decides."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from clickscape import vlm as vlm_room
from clickscape.catalog import sample
from clickscape.config import RelevanceConfig, load
from clickscape.errors import ConfigError
from clickscape.gates.relevance import ContrastRelevance, check_contrast, panel
from clickscape.types import Product
from clickscape.vlm.batch import Sample, answer_log_probs, collate
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.prompts import instruction

SUITED = {
    "Tools": "oak bench, window light, in a workshop, log",
    "Beauty": "white marble podium, soft light, in a bathroom, eucalyptus",
    "Toys": "linen table, soft light, in a living room, gift box",
}


@pytest.fixture(scope="module")
def vlm() -> VisionLanguageModel:
    return vlm_room.load("tiny").vlm


@pytest.fixture(scope="module")
def products() -> list[Product]:
    """Two held-out or other objects of every department, without pictures."""
    shelves: dict[str, list[Product]] = {}
    for product in sample.products():
        if product.product_id.endswith("-original"):
            shelves.setdefault(product.department, []).append(product)
    return [product for own in shelves.values() for product in own[:2]]


def gray(product: Product) -> np.ndarray:
    return np.full((96, 96, 3), 40 + sum(map(ord, product.product_id)) % 200, np.uint8)


@pytest.fixture(scope="module")
def gate(vlm: VisionLanguageModel, products: list[Product]) -> ContrastRelevance:
    return ContrastRelevance(vlm, panel(products, size=6), pictures=gray, limit=0.0)


def test_the_contrast_is_own_log_probability_minus_the_mean_of_the_others(
    vlm: VisionLanguageModel, products: list[Product], gate: ContrastRelevance
) -> None:
    """One by one, each with a question of its own; two descriptions of one product stand together."""
    asked = [products[0], products[0], products[3]]
    texts = [*list(SUITED.values())[:2], SUITED["Tools"]]

    def alone(product: Product, text: str) -> float:
        question = Sample(instruction("describe", product, variant=0), (gray(product),), text)
        with torch.inference_mode():
            return float(answer_log_probs(vlm, collate(vlm, [question], side="right", answers=True)))

    expected = []
    for product, text in zip(asked, texts, strict=True):
        others = [one for one in panel(products, size=6) if one.department != product.department]
        assert len(others) < 6 or product.department not in {one.department for one in panel(products, size=6)}
        expected.append(alone(product, text) - np.mean([alone(other, text) for other in others]))
    assert gate.contrast(asked, texts) == pytest.approx(expected, abs=2e-3)
    assert gate.contrast([], []).shape == (0,)


@pytest.mark.slow
def test_descriptions_of_a_department_have_the_highest_contrast_there(
    gate: ContrastRelevance, products: list[Product]
) -> None:
    """Recovery of the truth in the plainest cases: every description's own department leads."""
    for department, text in SUITED.items():
        means = {
            name: gate.contrast(own, [text] * len(own)).mean()
            for name in SUITED
            for own in [[product for product in products if product.department == name]]
        }
        assert max(means, key=means.__getitem__) == department
        assert means[department] > 0


def test_the_limit_decides_and_says_why(gate: ContrastRelevance, products: list[Product]) -> None:
    tool = next(product for product in products if product.department == "Tools")
    values = gate.contrast([tool, tool], [SUITED["Tools"], SUITED["Beauty"]])
    fits, not_at_all = gate.check([tool, tool], [SUITED["Tools"], SUITED["Beauty"]])
    assert fits.passed
    assert not_at_all.kinds == ("irrelevant",)
    assert not_at_all.failures[0].measured == pytest.approx(values[1])
    assert "nats likelier for this product" in str(not_at_all.failures[0])
    assert check_contrast(0.5, limit=0.5).passed
    assert not check_contrast(0.499, limit=0.5).passed


def test_departments_take_turns_on_the_panel() -> None:
    shelf = [Product(name, name, (name[0],)) for name in ("a1", "a2", "a3", "b1", "c1", "b2")]
    assert [product.product_id for product in panel(shelf, size=5)] == ["a1", "b1", "c1", "a2", "b2"]


def test_one_department_alone_cannot_be_compared_with_others(vlm: VisionLanguageModel) -> None:
    with pytest.raises(ConfigError, match=r"other departments.*use = 'off'"):
        ContrastRelevance(vlm, [Product("a", "a", ("A",)), Product("b", "b", ("A",))], pictures=gray)


def test_the_settings_that_the_docs_show_are_the_defaults(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/experiments/relevance.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```", page, flags=re.M | re.S)
    (tmp_path / "clickscape.toml").write_text(block)
    assert load(tmp_path / "clickscape.toml").relevance == RelevanceConfig()
    assert len(re.findall(r"^\w+ = ", block, flags=re.M)) == len(RelevanceConfig.model_fields)
