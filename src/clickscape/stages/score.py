"""Stage `score`: rank images of one product by the workspace's reward model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clickscape import reward as reward_room
from clickscape.catalog.images import open_image
from clickscape.compute.device import best_device
from clickscape.stages.draw import find_product
from clickscape.types import Ranked
from clickscape.workspace import Workspace


def score(workspace: Workspace, product_id: str, images: Sequence[Path]) -> list[tuple[Path, Ranked]]:
    """The images, best first, each with its score against the others (logits) and its interval."""
    product = find_product(workspace, product_id)
    pictures = [open_image(path)[..., :3] for path in images]
    ranking = reward_room.load(workspace.models / "reward", device=best_device()).rank(product, pictures)
    return [(images[ranked.index], ranked) for ranked in ranking]
