"""Which creatives may be published: of a product that is in stock and looks and reads as it did when they were made.

A creative carries a digest of the product that it was made from; it is stale once that product's digest is another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from clickscape.files import fingerprint
from clickscape.types import Creative, Product

SIMULATED = "simulated: `clickscape simulate` drew it for trying things out, not for shoppers"
"""Why a creative of the simulator is not published."""

DRAWN_ELSEWHERE = "drawn elsewhere: no renderer here can draw it for a placement"
"""Why a shop's own ad is not exported."""

_NEWS = ("availability",)  # attributes that change from day to day and say nothing about the picture


def product_digest(product: Product) -> str:
    """Return the hex digest of what a creative is made from: the product's words and the content of its picture."""
    lasting = {key: value for key, value in product.attributes.items() if key not in _NEWS}
    picture = Path(product.image)
    seen = fingerprint(picture) if picture.is_file() else ""
    return fingerprint([product.product_id, product.title, product.category, product.tags, lasting, seen])


def stale(creatives: Sequence[Creative], products: Mapping[str, Product]) -> frozenset[str]:
    """Return ids of creatives whose product has changed since; one without a digest, or without a product, is not."""
    noted = {one.product_id for one in creatives if one.product_digest} & set(products)
    digests = {product_id: product_digest(products[product_id]) for product_id in noted}
    return frozenset(
        one.creative_id
        for one in creatives
        if one.product_digest and one.product_digest != digests.get(one.product_id, one.product_digest)
    )


def publishable(
    creatives: Sequence[Creative],
    products: Mapping[str, Product],
    *,
    approved_only: bool,
    renderers: Collection[str],
) -> tuple[list[Creative], Counter[str]]:
    """Return the creatives that may be published, live ones first, and a count of the others by reason.

    renderers: names of those that can draw a creative anew, for a placement.
    """
    old = stale(creatives, products)
    found: list[Creative] = []
    left_out: Counter[str] = Counter()
    for creative in creatives:
        product = products.get(creative.product_id)
        if creative.is_simulated:
            left_out[SIMULATED] += 1
        elif creative.renderer not in renderers:
            left_out[DRAWN_ELSEWHERE] += 1
        elif creative.status in ("rejected", "retired"):
            left_out[creative.status] += 1
        elif approved_only and creative.status == "draft":
            left_out["draft, not approved"] += 1
        elif product is None:
            left_out["product no longer in the catalog"] += 1
        elif _sold_out(product):
            left_out["product out of stock"] += 1
        elif creative.creative_id in old:
            left_out["stale: the product has changed, see `clickscape refresh`"] += 1
        else:
            found.append(creative)
    return sorted(found, key=lambda one: one.status != "live"), left_out


def _sold_out(product: Product) -> bool:
    """Whether the feed said so: `out of stock`, `out_of_stock` or schema.org's `OutOfStock`."""
    said = product.attributes.get("availability", "").lower()
    return "".join(letter for letter in said if letter.isalpha()).endswith("outofstock")
