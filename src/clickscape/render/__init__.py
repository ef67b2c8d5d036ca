"""Advertising images: from a product and a description to a picture, by one of the `RENDERERS`."""

from __future__ import annotations

from clickscape.render.renderer import RENDERERS, BatchRenderer, Renderer, Rendering, load, render_all

__all__ = ["RENDERERS", "BatchRenderer", "Renderer", "Rendering", "load", "render_all"]
