"""A function for worker processes, in a module of its own that they import quickly."""

from __future__ import annotations

import os
import signal
from typing import Any

from clickscape.catalog.cutout_file import CutProduct, cut_product
from clickscape.types import Product


def dies_of_bombs(product: Product, **more: Any) -> CutProduct:
    """`cut_product`, but for a product called Bomb, whose worker ends as one that the kernel kills for its memory."""
    if product.title == "Bomb":
        os.kill(os.getpid(), signal.SIGKILL)
    return cut_product(product, **more)
