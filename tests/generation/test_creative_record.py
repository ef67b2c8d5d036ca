"""A description of which no picture passes the gate gives way to the next best of the same product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.generation.conftest import Scripted

from clickscape import render
from clickscape.catalog import sample
from clickscape.config import FidelityConfig, GenerateConfig
from clickscape.config.brand import Rules
from clickscape.gates.style import Style
from clickscape.generation.creative_record import LEFT_OUT, ProductRecord, Summary, render_selection
from clickscape.generation.own_backdrop import MODEL_ID
from clickscape.generation.pipeline import AdPipeline
from clickscape.generation.select import CandidateSelector, Selection, select
from clickscape.types import Product

BLACK = [f"{surface} floor, spotlight, no props, charcoal wall, {place}"
         for surface, place in (("black marble", "studio"), ("black marble", "loft"))]  # fmt: skip
PALE = ["white marble floor, soft light, no props, cream wall, studio",
        "white marble slab, soft light, no props, mint wall, studio"]  # fmt: skip

STRICT = FidelityConfig(blending=0.25)
"""A black mug before black marble is to be refused."""


class Dark:
    """A reward that likes the darkest pictures best: what a black product cannot be seen in."""

    def score(self, products: Sequence[Product], images: Sequence[np.ndarray], _scenes: object = None, /) -> np.ndarray:
        return np.array([-image.mean() for image in images])


@pytest.fixture
def black_mug(tmp_path: Path) -> Product:
    picture = sample.cutout("coffee_mug-navy", 160).copy()
    picture[..., :3] = 14
    Image.fromarray(picture).save(tmp_path / "mug.png")
    return Product("mug", "Black Mug", ("Home",), image=str(tmp_path / "mug.png"))


def selected(product: Product, texts: Sequence[str]) -> tuple[CandidateSelector, Selection]:
    config = GenerateConfig(keep=2, per_product=4, rewrites=0, size=256, tries=3, max_overlap=1)
    pipeline = AdPipeline(render.load("studio"), Dark())
    now = datetime(2026, 6, 1, tzinfo=UTC)
    selector = CandidateSelector(Scripted(texts), pipeline, config, Style.of(Rules()), now)
    (choice,) = select(selector, [product], scenes=Counter(), wanted=frozenset(["mug"]))
    return selector, choice


@pytest.mark.slow
def test_the_next_best_takes_the_place_of_what_never_passes(black_mug: Product) -> None:
    selector, choice = selected(black_mug, [*BLACK, *PALE])
    assert {one.candidate.text for one in choice.chosen} == set(BLACK)
    made = render_selection(choice, selector=selector, fidelity=STRICT)
    assert [record.creative_id for record, _ in made] == ["mug-1", "mug-2", "mug-3", "mug-4"]
    shown = [record.description for record, drawn in made if drawn is not None]
    assert set(shown) == set(PALE)
    for record, drawn in made[:2]:
        assert drawn is None
        assert record.image == ""
        assert len(record.gate.rejected) == 1, "not every seed is tried while another description is left"
        assert all("blends_in" in {one.kind for one in attempt.failures} for attempt in record.gate.rejected)
    record = ProductRecord("work", tuple(each for each, _ in made), ())
    summary = Summary.of({"mug": record}, keep=2)
    assert (summary.images, summary.replaced, summary.left_out) == (2, 2, ())
    assert f"2 of which no picture passed gave way to the next best; {LEFT_OUT} says why" in summary.lines
    short = Summary.of({"mug": record}, keep=3)
    assert (len(short.left_out), short.replaced) == (2, 0)
    assert short.few == {"gate": {"mug": 1}}


def test_fewer_images_than_asked_are_told_with_the_reason(black_mug: Product) -> None:
    selector, choice = selected(black_mug, PALE)
    made = [record for record, _ in render_selection(choice, selector=selector, fidelity=FidelityConfig())]
    pair = ProductRecord("work", tuple(made), ())
    own = ProductRecord("work", tuple(replace(record, model_id=MODEL_ID) for record in made), ())
    assert Summary.of({"mug": pair}, keep=2).few == {}
    summary = Summary.of({"mug": pair, "cup": own, "jug": ProductRecord("work", (), ())}, keep=5)
    assert summary.few == {"words": {"mug": 3}, "photo": {"cup": 3}}, "of the jug another line says why"
    by_words, by_photo = summary.lines[-2:]
    assert by_words.startswith("3 images fewer than asked ('mug'): too few descriptions differ")
    assert by_words.endswith("clickscape.toml")
    assert "('cup')" in by_photo
    assert "--photographs scenes" in by_photo


def test_nothing_more_is_drawn_once_enough_have_passed(black_mug: Product) -> None:
    selector, choice = selected(black_mug, [BLACK[0], *PALE])
    made = render_selection(choice, selector=selector, fidelity=STRICT)
    assert [drawn is None for _, drawn in made] == [True, False, False]
    choice = replace(choice, chosen=choice.chosen[1:] + choice.spare, spare=choice.chosen[:1])
    assert len(render_selection(choice, selector=selector, fidelity=STRICT)) == 2


@pytest.mark.slow
def test_other_seeds_are_tried_of_what_was_near_and_of_nothing_else(black_mug: Product) -> None:
    """At a limit of 1/1.2 of what the first pictures measure other seeds are tried, at 1/2 of it none."""
    selector, choice = selected(black_mug, PALE)

    def pictures(limit: float) -> tuple[list[int], list[float]]:
        made = render_selection(choice, selector=selector, fidelity=FidelityConfig(edge=limit))
        first = [record.gate.rejected[0].failures for record, _ in made if record.gate.rejected]
        edges = [one.measured for failures in first for one in failures if one.kind == "edge"]
        return [len(record.gate.rejected) + (drawn is not None) for record, drawn in made], edges

    _, measured = pictures(1e-6)
    assert len(measured) == 2
    assert pictures(min(measured) / 2)[0] == [1, 1]
    tried, _ = pictures(min(measured) / 1.2)
    assert max(tried) > 1


def test_what_is_the_photos_fault_tries_no_other_description(black_mug: Product) -> None:
    selector, choice = selected(black_mug, [*BLACK, *PALE])
    assert choice.spare
    made = render_selection(choice, selector=selector, fidelity=FidelityConfig(extent=1.0))
    assert len(made) == len(choice.chosen)


def test_a_surface_on_which_one_failed_comes_last(black_mug: Product) -> None:
    """After two fail on black marble, pale scenes go before what else is on black marble."""
    more = "black marble slab, spotlight, no props, charcoal wall, studio"
    selector, choice = selected(black_mug, [*BLACK, more, *PALE])
    choice = replace(choice, spare=tuple(sorted(choice.spare, key=lambda one: one.candidate.text != more)))
    assert choice.spare[0].candidate.text == more
    made = render_selection(choice, selector=selector, fidelity=STRICT)
    assert more not in [record.description for record, _ in made]
    assert [record.description for record, drawn in made if drawn is not None] == [
        one.candidate.text for one in choice.spare[1:]
    ]
