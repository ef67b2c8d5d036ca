"""Settings of the simulated click worlds."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from clickscape.config.stage import StageConfig

WORLDS = r"harmony|siren|drawn-(0|[1-9][0-9]{0,8})"
"""Regular expression of the names of simulated worlds; none has two."""


class SimulateConfig(StageConfig):
    """A world with known true CTRs, its copywriter's creatives and their click log."""

    world: str = Field(
        "harmony",
        description="which simulated world clicks: harmony, siren, or drawn-N, a world whose structure is drawn",
    )
    creatives_per_product: int = Field(5, ge=1, description="creatives that the copywriter makes for each product")
    median_impressions: int = Field(1_500, ge=1, description="median impressions of a creative")
    size: int = Field(128, ge=64, le=4_096, description="pixels of the square creatives")
    hold_out_scenes: bool = Field(True, description="training products never show the scenes and props held out")
    log: Literal["events", "counts"] = Field("events", description="one row per event, or per creative and position")
    seed: int = Field(0, ge=0, description="seed of everything that is drawn by chance")

    @field_validator("world")
    @classmethod
    def _exists(cls, name: str) -> str:
        if not re.fullmatch(WORLDS, name):
            raise ValueError(f"no world {name!r}; expected harmony, siren, or drawn-N for a number N")
        return name
