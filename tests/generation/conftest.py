"""A writer whose words are known, a reward that is known by hand, and what is chosen by them for one mug."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image
from tests.factory import shipped

from clickscape import render
from clickscape.catalog import sample
from clickscape.config import GenerateConfig
from clickscape.config.brand import Rules
from clickscape.gates.style import Style
from clickscape.generation.pipeline import AdPipeline
from clickscape.generation.select import CandidateSelector, Selection, select
from clickscape.render.renderer import Renderer
from clickscape.types import Product
from clickscape.vlm.generate import Writer

NOW = datetime(2026, 6, 1, tzinfo=UTC)
AS_WRITTEN = Rules(edit=False)
OAK, MARBLE = "oak table, soft light, mint wall, studio", "marble podium, noon sun, fresh lemons, beach"
SAND, SLATE = "sand floor, golden hour, seashells, desert", "slate slab, window light, gift box, loft"


class Scripted(Writer):
    """The shipped model, whose words are known: round by round, the same for every product."""

    def __init__(self, *rounds: Sequence[str]) -> None:
        super().__init__(shipped().vlm)
        self.rounds = list(rounds)
        self.asked: list[tuple[int, int, str]] = []
        self.sampled: list[tuple[int, float]] = []

    def describe_all(self, products, *, n, seed, brand_instructions="", temperature=1.0, **rest):  # type: ignore[no-untyped-def,override]
        self.sampled.append((n, temperature))
        written = self.rounds[min(len(self.asked), len(self.rounds) - 1)]
        self.asked.append((len(products), seed, brand_instructions))
        return [list(written) for _ in products]


class Bright:
    """A reward that is known by hand: the mean brightness of the picture."""

    def score(self, products: Sequence[Product], images: Sequence[np.ndarray], _scenes: object = None, /) -> np.ndarray:
        return np.array([image.mean() for image in images])


@pytest.fixture(scope="module")
def studio() -> Renderer:
    """One studio for all tests, so that its sets are built once."""
    return render.load("studio")


@pytest.fixture(scope="module")
def mug(tmp_path_factory: pytest.TempPathFactory) -> Product:
    file = tmp_path_factory.mktemp("pictures") / "mug.png"
    Image.fromarray(sample.cutout("coffee_mug-navy", 96)).save(file)
    return Product("mug", "Blue Mug", ("Home", "Kitchen"), image=str(file))


@pytest.fixture
def decide(studio: Renderer, mug: Product):  # type: ignore[no-untyped-def]
    """What is chosen for one product from what a scripted model writes."""

    def run(
        *rounds: Sequence[str],
        product: Product = mug,
        drawn: Counter[str] | None = None,
        reward: Bright | None = None,
        rules: Rules | None = None,
        now: datetime = NOW,
        **settings: float,
    ) -> Selection:
        config = GenerateConfig(**{"keep": 2, "per_product": 4, **settings})
        selector = CandidateSelector(
            Scripted(*rounds), AdPipeline(studio, reward), config, Style.of(rules or AS_WRITTEN), now
        )
        (choice,) = select(selector, [product], scenes=drawn or Counter(), wanted=frozenset([product.product_id]))
        return choice

    return run


def asked(
    writer: Scripted,
    renderer: Renderer,
    product: Product,
    *,
    rules: Rules | None = None,
    reward: Bright | None = None,
    **settings: float | str,
) -> None:
    """Select for one product, for the sake of what the writer is asked."""
    style, pipeline = Style.of(rules or Rules()), AdPipeline(renderer, reward)
    selector = CandidateSelector(writer, pipeline, GenerateConfig(**{"rewrites": 0, **settings}), style, NOW)
    list(select(selector, [product], scenes=Counter(), wanted=frozenset([product.product_id])))


def texts(choice: Selection) -> list[str]:
    return [one.candidate.text for one in choice.chosen]
