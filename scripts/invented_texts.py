"""Products that nobody sells, captions and rough prompts, for `pretrain_tiny.py`: what `tiny` learns to read and write.

Nouns of the sample catalog that are held out are left out here too, so a model that learned from this never met them.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

import numpy as np

from clickscape.render.scene import Scene
from clickscape.simulator.vocabulary import PHRASES
from clickscape.simulator.writer import a_or_an, choose, describe
from clickscape.types import Product


@dataclass(frozen=True, slots=True)
class Shelf:
    """One department: nouns by subcategory, and the values that its attributes, details and tags take."""

    nouns: dict[str, tuple[str, ...]]
    attributes: dict[str, tuple[str, ...]]
    details: tuple[str, ...]
    tags: tuple[str, ...]


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


BRANDS = _list(
    "Aurora, Belmont, Cascade, Delphi, Everline, Fjordic, Glimmer, Harbor & Pine, Ivory Lane, Juniper, Kestrel, "
    "Lumina, Nordholm, Opaline, Pinecrest, Quartzo, Riverton, Solvay Road, Tamarin, Umbra Nine, Verano, Willowby, "
    "Xandora, Yarrow, Zephyra, Altamura, Brindle, Corvina, Dovetail, Emberly, Foxglove, Grovia, Hallmere, Isola, "
    "Jovial, Kindling, Larkspur, Mistral, Noemi, Oakhaven, Petra, Quillmark, Rosalind, Saffra, Thistle, Ultrano, "
    "Valoria, Westerly"
)

COLORS = _list(
    "Red, Crimson, Scarlet, Coral, Rose, Pink, Blush, Fuchsia, Magenta, Plum, Violet, Purple, Lilac, Lavender, "
    "Blue, Navy, Cobalt, Sky, Sky Blue, Azure, Teal, Turquoise, Mint, Green, Emerald, Forest Green, Olive, Lime, "
    "Lemon, Yellow, Golden, Amber, Mustard, Orange, Terracotta, Copper, Brown, Chocolate, Sand, Cream, Ivory, White, "
    "Silver, Gray, Graphite, Charcoal, Black"
)

DETAILS = _list(
    "Limited Edition, Set of 2, Set of 4, Gift Boxed, New Season, Compact Size, Large, Small, Everyday Edition, "
    "Pro Series, Made to Last, Refillable, Handmade, Second Generation, Family Pack, Studio Edition, With Carry "
    "Pouch, Original Recipe"
)

SHELVES: dict[str, Shelf] = {
    "Drinks": Shelf(
        nouns={
            "Beer": _list("beer mug, craft lager, pale ale, stout can, wheat beer"),
            "Wine": _list("wine bottle, wine glass, red wine, sparkling wine, rosé wine"),
            "Tea": _list("bubble tea, mate gourd, matcha tin, green tea, herbal tea, chai blend"),
            "Soft Drinks": _list("soda cup, ginger beer, cola bottle, lemonade, tonic water, energy drink"),
            "Cocktails": _list("tropical punch, margarita mix, spritz bottle, mocktail"),
            "Coffee": _list("espresso beans, cold brew, ground coffee, oat latte"),
        },
        attributes={
            "flavor": _list("citrus, hoppy, fruity, malty, floral, smoky, vanilla, ginger"),
            "package": _list("bottle, can, glass, cup, tin"),
            "serving": _list("chilled, iced, hot, dinner"),
        },
        details=_list("330 ml, 500 ml, 750 ml, Pack of 6, Unfiltered, Sugar-Free, Small Batch, Cold Pressed"),
        tags=_list("refreshing, party, fizzy, brewed, evening, takeaway, summer"),
    ),
    "Food": Shelf(
        nouns={
            "Pastry": _list("doughnut, cupcake, croissant, cinnamon roll, apple pie, blueberry muffin"),
            "Cakes": _list("birthday cake, cheesecake, fruit tart, chocolate cake"),
            "Chocolate": _list("chocolate bar, truffle box, hazelnut praline"),
            "Ice Cream": _list("ice cream bowl, gelato tub, fruit sorbet"),
            "Ready Meals": _list("takeout box, bento box, ramen bowl, pizza slice, cheese burger"),
            "Pantry": _list("tomato can, olive oil, pasta pack, strawberry jam, granola, maple syrup, peanut butter"),
        },
        attributes={
            "flavor": _list("vanilla, cocoa, berry, savory, spicy, buttery, caramel, herb"),
            "serving": _list("snack, party, breakfast, dinner, dessert"),
            "texture": _list("soft, crisp, creamy, fluffy"),
        },
        details=_list("100 g, 250 g, Box of 4, Organic, Freshly Baked, Gluten-Free, Hand-Rolled, Slow-Cooked"),
        tags=_list("sweet, baked, tasty, family, picnic, gourmet, comfort"),
    ),
    "Beauty": Shelf(
        nouns={
            "Skin Care": _list("face serum, body lotion, day cream, clay mask, sunscreen, eye cream, face oil"),
            "Fragrance": _list("perfume, eau de toilette, body mist"),
            "Hair Care": _list("shampoo, conditioner, hair oil, hair dryer, hair brush"),
            "Bath": _list("soap bar, bath sponge, bath salts, shower gel, bath bomb"),
            "Makeup": _list("mascara, eye shadow palette, blush compact, lip gloss, nail polish, makeup brush"),
            "Oral Care": _list("toothbrush, mouthwash, toothpaste"),
            "Accessories": _list("vanity mirror, cosmetic pouch, nail scissors"),
        },
        attributes={
            "use": _list("daily, morning, night, bath, evening"),
            "finish": _list("matte, satin, glossy, natural"),
            "scent": _list("floral, herbal, citrus, rose, unscented"),
        },
        details=_list("50 ml, 200 ml, Vegan, With Vitamin C, Fragrance-Free, Travel Size, With Aloe, Long-Lasting"),
        tags=_list("glow, hydrating, face, gentle, romantic, fresh, self-care"),
    ),
    "Clothing": Shelf(
        nouns={
            "Outerwear": _list("coat, rain jacket, denim jacket, down parka, fleece vest"),
            "Dresses": _list("summer dress, evening gown, wrap dress, pleated skirt"),
            "Tops": _list("T-shirt, polo shirt, wool sweater, silk blouse, linen shirt, hoodie, cardigan"),
            "Trousers": _list("jeans, chinos, cargo shorts, leggings"),
            "Hats": _list("baseball cap, beanie, bucket hat"),
            "Accessories": _list("gloves, socks, leather belt, silk tie"),
            "Nightwear": _list("kimono robe, pajama set"),
        },
        attributes={
            "material": _list("cotton, wool, linen, denim, silk, cashmere, recycled polyester"),
            "style": _list("casual, classic, elegant, sporty, vintage"),
            "season": _list("summer, winter, spring, all year"),
        },
        details=_list("Slim Fit, Relaxed Fit, Organic Cotton, Merino Blend, Water-Repellent, Size M, Hand-Stitched"),
        tags=_list("everyday, warm, light, tailored, fashion, weekend, soft"),
    ),
    "Bags & Shoes": Shelf(
        nouns={
            "Bags": _list(
                "backpack, handbag, coin purse, briefcase, tote bag, belt bag, clutch, messenger bag, wallet"
            ),
            "Shoes": _list("running shoe, leather shoe, ankle boot, hiking boot, canvas sneaker, ballet flat, loafer, "
                           "sandal, rain boot, espadrille"),
            "Travel": _list("duffel bag, garment bag, toiletry bag"),
        },
        attributes={
            "material": _list("leather, suede, canvas, mesh, recycled nylon, nappa leather"),
            "style": _list("casual, elegant, sporty, vintage, modern"),
            "use": _list("office, school, city, evening, trail, travel"),
        },
        details=_list(
            "Lightweight Mesh, Full-Grain Leather, Water-Resistant, With Laptop Sleeve, Cushioned Sole, Zip Top"
        ),
        tags=_list("everyday, travel, classic, city, comfort, outdoor, evening"),
    ),
    "Electronics": Shelf(
        nouns={
            "Photo": _list("camera, action camera, tripod, instant camera"),
            "Computers": _list("laptop, tablet, mechanical keyboard, monitor, printer"),
            "TV & Video": _list("television, projector, streaming stick"),
            "Audio": _list("radio, smart speaker, earbuds, turntable, soundbar"),
            "Wearables": _list("wrist watch, smart watch, fitness band"),
            "Phones": _list("telephone, smartphone, phone case"),
            "Accessories": _list("computer mouse, power bank, charging cable, desk lamp, wifi router"),
        },
        attributes={
            "style": _list("minimal, retro, modern, rugged"),
            "use": _list("work, music, photography, gaming, travel, living room"),
            "power": _list("battery, mains, solar, USB-C"),
        },
        details=_list(
            "256 GB, Bluetooth 5.3, Noise-Reducing, 4K, Fast Charging, 40 h Battery, Wireless, Water-Resistant"
        ),
        tags=_list("smart, office, screen, sound, portable, student, gadget"),
    ),
    "Sports": Shelf(
        nouns={
            "Ball Sports": _list("soccer ball, basketball, football, volleyball, rugby ball, baseball bat, golf ball"),
            "Racket Sports": _list("tennis racket, table tennis paddle, badminton racket, tennis ball"),
            "Skating": _list("skateboard, roller skate, ice skate, longboard"),
            "Water Sports": _list("diving mask, surfboard, swim goggles, kayak paddle"),
            "Fitness": _list("dumbbell, yoga mat, kettlebell, jump rope, resistance band, water bottle"),
            "Outdoor": _list("camping tent, sleeping bag, climbing rope, trekking pole, ski helmet"),
        },
        attributes={
            "material": _list("leather, composite, graphite, carbon, rubber, foam, aluminum"),
            "use": _list("club, training, outdoor, court, street, beach"),
            "level": _list("beginner, club, college, professional"),
        },
        details=_list("Match Quality, Size 5, Non-Slip Grip, Carbon Frame, With Carry Bag, 2 kg, Beginner Set"),
        tags=_list("team, grip, field, training, outdoor, power, street"),
    ),
    "Toys": Shelf(
        nouns={
            "Vehicles": _list("toy race car, toy train, toy car, toy bus, toy tractor, toy airplane, toy boat"),
            "Music Toys": _list("toy guitar, toy piano, xylophone, tambourine"),
            "Games": _list("giant die, jigsaw puzzle, board game, card game, marble run"),
            "Classic Toys": _list("yo-yo, spinning top, paper kite, rocking horse, building bricks"),
            "Plush": _list("teddy bear, plush rabbit, plush dinosaur, rag doll, hand puppet"),
            "Art Supplies": _list("jumbo crayon, modeling clay, finger paint"),
        },
        attributes={
            "material": _list("wood, plastic, foam, plush, die-cast metal, tin"),
            "age": _list("2+, 3+, 4+, 6+, 8+"),
            "use": _list("racing, pretend play, music, building, counting, cuddling"),
        },
        details=_list("With Sound, Set of 12, 30 cm, Washable, Pull-Back Motor, Magnetic, Solid Beech, Ages 3 and Up"),
        tags=_list("kids, fun, family, birthday, pocket, learning, colorful"),
    ),
    "Home": Shelf(
        nouns={
            "Furniture": _list("sofa, dining chair, bed, coffee table, bookshelf, armchair, bar stool"),
            "Kitchenware": _list("serving bowl, coffee mug, frying pan, cutting board, salad plate, kettle, carafe"),
            "Lighting": _list("table lamp, floor lamp, fairy lights"),
            "Decor": _list("candle, picture frame, throw pillow, wool rug, glass vase, wall mirror"),
            "Clocks": _list("alarm clock, wall clock"),
            "Bathroom": _list("bathtub, bath towel, shower curtain, laundry basket"),
        },
        attributes={
            "material": _list("oak, beech, ceramic, stoneware, linen blend, brass, glass"),
            "room": _list("living room, bedroom, kitchen, dining room, bathroom"),
            "style": _list("modern, vintage, Scandinavian, classic, rustic"),
        },
        details=_list("Solid Wood, Set of 4, Hand-Glazed, Dishwasher-Safe, 40 cm, Dimmable, Linen Cover"),
        tags=_list("cozy, decor, seating, kitchen, warm, handmade, sleep"),
    ),
    "Tools": Shelf(
        nouns={
            "Hand Tools": _list("hammer, wrench, screwdriver, hand saw, pliers, chisel, hex key set, hand plane"),
            "Power Tools": _list("cordless drill, angle grinder, jigsaw, orbital sander, impact driver, heat gun"),
            "Clamping": _list("G-clamp, bench vise"),
            "Measuring": _list("tape measure, spirit level, caliper, laser level"),
            "Cutting": _list("scissors, utility knife, bolt cutter"),
            "Access": _list("ladder, step stool"),
            "Cleaning": _list("bucket, push broom, work gloves"),
        },
        attributes={
            "material": _list("forged steel, chrome vanadium, cast iron, aluminum, pine, polypropylene"),
            "level": _list("home, professional, beginner"),
            "use": _list("carpentry, plumbing, assembly, repair, painting"),
        },
        details=_list("450 g, 18 V, Magnetic Tip, Soft-Grip Handle, Hardened Blade, 5 m, 42-Piece, Heavy Duty"),
        tags=_list("workshop, repair, build, garage, grip, durable, nails"),
    ),
    "Garden": Shelf(
        nouns={
            "Gardening": _list("watering can, garden trowel, pruning shears, garden hose, rake, spade, garden fork"),
            "Pots": _list("clay pot, hanging planter, raised bed, seed tray"),
            "Outdoor Living": _list("garden chair, hammock, parasol, fire pit, barbecue grill, solar lantern"),
            "Seeds": _list("flower seeds, herb kit, tulip bulbs"),
        },
        attributes={
            "material": _list("galvanized steel, terracotta, teak, bamboo, ash wood"),
            "use": _list("planting, watering, pruning, patio, balcony"),
            "season": _list("spring, summer, autumn, all year"),
        },
        details=_list("10 l, Rust-Free, FSC Teak, With Ash Handle, 30 m, Self-Watering, UV-Resistant"),
        tags=_list("plants, outdoor, patio, green, growing, sunny, lawn care"),
    ),
    "Pets": Shelf(
        nouns={
            "Dogs": _list("dog leash, dog bowl, dog bed, chew toy, dog harness, dog treats, dog coat"),
            "Cats": _list("cat tree, cat toy, scratching post, cat litter box, cat food, cat tunnel"),
            "Small Animals": _list("hamster wheel, rabbit hutch, bird feeder"),
            "Fish": _list("aquarium, fish food, aquarium filter"),
        },
        attributes={
            "material": _list("nylon, sisal, stainless steel, plush, rope, cork"),
            "size": _list("small, medium, large"),
            "use": _list("walks, play, feeding, sleep, grooming"),
        },
        details=_list("For Puppies, Grain-Free, Reflective, Non-Slip, Machine Washable, 120 cm, With Salmon"),
        tags=_list("dog, cat, playful, cuddly, walk, healthy, paws"),
    ),
    "Stationery": Shelf(
        nouns={
            "Writing": _list("fountain pen, ballpoint pen, pencil set, highlighter, ink bottle, marker set"),
            "Paper": _list(
                "notebook, sketchbook, weekly planner, greeting card, sticky notes, envelope set, wrapping paper"
            ),
            "Desk": _list("stapler, pen holder, desk organizer, calculator, tape dispenser, hole punch"),
            "Art": _list("watercolor set, paint brush, easel"),
        },
        attributes={
            "material": _list("recycled paper, brass, leather cover, birch, resin"),
            "format": _list("A4, A5, A6, pocket"),
            "use": _list("office, school, journaling, drawing, lettering"),
        },
        details=_list("Dotted Pages, Fine Nib, 120 Sheets, Refillable, 24 Colors, Hardcover, Lay-Flat Binding"),
        tags=_list("desk, school, writing, creative, office, notes, paper"),
    ),
    "Jewelry": Shelf(
        nouns={
            "Rings": _list("diamond ring, signet ring, wedding band, stacking ring"),
            "Necklaces": _list("pearl necklace, pendant, locket, chain necklace, choker"),
            "Earrings": _list("hoop earrings, stud earrings, drop earrings, ear cuff"),
            "Bracelets": _list("charm bracelet, bangle, tennis bracelet, anklet"),
            "Accessories": _list("brooch, cuff links, jewelry box, tiara"),
        },
        attributes={
            "material": _list("gold, sterling silver, rose gold, platinum, pearl, enamel"),
            "stone": _list("diamond, sapphire, garnet, opal, moonstone"),
            "style": _list("delicate, statement, vintage, minimal"),
        },
        details=_list("18 K, Adjustable, 45 cm Chain, Hand-Set Stones, Hypoallergenic, Freshwater Pearls"),
        tags=_list("sparkle, wedding, elegant, anniversary, shiny, precious, luxury"),
    ),
    "Baby": Shelf(
        nouns={
            "Feeding": _list("baby bottle, bib, sippy cup, high chair, breast pump, baby spoon"),
            "Sleep": _list("crib, baby blanket, swaddle, night light, baby monitor, mobile"),
            "On the Go": _list("stroller, baby carrier, diaper bag, car seat"),
            "Care": _list("diapers, baby wipes, baby bath, pacifier, baby oil, teether"),
        },
        attributes={
            "material": _list("organic cotton, silicone, muslin, beech, bamboo fiber"),
            "age": _list("0-3 months, 3-6 months, 6-12 months, 12+ months"),
            "use": _list("sleep, feeding, bath, travel, nursery"),
        },
        details=_list("BPA-Free, Pack of 3, Machine Washable, Extra Soft, Foldable, Anti-Colic, Newborn"),
        tags=_list("newborn, gentle, nursery, soft, safe, parents, cuddly"),
    ),
    "Automotive": Shelf(
        nouns={
            "Car Care": _list("car wax, wheel cleaner, microfiber cloth, car shampoo, chamois, tire shine"),
            "Parts": _list(
                "spark plug, brake pads, oil filter, wiper blades, car battery, alloy wheel, headlight bulb"
            ),
            "Accessories": _list("phone mount, floor mats, roof box, steering wheel cover, dash cam, seat cover"),
            "Motorcycle": _list("motorcycle helmet, riding gloves, chain lube"),
            "Garage": _list("car jack, tire inflator, jumper cables, engine oil"),
        },
        attributes={
            "material": _list("aluminum, rubber, microfiber, carbon fiber, ABS plastic"),
            "fit": _list("universal, compact cars, SUVs, motorcycles"),
            "use": _list("cleaning, repair, comfort, safety, road trips"),
        },
        details=_list("500 ml, 12 V, Set of 4, All Weather, 5W-30, Quick Release, DOT Approved"),
        tags=_list("car, garage, road, shine, engine, safety, travel"),
    ),
}  # fmt: skip

NOUNS: dict[str, tuple[str, str]] = {
    noun: (department, subcategory)
    for department, shelf in SHELVES.items()
    for subcategory, nouns in shelf.nouns.items()
    for noun in nouns
}
"""Every noun with its department and subcategory."""


_STOP = re.compile(r"\b(?:a|an|and|at|in|of|on|the|with|by|under|near|beside|behind|against|some|few)\b|,")


def text_product(rng: np.random.Generator) -> Product:
    """Invent a product without a picture, in the style of the sample catalog."""
    shelf = choose(rng, tuple(SHELVES))
    noun = choose(rng, choose(rng, tuple(SHELVES[shelf].nouns.values())))
    department, subcategory = NOUNS[noun]
    words = SHELVES[department]
    color = choose(rng, COLORS)
    detail = choose(rng, words.details if rng.random() < 0.7 else DETAILS)
    title = f"{choose(rng, BRANDS)} {color} {_capitals(noun)}, {detail}"
    keys = tuple(words.attributes)
    named = sorted(int(key) for key in rng.permutation(len(keys))[: 2 + int(rng.integers(2))])
    attributes = {keys[key]: choose(rng, words.attributes[keys[key]]) for key in named} | {"color": color.lower()}
    tags = tuple(words.tags[int(tag)] for tag in rng.permutation(len(words.tags))[:3])
    return Product(
        product_id=f"text-{zlib.crc32(title.encode()):08x}-{int(rng.integers(1 << 32)):08x}",
        title=title,
        category=(department, subcategory),
        attributes=attributes,
        tags=tags,
        price=round(float(np.exp(rng.normal(3.2, 0.8))), 2),
        currency="USD",
    )


def caption(scene: Scene, product_noun: str | None, rng: np.random.Generator) -> str:
    """Describe a whole ad: the product's noun, then the scene in the words of `describe`, or what it shows of it."""
    text = describe(scene, rng) if not scene.hidden else ", ".join(_seen(scene))
    if product_noun is None:
        return text
    named = product_noun if product_noun.endswith("s") else f"{a_or_an(product_noun)} {product_noun}"
    opening = choose(rng, (named, product_noun, f"product photo of {named}"))
    return f"{opening}, {text}"


def _seen(scene: Scene) -> list[str]:
    """The plainest name of every slot that is not hidden."""
    return [PHRASES[slot][value][0] for slot, value in scene.slots.items() if value is not None]


def rough(description: str, rng: np.random.Generator) -> str:
    """The rough prompt of the rewrite task: the description's keywords, shuffled, without the small words."""
    pieces = [piece.strip() for piece in _STOP.split(description) if piece.strip()]
    order = [int(index) for index in rng.permutation(len(pieces))]
    if len(order) > 3 and rng.random() < 0.2:
        order.pop()
    return (" " if rng.random() < 0.5 else ", ").join(pieces[index] for index in order)


def _capitals(noun: str) -> str:
    return " ".join(word[0].upper() + word[1:] for word in noun.split())
