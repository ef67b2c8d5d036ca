"""Which of the sixteen departments that the shipped model knows a shop's own category means, as plain data.

Shops sort by Google's, Shopify's or Amazon's taxonomy, or by their own. The finest level that says something decides,
unless a coarser one names a department by whom it is for (a dog's toy is for dogs); the title is read last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from clickscape.types import Product

WORDS: dict[str, str] = {
    "Drinks": (
        "drink, beverage, coffee, tea, wine, beer, spirit, juice, soda, water bottle pack, mineral water, "
        "cocktail, lemonade, smoothie, kombucha, whisky, whiskey, gin, vodka, rum, champagne, liquor, cider, "
        "milk drink, barware"
    ),
    "Food": (
        "food, grocery, snack, bakery, bread, cake, candy, chocolate, confectionery, pantry, condiment, "
        "sauce, spice, cheese, deli, dairy, meat, seafood, fruit, vegetable, cereal, pasta, noodle, cookie, "
        "honey, jam, nut, oil vinegar, olive oil, ice cream, granola, frozen meal"
    ),
    "Beauty": (
        "beauty, cosmetic, skin care, skincare, makeup, make up, fragrance, perfume, eau de parfum, hair "
        "care, shampoo, conditioner, personal care, oral care, toothbrush, toothpaste, bath body, shower gel, "
        "soap, lotion, cream, serum, lipstick, mascara, nail polish, shaving, grooming, deodorant, sunscreen, "
        "health beauty, moisturizer, balm, supplement, vitamin, razor"
    ),
    "Clothing": (
        "clothing, apparel, shirt, t shirt, tee, top, dress, skirt, jean, trouser, pant, short, sweater, "
        "hoodie, sweatshirt, jacket, coat, outerwear, underwear, sock, legging, lingerie, swimwear, "
        "sleepwear, suit, blazer, vest, hat, cap, beanie, scarf, glove, belt, tie, neck warmer, activewear, "
        "polo, cardigan, blouse, uniform, costume, sunglasses, clothing accessory"
    ),
    "Bags & Shoes": (
        "bag, handbag, backpack, shoe, sneaker, boot, sandal, footwear, luggage, suitcase, wallet, purse, "
        "tote, slipper, loafer, plimsoll, pump, heel, trainer, briefcase, duffel, clutch, moccasin, umbrella, "
        "handbag wallet case"
    ),
    "Electronics": (
        "electronic, computer, laptop, tablet, phone, smartphone, cell phone, camera, audio, headphone, "
        "earbud, speaker, television, tv, video game, console, monitor, keyboard, mouse, printer, wearable, "
        "smart watch, watch, charger, cable, usb, networking, router, drone, projector, camera optic, office "
        "electronic, microphone, hard drive, gaming, iphone, power bank, fitness tracker"
    ),
    "Sports": (
        "sport, sporting good, fitness, exercise, yoga, gym, cycling, bicycle, bike, camping, hiking, outdoor "
        "recreation, climbing, running, ski, snowboard, skateboard, surf, tennis, golf, football, soccer, "
        "basketball, boxing, swimming, fishing, dumbbell, tent, racquet, racket, ball, foam roller, kayak, "
        "carabiner, sports outdoor"
    ),
    "Toys": (
        "toy, game, puzzle, doll, plush, stuffed animal, building block, building toy, board game, playset, "
        "action figure, lego, toys game, play kitchen, teddy bear, remote control, finger paint, figure"
    ),
    "Home": (
        "home, kitchen, furniture, decor, bedding, cookware, tableware, dinnerware, drinkware, lighting, "
        "lamp, sofa, chair, table, bed, rug, curtain, pillow, cushion, towel, mug, cup, plate, bowl, vase, "
        "candle, clock, mirror, storage, household appliance, small appliance, appliance, toaster, kettle, "
        "espresso machine, coffee maker, blender, wall art, kitchen dining, home kitchen, linen, basket, "
        "bathroom accessory, blanket, print, picture frame, table lamp"
    ),
    "Tools": (
        "tool, hardware, power tool, hand tool, drill, hammer, wrench, screwdriver, saw, plumbing, "
        "electrical, diy, home improvement, tools home improvement, paint, building material, ladder, "
        "industrial, measuring tool, plier, workwear, cordless drill, fastener"
    ),
    "Garden": (
        "garden, gardening, lawn, lawn garden, patio, plant, seed, houseplant, flower pot, planter, grill, "
        "barbecue, outdoor living, outdoor furniture, watering can, hose, pruning, shear, trowel, pot, "
        "cactus, garden hose, bulb"
    ),
    "Pets": (
        "pet, pet supply, animal, dog, cat, puppy, kitten, aquarium, bird, hamster, fish food, horse care, pet food"
    ),
    "Stationery": (
        "office, office supply, office product, stationery, pen, pencil, notebook, planner, paper, book, desk "
        "accessory, art supply, craft, arts craft, painting, greeting card, gift wrap, sticker, school "
        "supply, stapler, calendar, marker, media book, card, magazine, poster, party celebration"
    ),
    "Jewelry": (
        "jewelry, jewellery, ring, necklace, earring, bracelet, pendant, bangle, brooch, charm, gemstone, "
        "fine jewelry, stud, hoop, anklet, watch jewelry, diamond"
    ),
    "Baby": (
        "baby, toddler, infant, newborn, nursery, diaper, nappy, stroller, crib, pacifier, baby product, baby "
        "toddler, nursing, swaddle, car seat, high chair"
    ),
    "Automotive": (
        "automotive, car, vehicle, auto part, motorcycle, tire, tyre, car care, truck, vehicle part, brake "
        "pad, engine oil, dash cam, car electronic, floor mat, windshield, tire inflator, motor oil"
    ),
}
"""What a department sells, in the singular, by words of Google's, Shopify's and Amazon's taxonomies and of titles."""

FOR_WHOM = ("Pets", "Baby", "Automotive")
"""Departments by whom or what their goods are for: a level that names one decides over finer ones."""

_WORD = re.compile(r"[^\W\d_]+")
_LONGEST = 3


def department_of(product: Product) -> str:
    """Return the department that the product's category means, or else its title; "" where neither says one."""
    if product.department in WORDS:
        return product.department
    levels = [_named(level) for level in product.category]
    for found in levels:
        if found in FOR_WHOM:
            return found
    for found in reversed(levels):
        if found:
            return found
    return _named(product.title)


def with_department(product: Product) -> Product:
    """Return the product as the shipped model was taught to read one: its department is the coarsest category.

    The shop's own levels follow, the finest two of them. As it was where no department is known.
    """
    department = department_of(product)
    if not department or department == product.department:
        return product
    return replace(product, category=(department, *product.category[-2:]))


def _named(text: str) -> str:
    """The department of the longest phrase; of several of one length the last, as what a thing is comes last."""
    words = [_singular(word) for word in _WORD.findall(text.lower())]
    best, department = 0, ""
    for length, found in _phrases(words):
        if length >= best:
            best, department = length, found
    return department


def _phrases(words: list[str]) -> Iterator[tuple[int, str]]:
    table = _table()
    for start in range(len(words)):
        for length in range(1, _LONGEST + 1):
            found = table.get(tuple(words[start : start + length]))
            if found and start + length <= len(words):
                yield length, found


@cache
def _table() -> dict[tuple[str, ...], str]:
    """Phrase, its words in the singular → department."""
    return {
        tuple(_singular(word) for word in _WORD.findall(phrase)): department
        for department, phrases in WORDS.items()
        for phrase in phrases.split(", ")
    }


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us")) and len(word) > 2 else word
