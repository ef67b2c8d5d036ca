"""How large a product is in the world, from its words: a ring is held between two fingers, a sofa is walked around.

Pictures carry no scale, so the words decide. The head noun of the title is looked up first ("Bicycle Bell, Red" is a
bell), then the categories from fine to coarse; what neither names is of usual size, as most of a catalog is. A large
product fills more of the picture, a small one less, and stands and props follow.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from clickscape.render.nouns import head_of, word_set
from clickscape.types import Product

PhysicalSize = Literal["small", "usual", "large"]


_NOUNS: dict[PhysicalSize, frozenset[str]] = {
    "small": word_set(
        "ring, earring, stud, necklace, pendant, bracelet, brooch, cufflink, jewelry, jewellery, charm, bead, "
        "lipstick, lip balm, lip gloss, mascara, nail polish, eyeliner, key ring, keychain, coin, die, dice, "
        "yo-yo, yoyo, marble, button, badge, pin, candy, praline, truffle, earbud, memory card, usb stick, "
        "lighter, eraser, sharpener, thimble, watch strap, pill, capsule, sim card, bolt, screw"
    ),
    "usual": word_set(  # heads that end the search before a coarse category calls them large
        "lamp, cushion, pillow, mirror, vase, clock, rug, candle, frame, poster, blanket, throw, sheet, cover, bell, "
        "pump, lock, light, helmet, mat, basket, tray, bowl, plant, pot, planter, lantern, knob, handle, toy, model, "
        "miniature, figurine, tool, cleaner, polish, oil, kit, set, linen, bedding, decor, decoration, accessory"
    ),
    "large": word_set(
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
_TOYS = word_set("toy, toys, miniature, dollhouse")
_GIANTS = word_set("giant, jumbo, oversized, oversize, huge")


@lru_cache(maxsize=65_536)
def physical_size(product: Product) -> PhysicalSize:
    """Small (between two fingers), usual (on a table) or large (walked around), by the words of the product."""
    texts = [product.title, *reversed(product.category)]
    return next((found for text in texts if (found := _of_head(text)) is not None), "usual")


def _of_head(text: str) -> PhysicalSize | None:
    """What the head noun of a title or category says."""
    head = head_of(text)
    if not _TOYS.isdisjoint(head.words):
        return "usual"
    for form in head.forms:
        for size, nouns in _NOUNS.items():
            if form in nouns:
                return "usual" if size == "small" and not _GIANTS.isdisjoint(head.words) else size
    return None
