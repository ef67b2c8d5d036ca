"""Settings of the simulated click worlds."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from clickscape.config.stage import StageConfig

WORLDS = r"harmony|siren|drawn-(0|[1-9][0-9]{0,8})"
"""Regular expression of the names of simulated worlds; none has two."""


CHANGES = ("days", "launch_days", "frequency", "fatigue", "wear_out", "drift", "rhythm", "audiences")
"""Settings of `simulate` that make a log change over its days, or record who sees it."""


class AudienceConfig(StageConfig):
    """One audience segment of a changing log."""

    share: float = Field(gt=0, le=1, description="share of the users, relative to the other audiences' shares")
    ctr: float = Field(1.0, gt=0, le=10, description="its CTR, as a multiple of the world's")
    frequency: float = Field(1.0, gt=0, le=10, description="how often its users see ads, relative to the others")


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
    days: int = Field(14, ge=1, le=400, description="days of the log")
    launch_days: int = Field(0, ge=0, description="creatives go on air on the first day or so many days later")
    frequency: float = Field(3.0, gt=0, le=1_000, description="average exposures of a creative per user of its product")
    fatigue: float = Field(
        0.0, ge=0, le=2, description="loss of log CTR per e-fold of 1 + earlier exposures of a user to the creative"
    )
    wear_out: float = Field(0.0, ge=0, le=2, description="loss of log CTR per week on air, whoever looks")
    drift: float = Field(0.0, ge=0, le=1, description="sd of log CTR per week that all creatives of a product share")
    rhythm: float = Field(0.0, ge=0, le=1, description="sd of log CTR over the weekdays")
    record_segments: bool = Field(
        False, description="the log has a column audience: which segment of the world's shoppers saw the ad"
    )
    audiences: dict[str, AudienceConfig] = Field(
        {}, description="by name, as [simulate.audiences.loyal]; the log then has a column audience"
    )

    @field_validator("world")
    @classmethod
    def _exists(cls, name: str) -> str:
        if not re.fullmatch(WORLDS, name):
            raise ValueError(f"no world {name!r}; expected harmony, siren, or drawn-N for a number N")
        return name

    @model_validator(mode="after")
    def _on_air(self) -> SimulateConfig:
        if self.launch_days >= self.days:
            raise ValueError(f"launch_days {self.launch_days} in a log of {self.days} days; choose fewer")
        if self.record_segments and self.is_changing:
            raise ValueError("record_segments is for logs that do not change; leave it out, or " + ", ".join(CHANGES))
        return self

    @property
    def is_changing(self) -> bool:
        """Whether anything changes over the days of the log; where not, it is drawn as it always was."""
        return any(getattr(self, name) != type(self).model_fields[name].default for name in CHANGES)
