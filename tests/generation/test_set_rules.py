"""What a photographer would not put together: which surfaces, lights, places and props a product gets instead."""

from __future__ import annotations

import numpy as np
import pytest

from clickscape.catalog.departments import WORDS
from clickscape.config.brand import Rules
from clickscape.gates.style import Style
from clickscape.generation.set_rules import DEPARTMENTS_OF, SETTINGS_OF, Subject, allowed_values, breaches, suited
from clickscape.render.language.parse import parse
from clickscape.render.scene import PROPS, SETTINGS, SLOTS, Scene
from clickscape.render.silhouette import Silhouette
from clickscape.types import Product

BOX = Silhouette(aspect=1.0, fill=0.8, foot=(0.1, 0.9), mass=0.5)
SHOE = Subject(Product("shoe", "Running Shoe"), "Bags & Shoes", Silhouette(0.45, 0.6, (0.0, 1.0), 0.5))
SHOES_ABOVE = Subject(Product("shoes", "Canvas Shoes"), "Bags & Shoes", Silhouette(1.3, 0.7, (0.1, 0.9), 0.5))
SOFA = Subject(Product("sofa", "Leather Sofa"), "Home", BOX)
MUG = Subject(Product("mug", "Mug"), "Home", BOX)
JUICE = Subject(Product("juice", "Apple Juice"), "Drinks", BOX)
RING_BUOY = Subject(Product("buoy", "Swim Buoy"), "Sports", BOX)
BICYCLE = Subject(Product("bicycle", "City Bicycle"), "Sports", BOX)
CACTUS = Subject(Product("cactus", "Potted Cactus"), "Home", BOX)
CAMERA = Subject(Product("camera", "Camera"), "Electronics", BOX)
SHIRT = Subject(Product("shirt", "Linen Shirt"), "Clothing", BOX)
CRUMPLED = Subject(Product("shirt", "Linen Shirt"), "Clothing", Silhouette(0.5, 0.5, (0.5, 0.8), 0.5))
NO_RULES = Style.of(Rules())


@pytest.mark.parametrize(
    ("subject", "scene", "broken"),
    [
        (SOFA, Scene("living room", "linen", "soft", "floor", None), ("surface",)),
        (SOFA, Scene("living room", "oak", "soft", "floor", None), ()),
        (SOFA, Scene("pool", "water", "soft", "floor", None), ("setting", "surface")),
        (SHOES_ABOVE, Scene("city", "water", "soft", "slab", None), ("surface",)),
        (SHOES_ABOVE, Scene("city", "linen", "soft", "blocks", None), ()),
        (SHOES_ABOVE, Scene("city", "oak", "golden hour", "floor", None), ("light",)),
        (SHOE, Scene("terrace", "linen", "soft", "table", None), ("surface",)),
        (MUG, Scene("terrace", "linen", "soft", "table", None), ()),
        (MUG, Scene("living room", "linen", "soft", "podium", None), ("surface",)),
        (MUG, Scene("terrace", "slate", "soft", "podium", None), ("stand",)),
        (MUG, Scene("terrace", "oak", "soft", "floor", None), ("surface",)),
        (MUG, Scene("kitchen", "slate", "soft", "steps", None), ("stand",)),
        (MUG, Scene("studio", "oak", "soft", "steps", "pink"), ("surface",)),
        (MUG, Scene("studio", "slate", "soft", "steps", "pink"), ()),
        (MUG, Scene("kitchen", "oak", "noon", "table", None), ("light",)),
        (RING_BUOY, Scene("pool", "water", "noon", "floor", None), ()),
        (JUICE, Scene("pool", "water", "noon", "floor", None), ("surface",)),
        (JUICE, Scene("kitchen", "oak", "soft", "table", None, ("lemons", "berries")), ()),
        (JUICE, Scene("kitchen", "oak", "soft", "table", None, ("lemons", "gift")), ("prop",)),
        (SHOE, Scene("city", "slate", "soft", "floor", None, ("ice",)), ("prop",)),
        (CAMERA, Scene("cafe", "oak", "soft", "table", None, ("coffee beans",)), ("prop",)),
        (CAMERA, Scene("studio", "oak", "neon", "table", "cream", ("gift",)), ("light", "prop")),
        (MUG, Scene("loft", "oak", "soft", "table", "yellow"), ("palette",)),
        (MUG, Scene("kitchen", "oak", "soft", "table", None, ("cactus",)), ()),
        (MUG, Scene("kitchen", "oak", "soft", "table", None, ("eucalyptus",)), ("prop",)),
        (CACTUS, Scene("kitchen", "oak", "soft", "table", None, ("cactus",)), ("prop",)),
        (SHIRT, Scene("loft", "oak", "soft", "table", None, ("eucalyptus",)), ()),
        (CRUMPLED, Scene("loft", "oak", "soft", "table", None, ("eucalyptus",)), ("surface",)),
        (CRUMPLED, Scene("loft", "slate", "soft", "table", None, ()), ()),
        (BICYCLE, Scene("living room", "oak", "soft", "floor", None), ("setting",)),
        (BICYCLE, Scene("city", "oak", "soft", "floor", None), ("surface",)),
        (BICYCLE, Scene("city", "slate", "soft", "floor", None), ()),
    ],
)
def test_what_does_not_go_together(subject: Subject, scene: Scene, broken: tuple[str, ...]) -> None:
    assert breaches(scene, subject) == tuple(slot for slot in allowed_values(scene, subject) if slot in broken)


