"""Stage `score`: rank images of one product by the workspace's reward model; or of a product a line, for pipelines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, Field, model_validator

from clickscape import reward as reward_room
from clickscape.catalog.images import open_image
from clickscape.compute.device import best_device
from clickscape.compute.engines import HERE, Failure, attempt, failure_of_loss, map_items
from clickscape.errors import FeedError
from clickscape.json_files import parse_json
from clickscape.reward.protocol import RewardModel, Slots
from clickscape.stages.draw import find_product
from clickscape.types import Product, Ranked
from clickscape.workspace import Workspace

LONGEST_LINE = 1 << 20
"""Bytes of one line; the rest of a longer one is passed over."""
_REMEDY = "Correct the line."


class _Described(BaseModel, frozen=True, extra="forbid"):
    """The words of a product that no catalog knows."""

    title: str = Field(min_length=1, max_length=2_000)
    category: tuple[str, ...] = Field((), max_length=20)
    attributes: dict[str, str] = Field(default_factory=dict, max_length=100)
    price: float | None = Field(None, ge=0, allow_inf_nan=False)
    currency: str | None = None


class ScoreLine(BaseModel, frozen=True, extra="forbid"):
    """One line of input: images of one product, which the catalog knows by its id or which is described here.

    id: anything, comes back in the answer.
    """

    id: str | int | None = None
    product_id: str | None = None
    product: _Described | None = None
    images: tuple[str, ...] = Field(min_length=1, max_length=64)

    @model_validator(mode="after")
    def _one_product(self) -> ScoreLine:
        if (self.product_id is None) == (self.product is None):
            raise ValueError("give either product_id or product")
        return self


def score(
    workspace: Workspace, product_id: str, images: Sequence[Path], scenes: Sequence[Slots | None] | None = None
) -> list[tuple[Path, Ranked]]:
    """Return the images, best first, each with its score against the others (logits) and its interval.

    scenes: of pictures that were drawn here, None for others, whose scenes the model tells by itself.
    """
    product = find_product(workspace, product_id)
    pictures = [open_image(path)[..., :3] for path in images]
    ranking = reward_room.load(workspace.models / "reward", device=best_device()).rank(product, pictures, scenes)
    return [(images[ranked.index], ranked) for ranked in ranking]


def score_lines(workspace: Workspace, lines: BinaryIO, *, workers: int = 0) -> Iterator[dict[str, Any]]:
    """Yield an answer for every line that is not blank, in order: its ranking, or `error`; both name their `line`.

    workers: processes, or workers of the settings' engine, which read a few lines ahead; 0: this process, which answers
    a line before it reads the next. Memory is that of the catalog and some lines' images, however many lines there are.
    """
    scorer = _open(workspace.path)  # what is wrong with the model is told before a line is read
    answer = partial(_answer, path=workspace.path) if workers else partial(_answer_by, scorer)
    answers = map_items(
        answer,
        _lines(lines),
        compute=workspace.settings.compute if workers else HERE,
        workers=max(workers, 1),
        lost=_lost,
    )
    for number, found in answers:
        yield {"line": number, **({"error": found.reason} if isinstance(found, Failure) else found)}


_Line = tuple[int, bytes | None]
_Answer = tuple[int, dict[str, Any] | Failure]
_Scorer = tuple[RewardModel, dict[str, Product]]


def _open(path: Path) -> _Scorer:
    """The reward model and the catalog, by id."""
    workspace = Workspace(path)
    model = reward_room.load(workspace.models / "reward", device=best_device())
    return model, {product.product_id: product for product in workspace.products()}


_opened = lru_cache(maxsize=1)(_open)
"""Of a worker, for all its lines."""


def _answer(numbered: _Line, *, path: Path) -> _Answer:
    return _answer_by(_opened(path), numbered)


def _answer_by(scorer: _Scorer, numbered: _Line) -> _Answer:
    return numbered[0], attempt(partial(_ranking, scorer), numbered)


def _lost(numbered: _Line, reason: str) -> _Answer:
    return numbered[0], failure_of_loss(numbered, reason)


def _lines(lines: BinaryIO) -> Iterator[_Line]:
    """Yield every line that is not blank with its number from 1; None for one that is too long."""
    number, cut = 0, False
    while line := lines.readline(LONGEST_LINE):
        ended = line.endswith(b"\n")
        number += not cut
        whole = ended or len(line) < LONGEST_LINE  # the last line may lack its end
        if not cut and (not whole or line.strip()):
            yield number, line if whole else None
        cut = not whole


def _ranking(scorer: _Scorer, numbered: _Line) -> dict[str, Any]:
    (model, products), (number, line) = scorer, numbered
    if line is None:
        raise FeedError(f"line {number}: over {LONGEST_LINE:,} bytes. Shorten it.")
    asked = parse_json(line, ScoreLine, where=f"line {number}", error=FeedError, remedy=_REMEDY)
    product = _product(asked, number=number, products=products)
    pictures = [open_image(Path(path))[..., :3] for path in asked.images]
    ranking = [
        {
            "image": asked.images[ranked.index],
            "score": ranked.score.value,
            "low": _finite(ranked.score.low),
            "high": _finite(ranked.score.high),
            "ahead": ranked.ahead,
        }
        for ranked in model.rank(product, pictures)
    ]
    named = {"id": asked.id, "product_id": asked.product_id}
    return {name: value for name, value in named.items() if value is not None} | {"ranking": ranking}


def _product(asked: ScoreLine, *, number: int, products: dict[str, Product]) -> Product:
    if asked.product is not None:
        words = asked.product
        try:
            return Product("line", words.title, words.category, words.attributes, price=words.price,
                           currency=words.currency)  # fmt: skip
        except ValueError as error:
            raise FeedError(f"line {number}: {error}. {_REMEDY}") from None
    if (product := products.get(asked.product_id or "")) is None:
        raise FeedError(f"line {number}: the catalog has no product {asked.product_id!r}. Name one of "
                        f"catalog/products.parquet, or give `product` with a title.")  # fmt: skip
    return product


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
