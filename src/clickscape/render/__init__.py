"""Render advertising images from a product and a description, by one of the `RENDERERS`."""

from __future__ import annotations

from clickscape.render.registry import RENDERERS, load
from clickscape.render.renderer import NO_MARGINS, BatchRenderer, Margins, Renderer, Rendering, render_all

__all__ = ["NO_MARGINS", "RENDERERS", "BatchRenderer", "Margins", "Renderer", "Rendering", "load", "render_all"]