def test_no_gift_without_a_wish_and_no_neon_for_anybody() -> None:
    for department in WORDS:
        for setting in SETTINGS:
            allowed = allowed_values(Scene(setting=setting), Subject(Product("a", "Thing"), department, BOX))
            assert not {"gift", "gold spheres"} & allowed["prop"]
            assert not {"neon", "spotlight"} & allowed["light"]
            assert all(values for values in allowed.values()), "something is always left"


def test_the_tables_speak_of_what_there_is() -> None:
    assert set(SETTINGS_OF) == set(WORDS)
    assert all(places <= set(SETTINGS) for places in SETTINGS_OF.values())
    assert set(DEPARTMENTS_OF) <= set(PROPS)
    assert all(names <= set(WORDS) for names in DEPARTMENTS_OF.values())


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("rippling water slab, pink neon glow, gift box, in a kitchen", SHOES_ABOVE),
        ("linen floor, golden hour, blossom, in the desert", SOFA),
        ("fresh grass podium, spotlight, ice cubes, on a terrace", SHOE),
        ("linen steps, noon sun, coffee beans, yellow wall in a loft", CAMERA),
    ],
)
def test_a_description_is_made_to_suit_and_still_says_what_is_drawn(text: str, subject: Subject) -> None:
    for seed in range(8):
        made = suited(text, subject, style=NO_RULES, rng=np.random.default_rng(seed))
        read = parse(made)
        assert read.is_valid, made
        assert breaches(read.scene, subject) == (), made
        assert suited(made, subject, style=NO_RULES, rng=np.random.default_rng(seed)) == made


def test_replacements_vary_and_keep_what_a_brand_avoids_away() -> None:
    text, avoided = "rippling water slab, soft light, city", Style.of(Rules(avoid=["marble", "black marble", "oak"]))
    for style, least in ((NO_RULES, 4), (avoided, 2)):
        made = {
            parse(suited(text, SHOES_ABOVE, style=style, rng=np.random.default_rng(seed))).scene.surface
            for seed in range(40)
        }
        assert len(made) >= least
        assert not made & {value for slot, value in style.unwanted if slot == "surface"}
    assert set(SLOTS["surface"]) >= made


def test_what_suits_stays_as_it_was_written() -> None:
    text = "pale marble table, soft morning light, a cactus, in a blurred kitchen"
    assert suited(text, MUG, style=NO_RULES, rng=np.random.default_rng(0)) == text
