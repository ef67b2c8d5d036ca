"""Price features of a product: its z-scores among the catalog's prices and among its department's.

Prices are compared as logarithms and within one currency only: 3,000 yen are not a hundred times 30 dollars. A price of
0 stands in a feed for a price that nobody knows; it, no price, no currency and a currency that training did not meet
are all unknown, which is a fact of its own and not a price of average size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from clickscape.types import Product

PRICE_FEATURES = 3
"""Known (1 or 0), place among all prices, place among the department's; the places in standard deviations."""

FEWEST = 8
"""Prices that a department needs for a place of its own; with fewer, its prices are placed among all."""

FARTHEST = 3.0
"""Standard deviations beyond which a price is only "very expensive" or "very cheap": no extrapolation."""

ALL = ""
"""The department that stands for all of a currency's prices."""


@dataclass(frozen=True, slots=True)
class Prices:
    """currency → department (`ALL`: every one) → mean and standard deviation of the natural logarithm of the price."""

    scales: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for currency, scales in self.scales.items():
            if ALL not in scales:
                raise ValueError(f"no scale for all prices in {currency!r}")
            for mean, deviation in scales.values():
                if not (math.isfinite(mean) and math.isfinite(deviation) and deviation > 0):
                    raise ValueError(f"prices in {currency!r} need a finite mean and a deviation > 0")

    def features(self, product: Product) -> tuple[float, float, float]:
        """`PRICE_FEATURES` numbers about a product's price; all 0 where it is unknown."""
        scales = self.scales.get(product.currency or "")
        if scales is None or not product.price:
            return 0.0, 0.0, 0.0
        among_all = _place(product.price, scales[ALL])
        department_scale = scales.get(product.department)
        return 1.0, among_all, among_all if department_scale is None else _place(product.price, department_scale)


def measure(products: Iterable[Product]) -> Prices:
    """The scales of a catalog's prices; a currency or department in which all prices are the same has none."""
    found: dict[str, dict[str, list[float]]] = {}
    for product in products:
        if product.price and product.currency:
            for department in {ALL, product.department}:
                logs = found.setdefault(product.currency, {}).setdefault(department, [])
                logs.append(math.log(product.price))
    scales = {
        currency: {
            department: (float(np.mean(logs)), float(np.std(logs)))
            for department, logs in sorted(departments.items())
            if (department == ALL or len(logs) >= FEWEST) and np.std(logs) > 1e-6
        }
        for currency, departments in sorted(found.items())
    }
    return Prices({currency: departments for currency, departments in scales.items() if ALL in departments})


def _place(price: float, scale: tuple[float, float]) -> float:
    """Standard deviations above the mean of the logarithms, at most `FARTHEST` to either side."""
    mean, deviation = scale
    return min(max((math.log(price) - mean) / deviation, -FARTHEST), FARTHEST)
