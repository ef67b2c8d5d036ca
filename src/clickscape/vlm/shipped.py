"""The shipped model's name and folder, in a module that brings no model along."""

from __future__ import annotations

from pathlib import Path

TINY = "tiny"
TINY_FOLDER = Path(__file__).parent / "tiny"
