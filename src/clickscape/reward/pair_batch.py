"""Batches of pairs: which creatives pass the heads, and the pairs between them, whole products at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from clickscape.reward.data import RewardData, pair_weights


@dataclass(frozen=True)
class PairBatch:
    """Inputs of the heads, and the pairs between them.

    creatives: index in the data. product: index in `products`. first, second: row and side of the logits. preference:
    P(first better). weight: pairs of one product share one unit.
    """

    products: list[str]
    creatives: Int64[Tensor, "row side"]
    product: Int64[Tensor, " row"]
    first: Int64[Tensor, "pair 2"]
    second: Int64[Tensor, "pair 2"]
    pair_product: Int64[Tensor, " pair"]
    preference: Float32[Tensor, " pair"]
    weight: Float32[Tensor, " pair"]

    def to(self, device: torch.device) -> PairBatch:
        """Return the same rows on another device."""
        tensors: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **tensors)


def build_batch(data: RewardData, *, form: Literal["single", "pair"], rng: np.random.Generator) -> PairBatch:
    """Return all pairs as one batch; a row is a creative (single form), or a pair in one random order (pair form)."""
    pairs, places = data.informative, data.pair_indices
    products = sorted({pair.product_id for pair in pairs})
    numbers = {product_id: number for number, product_id in enumerate(products)}
    pair_product = np.array([numbers[pair.product_id] for pair in pairs])
    order = np.argsort(pair_product, kind="stable")
    places, pair_product = places[order], pair_product[order]
    if form == "single":
        of_creative = {int(place): number for two, number in zip(places, pair_product, strict=True) for place in two}
        creatives = np.array(sorted(of_creative, key=lambda place: (of_creative[place], place)))[:, None]
        row_of = {int(place): row for row, place in enumerate(creatives[:, 0])}
        product = np.array([of_creative[int(place)] for place in creatives[:, 0]])
        first, second = (
            np.array([(row_of[int(place)], 0) for place in places[:, side]], dtype=np.int64) for side in (0, 1)
        )
    else:
        turned = rng.random(len(places)) < 0.5
        creatives = np.where(turned[:, None], places[:, ::-1], places)
        product = pair_product
        first, second = (np.stack([np.arange(len(places)), turned ^ bool(side)], axis=1) for side in (0, 1))
    return PairBatch(
        products=products,
        creatives=torch.from_numpy(creatives.astype(np.int64)),
        product=torch.from_numpy(product),
        first=torch.from_numpy(first.astype(np.int64)),
        second=torch.from_numpy(second.astype(np.int64)),
        pair_product=torch.from_numpy(pair_product),
        preference=torch.tensor([pairs[index].preference for index in order], dtype=torch.float32),
        weight=torch.from_numpy(pair_weights(pairs)[order]).float(),
    )


def take_products(rows: PairBatch, chosen: Int64[Tensor, " product"]) -> tuple[Int64[Tensor, " row"], PairBatch]:
    """Return the indices of the rows of some products, and these rows with their pairs."""
    picked = torch.isin(rows.product, chosen).nonzero()[:, 0]
    pairs = torch.isin(rows.pair_product, chosen).nonzero()[:, 0]
    place = torch.full((len(rows.product),), -1)
    place[picked] = torch.arange(len(picked))

    def moved(ends: Tensor) -> Tensor:
        return torch.stack([place[ends[pairs, 0]], ends[pairs, 1]], dim=1)

    return picked, replace(
        rows,
        creatives=rows.creatives[picked],
        product=rows.product[picked],
        first=moved(rows.first),
        second=moved(rows.second),
        pair_product=rows.pair_product[pairs],
        preference=rows.preference[pairs],
        weight=rows.weight[pairs],
    )
