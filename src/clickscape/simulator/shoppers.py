"""The shoppers' table of which scenes fit which product, as plain data, independent of the copywriter's.

Both worlds judge matching by this table; only `harmony` pays for it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fit:
    """Settings in which shoppers expect a department's products, and props that they find natural beside them."""

    settings: frozenset[str]
    props: frozenset[str]


def _fit(settings: str, props: str) -> Fit:
    return Fit(frozenset(settings.split(", ")), frozenset(props.split(", ")))


FIT: dict[str, Fit] = {
    # the departments of the sample catalog
    "Drinks": _fit("beach, terrace, kitchen, meadow, city", "ice, lemons, berries, palm, bubbles"),
    "Food": _fit("kitchen, terrace, living room, meadow", "berries, lemons, blossom, candle, coffee beans"),
    "Beauty": _fit("bathroom, studio, meadow, forest", "eucalyptus, blossom, bubbles, pebbles, gold spheres"),
    "Clothing": _fit("city, studio, beach, loft, meadow", "none, blossom, palm, baubles, log"),
    "Bags & Shoes": _fit("city, studio, desert, terrace, forest", "none, pebbles, gift, log, palm"),
    "Electronics": _fit("loft, living room, city, workshop", "none, gift, coffee beans, gold spheres, ice"),
    "Sports": _fit("meadow, beach, forest, desert, city", "none, pebbles, log, palm, ice"),
    "Toys": _fit("living room, meadow, beach, studio", "gift, bubbles, baubles, blossom, lemons"),
    "Home": _fit("living room, loft, kitchen, bathroom", "candle, eucalyptus, blossom, none, baubles"),
    "Tools": _fit("workshop, loft, forest, terrace", "log, none, pebbles, eucalyptus"),
    # departments that a user's catalog may bring
    "Garden": _fit("meadow, terrace, forest, desert", "blossom, pebbles, log, eucalyptus, lemons"),
    "Pets": _fit("living room, meadow, forest, beach", "none, log, gift, pebbles"),
    "Stationery": _fit("studio, loft, living room, kitchen", "coffee beans, none, candle, eucalyptus, blossom"),
    "Jewelry": _fit("studio, bathroom, beach, terrace", "gold spheres, blossom, gift, pebbles, baubles"),
    "Baby": _fit("living room, bathroom, meadow, studio", "bubbles, blossom, none, gift, eucalyptus"),
    "Automotive": _fit("workshop, city, desert, forest", "none, pebbles, log, ice"),
}
"""Fit by department."""

PICTURED = ("Drinks", "Food", "Beauty", "Clothing", "Bags & Shoes", "Electronics", "Sports", "Toys", "Home", "Tools")
"""The sample catalog's departments; interactions balance within these, and within the others."""
