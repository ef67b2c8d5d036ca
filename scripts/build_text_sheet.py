"""Draws docs/pictures/text-layer.webp: words over studio pictures, at 360 px and as thumbnails of 160 px.

python scripts/build_text_sheet.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image

from clickscape import render
from clickscape.catalog import sample
from clickscape.render.renderer import Box
from clickscape.render.text import set_text

SIDE, SHOWN, THUMBNAIL, GAP = 1080, 360, 160, 12
TARGET = Path(__file__).parents[1] / "docs" / "pictures" / "text-layer.webp"
ADS = (
    ("perfume", "white marble podium in a studio, soft light, blossom, pink wall", "A bouquet that lingers", "New"),
    ("running_shoe", "slate blocks in a city, neon light", "Made for the long way home", "−20%"),
    ("sofa", "oak floor in a living room, window light, palm", "Stay in. Stretch out.", "Free delivery"),
    ("wine_bottle", "walnut table on a terrace, golden hour, berries", "Evenings, slowly poured", "Reserve"),
    ("headphones", "black marble steps in a loft, spotlight, charcoal wall", "Hear only what matters", "New season"),
    ("sun_hat", "sand floor on a beach, noon sun", "Shade for every shore", ""),
    ("backpack", "grass floor in a forest, noon sun, log", "Carry less, wander more", "Last chance"),
    ("chocolate_bar", "oak table in a studio, soft light, yellow wall, coffee beans", "", "Single origin"),
)


def main() -> None:
    """Draw, set, and paste; prints what every ad's contrast came to."""
    studio, across = render.load("studio"), len(ADS) // 2
    sheet = Image.new("RGB", (across * (SHOWN + GAP) + GAP, 2 * (SHOWN + GAP) + THUMBNAIL + 2 * GAP), (250, 250, 250))
    step = (sheet.width - 2 * GAP - THUMBNAIL) / (len(ADS) - 1)
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{name}-{sample.ORIGINAL}" for name, *_ in ADS]
        products = {product.product_id: product for product in sample.write(folder, 800, product_ids=names)}
        for number, (name, description, tagline, badge) in enumerate(ADS):
            drawn = studio.render(products[f"{name}-{sample.ORIGINAL}"], description, size=(SIDE, SIDE), seed=5)
            ad = set_text(drawn.image, drawn.product, safe=Box(0, 0, SIDE, SIDE), tagline=tagline, badge=badge)
            picture, (row, column) = Image.fromarray(ad.image), divmod(number, across)
            large = picture.resize((SHOWN, SHOWN), Image.Resampling.LANCZOS)
            sheet.paste(large, (GAP + column * (SHOWN + GAP), GAP + row * (SHOWN + GAP)))
            small = picture.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
            sheet.paste(small, (GAP + round(number * step), sheet.height - GAP - THUMBNAIL))
            print(f"{name}: {ad.contrast:.1f}:1")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(TARGET, quality=87, method=6)
    print(f"made {TARGET}, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
