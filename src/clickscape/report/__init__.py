"""The report: one page that shows what a run achieved, every number with its interval, rebuilt from a saved record."""

from __future__ import annotations

from clickscape.report.html import compose, render
from clickscape.report.records import load, save

__all__ = ["compose", "load", "render", "save"]
