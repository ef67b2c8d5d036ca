"""The relevance gate that a workspace's settings ask for, which `optimize` and `generate` share."""

from __future__ import annotations

from collections.abc import Sequence

from clickscape import vlm
from clickscape.gates.relevance import ContrastRelevance, Relevance, panel
from clickscape.gates.vlm_relevance import VlmRelevance
from clickscape.generation.pipeline import cutout_images
from clickscape.stages.reward import start_source
from clickscape.types import Product
from clickscape.workspace import Workspace


def relevance_gate(workspace: Workspace, products: Sequence[Product], *, device: str = "cpu") -> Relevance | None:
    """Open the relevance gate that the settings ask for; it asks the pre-trained model, never the policy."""
    settings = workspace.settings.relevance
    if settings.use == "off":
        return None
    pretrained = vlm.load(start_source(workspace, workspace.settings.optimize), device=device).vlm
    images = cutout_images(pretrained.image_size)
    if settings.by == "server":
        return VlmRelevance(settings, pictures=images)
    return ContrastRelevance(pretrained, panel(products, size=settings.others), pictures=images, limit=settings.limit)
