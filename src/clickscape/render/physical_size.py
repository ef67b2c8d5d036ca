"""How large a product is in the world, from its words: a ring is held between two fingers, a sofa is walked around.

Pictures carry no scale, so the words decide. The head noun of the title is looked up first ("Bicycle Bell, Red" is a
bell), then the categories from fine to coarse; what neither names is of usual size, as most of a catalog is. A large
product fills more of the picture, a small one less, and stands and props follow.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from clickscape.types import Product

PhysicalSize = Literal["small", "usual", "large"]


def _words(text: str) -> frozenset[str]:
    return frozenset(word.strip() for word in text.split(","))


_NOUNS: dict[PhysicalSize, frozenset[str]] = {
    "small": _words(
        "ring, earring, stud, necklace, pendant, bracelet, brooch, cufflink, jewelry, jewellery, charm, bead, "
        "lipstick, lip balm, lip gloss, mascara, nail polish, eyeliner, key ring, keychain, coin, die, dice, "
        "yo-yo, yoyo, marble, button, badge, pin, candy, praline, truffle, earbud, memory card, usb stick, "
        "lighter, eraser, sharpener, thimble, watch strap, pill, capsule, sim card, bolt, screw"
    ),
    "usual": _words(  # heads that end the search before a coarse category calls them large
        "lamp, cushion, pillow, mirror, vase, clock, rug, candle, frame, poster, blanket, throw, sheet, cover, bell, "
        "pump, lock, light, helmet, mat, basket, tray, bowl, plant, pot, planter, lantern, knob, handle, toy, model, "
        "miniature, figurine, tool, cleaner, polish, oil, kit, set, linen, bedding, decor, decoration, accessory"
    ),
    "large": _words(
        "sofa, couch, loveseat, armchair, chair, stool, bench, recliner, ottoman, table, desk, bed, bed frame, "
        "mattress, bunk bed, crib, wardrobe, dresser, sideboard, bookcase, bookshelf, shelf, cabinet, cupboard, "
        "bathtub, shower, toilet, washbasin, refrigerator, fridge, freezer, oven, stove, dishwasher, "
        "washing machine, dryer, bicycle, bike, e-bike, tricycle, scooter, moped, motorcycle, motorbike, car, van, "
        "canoe, kayak, surfboard, paddleboard, ladder, wheelbarrow, lawn mower, grill, barbecue, tent, hammock, "
        "trampoline, treadmill, rowing machine, exercise bike, piano, drum kit, double bass, cello, harp, "
        "wheelchair, stroller, pram, swing, slide, sandbox, greenhouse, shed, parasol, pergola, fireplace, furniture, "
        "appliance, vehicle, seating"
    ),
}
_QUALIFIERS = _words(
    "red, crimson, scarlet, coral, rose, pink, blush, fuchsia, magenta, plum, violet, purple, lilac, lavender, blue, "
    "navy, cobalt, sky, azure, teal, turquoise, mint, green, emerald, forest, olive, lime, lemon, yellow, golden, "
    "gold, amber, mustard, orange, terracotta, copper, brown, chocolate, sand, cream, ivory, white, silver, gray, "
    "grey, graphite, charcoal, black, beige, small, medium, large, mini, xl, xxl, l, m, s, xs, "
    "cm, mm, inch, inches, ft, kg, g, ml, oz, w, v, pro, max, plus, new"
)
_TOYS = _words("toy, toys, miniature, dollhouse")
_GIANTS = _words("giant, jumbo, oversized, oversize, huge")
_END = re.compile(r"[,;:|(\[/]|\s[-–—]\s|\s(?:with|for|in|of|by|from)\s", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_LONGEST = 300  # characters of a title or category that are read


@lru_cache(maxsize=65_536)
def physical_size(product: Product) -> PhysicalSize:
    """Small (between two fingers), usual (on a table) or large (walked around), by the words of the product."""
    texts = [product.title, *reversed(product.category)]
    return next((found for text in texts if (found := _of_head(text)) is not None), "usual")


def _of_head(text: str) -> PhysicalSize | None:
    """What the head noun of a title or category says: the last word before any comma, "with", "for" …"""
    first = next((part for part in _END.split(text[:_LONGEST]) if part.strip()), "")
    words = [word.lower() for word in _WORD.findall(first)]
    while len(words) > 1 and (words[-1] in _QUALIFIERS or words[-1].isdigit()):
        words.pop()
    if not _TOYS.isdisjoint(words):
        return "usual"
    for length in (2, 1):
        head = " ".join(words[-length:])
        for form in (head, *_singulars(head)):
            for size, nouns in _NOUNS.items():
                if form in nouns:
                    return "usual" if size == "small" and not _GIANTS.isdisjoint(words) else size
    return None


def _singulars(noun: str) -> tuple[str, ...]:
    """What an English plural may be the plural of."""
    if noun.endswith("ies"):
        return (noun[:-3] + "y",)
    if noun.endswith("ves"):
        return (noun[:-3] + "f", noun[:-3] + "fe")
    return (noun[:-1], noun[:-2]) if noun.endswith("es") else (noun[:-1],) if noun.endswith("s") else ()
