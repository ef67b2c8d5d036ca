"""Advertising images: from a product and a description to a picture, by one of the `RENDERERS`."""

from __future__ import annotations

from clickscape.render.renderer import NO_MARGINS, RENDERERS, Margins, Renderer, Rendering, load

__all__ = ["NO_MARGINS", "RENDERERS", "Margins", "Renderer", "Rendering", "load"]
