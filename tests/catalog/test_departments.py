"""A shop's own category means one of the departments that the shipped model knows, or none."""

from __future__ import annotations

import pytest

from clickscape.catalog import sample
from clickscape.catalog.departments import WORDS, department_of, with_department
from clickscape.generation.department_fit import shipped
from clickscape.types import Product


@pytest.mark.parametrize(
    ("category", "title", "department"),
    [
        ("Apparel & Accessories > Clothing > Shirts & Tops", "Polygon", "Clothing"),
        ("Apparel & Accessories > Shoes", "Plimsolls", "Bags & Shoes"),
        ("Apparel & Accessories > Jewelry > Watches", "Aurora", "Electronics"),
        ("Clothing, Shoes & Jewelry > Women > Jewelry > Earrings", "Studs", "Jewelry"),
        ("Food, Beverages & Tobacco > Beverages > Coffee", "Yirgacheffe", "Drinks"),
        ("Home & Garden > Lawn & Garden > Gardening", "Trowel", "Garden"),
        ("Home & Garden > Kitchen & Dining > Cookware", "Dutch Oven", "Home"),
        ("Tools & Home Improvement > Power Tools > Drills", "20 V", "Tools"),
        ("Cell Phones & Accessories > Cases", "Clear", "Electronics"),
        ("Pet Supplies > Cats > Toys", "Mouse, 3 Pack", "Pets"),
        ("Baby Products > Strollers & Accessories", "City", "Baby"),
        ("Sale", "Tennis Racquet, Graphite", "Sports"),
        ("", "Ceramic Table Lamp", "Home"),
        ("", "Tennis Table", "Home"),
        ("Specials", "Zork Frobozz", ""),
    ],
)
def test_the_finest_level_that_says_something_decides_and_the_title_is_read_last(
    category: str, title: str, department: str
) -> None:
    assert department_of(Product("p", title, tuple(filter(None, category.split(" > "))))) == department


def test_the_model_is_shown_the_department_before_the_shops_own_levels() -> None:
    deep = Product("p", "Tee", ("Apparel & Accessories", "Clothing", "Shirts & Tops"))
    assert with_department(deep).category == ("Clothing", "Clothing", "Shirts & Tops")
    assert with_department(Product("p", "Ceramic Table Lamp")).category == ("Home",)
    stranger = Product("p", "Zork", ("Specials",))
    assert with_department(stranger) is stranger
    known = sample.products()[0]
    assert with_department(known) is known


def test_the_words_lead_to_what_the_model_knows() -> None:
    assert sorted(WORDS) == list(shipped().counts)
