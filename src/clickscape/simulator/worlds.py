"""All worlds by their names: the two frozen ones, and the family of drawn ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from clickscape.config.simulation import WORLDS
from clickscape.errors import ConfigError
from clickscape.render.scene import Scene
from clickscape.simulator import world
from clickscape.simulator.family import draw_world
from clickscape.types import Product


class ClickWorld(Protocol):
    """True CTRs of any product in any scene; `figures` are what the world's own `measure` says of a picture."""

    @property
    def name(self) -> str:
        """Its name in settings."""
        ...

    @property
    def segments(self) -> Mapping[str, float]:
        """Segments of shoppers and their shares of the traffic."""
        ...

    def measure(self, image: np.ndarray, mask: np.ndarray, /) -> Any:
        """Return what its shoppers see in a picture (height, width, 3) with its product's alpha (height, width)."""
        ...

    def segment_log_ctrs(
        self, product: Product, scene: Scene, figures: Any, image_key: str | None = None, /
    ) -> tuple[float, ...]:
        """Log CTR at examination 1 of each segment."""
        ...

    def relative_ctr(self, product: Product, scene: Scene, figures: Any, /) -> float:
        """CTR over the segments, as a multiple of the product's base."""
        ...

    def best_scene(self, product: Product) -> Scene:
        """The scene with the largest effect, pictures aside."""
        ...


def load(name: str) -> ClickWorld:
    """Load a world by its name: harmony, siren, or drawn-N for N from 0 to 999999999; ConfigError for any other."""
    if not re.fullmatch(WORLDS, name):
        raise ConfigError(f"no world {name!r}. There are: {', '.join(world.WORLDS)}, and drawn-N for any number N.")
    return draw_world(int(name.removeprefix("drawn-"))) if name.startswith("drawn-") else world.load(name)
