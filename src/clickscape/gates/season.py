"""Whether an ad shows a season that it is not for: Christmas in July, snow on sandals.

A season is open in its months, or because the product's own words name it; a brand's `season` opens that one alone.
The months are those of the northern half; elsewhere `[brand] season` says which one it is.
"""

from __future__ import annotations

from datetime import datetime

from clickscape.gates.wording import find_phrase
from clickscape.render.language.seasons import BOUND, MONTHS, SEASON_WORDS
from clickscape.render.scene import Scene
from clickscape.types import Product


def open_seasons(product: Product, *, now: datetime, asked: str = "") -> frozenset[str]:
    """Return the seasons that an ad of the product may show; `asked`: the brand's, "" for none."""
    text = " / ".join([product.title, *product.category, *product.tags, *product.attributes.values()])
    named = {season for season, words in SEASON_WORDS.items() if find_phrase(text, words)}
    dated = {asked} if asked else {season for season, months in MONTHS.items() if now.month in months}
    return frozenset(named | dated)


def out_of_season(description: str, scene: Scene | None, *, seasons: frozenset[str]) -> bool:
    """Return whether an ad says or shows what belongs to other seasons alone; None: a renderer without scenes."""
    if scene is None:
        said = {season for season, words in SEASON_WORDS.items() if find_phrase(description, words)}
        return bool(said) and not said & seasons
    shown = [(slot, value) for slot, value in scene.slots.items() if slot != "prop" and value is not None]
    bound = [
        {season for season, values in BOUND.items() if value in values.get(slot, ())}
        for slot, value in (*shown, *(("prop", prop) for prop in scene.props))
    ]
    return any(values and not values & seasons for values in bound)
