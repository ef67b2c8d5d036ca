"""The held-out split: whole groups of products, by a hash of their name.

A group is what must not be torn apart: all color variants of one object, or all that is in a category. The reward
model is evaluated on held-out products, and the prompt model's uplift is measured on them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from clickscape.config import SplitConfig
from clickscape.types import Product


@dataclass(frozen=True, slots=True)
class Split:
    """Group of every product, and the groups that are held out."""

    groups: dict[str, str]
    held_out: frozenset[str]

    def is_held_out(self, product_id: str) -> bool:
        """Whether nothing may learn from this product."""
        return self.groups[product_id] in self.held_out

    def training(self, products: Sequence[Product]) -> list[Product]:
        """The products that may be learned from."""
        return [product for product in products if not self.is_held_out(product.product_id)]

    def testing(self, products: Sequence[Product]) -> list[Product]:
        """The held-out products."""
        return [product for product in products if self.is_held_out(product.product_id)]

    def reserved_groups(self, products: Sequence[Product], *, share: float) -> frozenset[str]:
        """About `share` of the groups that may be learned from, of all departments alike: a judge's or a monitor's own.

        By a hash of their name within the department; two groups at least, where there are three, and never all.
        """
        shelf_of = {self.groups[product.product_id]: product.department for product in self.training(products)}
        names = sorted(shelf_of, key=lambda name: (shelf_of[name], _hash(f"apart/{name}")))
        count = min(max(round(share * len(names)), 2), max(len(names) - 1, 0))
        return frozenset(names[int((number + 0.5) * len(names) / count)] for number in range(count))

    def to_json(self) -> str:
        """The split as JSON, which pydantic reads back."""
        return json.dumps({"groups": self.groups, "held_out": sorted(self.held_out)})


def split_by_hash(products: Sequence[Product], *, config: SplitConfig | None = None) -> Split:
    """Hold out about `config.share` of the groups by a hash of their name, so that a growing catalog keeps its split.

    A group is an object: all products of one attribute `item_group_id` (the name that merchant feeds use), else the
    product itself; or, by "category", all objects whose first product has the same whole category.
    """
    config = config or SplitConfig()
    groups = {product.product_id: product.attributes.get("item_group_id", product.product_id) for product in products}
    if config.by == "category":
        category_of: dict[str, str] = {}
        for product in products:
            name = groups[product.product_id]
            category_of.setdefault(name, " > ".join(product.category) or name)
        groups = {product_id: category_of[name] for product_id, name in groups.items()}
    names = sorted(set(groups.values()), key=_hash)
    held_out = [name for name in names if _hash(name) < config.share]
    if not held_out and len(names) > 1:
        held_out = names[:1]
    if len(held_out) == len(names):
        held_out = held_out[: len(names) - 1]
    return Split(groups, frozenset(held_out))


def _hash(name: str) -> float:
    """A number in [0, 1) that only depends on the name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
