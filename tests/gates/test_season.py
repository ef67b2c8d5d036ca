"""Christmas in December, snow in winter, and whenever the product or the brand asks for it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from clickscape.gates.season import open_seasons, out_of_season
from clickscape.render.language.parse import parse
from clickscape.types import Product

MUG = Product("mug", "Blue Mug", ("Home",))
JUNE, OCTOBER, DECEMBER = (datetime(2026, month, 15, tzinfo=UTC) for month in (6, 10, 12))
BAUBLES, PUMPKINS = "oak table, soft light, red ornaments, loft", "oak table, soft light, pumpkins, terrace"
SNOW, LEMONS = "slate slab, noon sun, snowy forest", "oak table, noon sun, fresh lemons, beach"


@pytest.mark.parametrize(
    ("product", "now", "asked", "fitting"),
    [
        (MUG, JUNE, "", {LEMONS}),
        (MUG, OCTOBER, "", {LEMONS, PUMPKINS}),
        (MUG, DECEMBER, "", {LEMONS, BAUBLES, SNOW}),
        (Product("m", "Christmas Mug", ("Home",)), JUNE, "", {LEMONS, BAUBLES, SNOW}),
        (Product("m", "All-Mountain Skis", ("Sports",)), JUNE, "", {LEMONS, SNOW}),
        (Product("m", "Mug", tags=("halloween",)), JUNE, "", {LEMONS, PUMPKINS}),
        (MUG, DECEMBER, "summer", {LEMONS}),
        (MUG, JUNE, "christmas", {LEMONS, BAUBLES, SNOW}),
    ],
)
def test_what_a_season_binds_is_shown_in_its_months_or_where_it_is_asked_for(
    product: Product, now: datetime, asked: str, fitting: set[str]
) -> None:
    seasons = open_seasons(product, now=now, asked=asked)
    shown = {text for text in (BAUBLES, PUMPKINS, SNOW, LEMONS)
             if not out_of_season(text, parse(text).scene, seasons=seasons)}  # fmt: skip
    assert shown == fitting


def test_without_scenes_the_words_decide() -> None:
    june = open_seasons(MUG, now=JUNE)
    assert out_of_season("a snowy window sill, advent wreath", None, seasons=june)
    assert not out_of_season("a window sill in the morning", None, seasons=june)
    assert not out_of_season("a snowy window sill", None, seasons=open_seasons(MUG, now=DECEMBER))
