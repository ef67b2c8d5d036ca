"""clickscape turns a product catalog and its click logs into advertising images that people click.

`import clickscape` is cheap; the rooms (`catalog`, `render`, `vlm`, `reward`, …) load what they need when used.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__version__ = "0.1.0"

_ROOMS = ("catalog", "clicks", "gates", "generation", "preference", "render", "report", "reward", "simulator", "vlm")


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return importlib.import_module(f"clickscape.{name}")
    raise AttributeError(f"clickscape has no attribute {name!r}; rooms: {', '.join(_ROOMS)}")
