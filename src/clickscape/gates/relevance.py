"""The relevance gate: check that a description suits its product better than products of other departments.

The pre-trained prompt model has read what stands around which products; how much likelier it finds a description for
this product than for products of other departments is its opinion of the match, in nats:

    log p(y|x) − mean over x̃ of log p(y|x̃)

An x̃ is a whole other product, text and picture. The x̃ of all descriptions are the same few, so each is read once and a
description costs one short pass per x̃. The model that is being optimized must not be asked: it would learn to agree
with itself. What else was tried, and how often the gate is right: docs/experiments/relevance.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Float64

from clickscape.config import RelevanceConfig
from clickscape.errors import ConfigError
from clickscape.gates.result import Failure, GateResult
from clickscape.types import Product
from clickscape.vlm.prompts import writing_instruction

if TYPE_CHECKING:
    from clickscape.vlm.model import VisionLanguageModel

Pictures = Callable[[Product], np.ndarray]
"""The picture of a product that the model looks at: uint8 (height, width, 3) sRGB."""

ANSWERS_PER_PASS = 64
QUESTIONS_PER_PASS = 32
_REMEDY = "nats likelier for this product than for products of other departments: write another description."


class Relevance(Protocol):
    """Protocol of a relevance gate: checks whether descriptions suit their products."""

    def check(self, products: Sequence[Product], descriptions: Sequence[str]) -> list[GateResult]:
        """Check every description with its product."""
        ...


class ContrastRelevance:
    """Relevance gate by the prompt model's log-likelihoods; `panel`: the other products to compare with.

    ConfigError for a panel of one department: then nothing is another department's.
    """

    def __init__(
        self, vlm: VisionLanguageModel, panel: Sequence[Product], *, pictures: Pictures, limit: float | None = None
    ) -> None:
        if len({product.department for product in panel}) < 2:
            raise ConfigError(
                "the relevance gate compares with products of other departments, and the catalog has one alone. "
                "Add products of a second category, or set use = 'off' under [relevance]."
            )
        self._vlm = vlm
        self._panel = tuple(panel)
        self._pictures = pictures
        self.limit = RelevanceConfig().limit if limit is None else limit

    def check(self, products: Sequence[Product], descriptions: Sequence[str]) -> list[GateResult]:
        """Check every description with its product: it passes where its contrast reaches the limit."""
        return [check_contrast(float(value), limit=self.limit) for value in self.contrast(products, descriptions)]

    def contrast(self, products: Sequence[Product], descriptions: Sequence[str]) -> Float64[np.ndarray, " description"]:
        """log p(y|x) − mean of log p(y|x̃) over the panel's products of other departments, (description,) nats."""
        given = np.concatenate([np.zeros(0), *self._given_log_probs(products, descriptions)])
        others = np.array([self._panel_log_probs(other, descriptions) for other in self._panel])
        foreign = np.array(
            [[other.department != product.department for product in products] for other in self._panel]
        ).reshape(others.shape)
        return np.asarray(given - (others * foreign).sum(0) / foreign.sum(0))

    def _given_log_probs(self, products: Sequence[Product], descriptions: Sequence[str]) -> Iterator[np.ndarray]:
        """log p(y|x) for some descriptions at a time; a product with several in a row is read once."""
        starts = [row for row, one in enumerate(products) if row == 0 or one.product_id != products[row - 1].product_id]
        for first in range(0, len(starts), QUESTIONS_PER_PASS):
            some = starts[first : first + QUESTIONS_PER_PASS]
            ends = [*starts[first + 1 : first + len(some) + 1], len(products)][: len(some)]
            answers = [
                (number, descriptions[row])
                for number, (start, end) in enumerate(zip(some, ends, strict=True))
                for row in range(start, end)
            ]
            yield self._log_probs([products[start] for start in some], answers)

    def _panel_log_probs(self, other: Product, descriptions: Sequence[str]) -> np.ndarray:
        """log p(y|x̃) of all descriptions for one product x̃ of the panel."""
        parts = [
            self._log_probs([other], [(0, text) for text in descriptions[start : start + ANSWERS_PER_PASS]])
            for start in range(0, len(descriptions), ANSWERS_PER_PASS)
        ]
        return np.concatenate([np.zeros(0), *parts])

    def _log_probs(self, asked: Sequence[Product], answers: Sequence[tuple[int, str]]) -> np.ndarray:
        """log p of answers (number of the product, text), (answer,) nats."""
        import torch  # here, because an export checks no relevance

        from clickscape.vlm.answers import log_probs
        from clickscape.vlm.batch import Sample

        self._vlm.model.eval()
        questions = [
            Sample(writing_instruction(product, taught=self._vlm.instructions[:1]), (self._pictures(product),))
            for product in asked
        ]
        with torch.inference_mode():
            total, _ = log_probs(self._vlm, questions, answers)
        return np.asarray(total.double().cpu().numpy())


def panel(products: Sequence[Product], *, size: int) -> list[Product]:
    """Return at most `size` products to compare with: departments take turns, in the catalog's order."""
    shelves: dict[str, list[Product]] = {}
    for product in products:
        shelves.setdefault(product.department, []).append(product)
    turns = sorted(
        ((turn, shelf, one) for shelf, members in enumerate(shelves.values()) for turn, one in enumerate(members)),
        key=lambda turn: turn[:2],
    )
    return [product for _, _, product in turns[:size]]


def check_contrast(contrast: float, *, limit: float) -> GateResult:
    """Check a contrast, nats, against the limit."""
    return GateResult() if contrast >= limit else GateResult((Failure("irrelevant", contrast, limit, _REMEDY),))
