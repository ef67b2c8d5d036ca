"""Settings: one frozen model per stage, read from clickscape.toml, with every unit in its description.

What can be derived is not a setting. Unknown keys are errors, so a typing mistake never silently means the default.
"""

from __future__ import annotations

from clickscape.config.clicks import ClicksConfig, LogColumn
from clickscape.config.compute import ComputeConfig
from clickscape.config.optimization import MonitorConfig, OptimizeConfig, RelevanceConfig
from clickscape.config.serve import ServeConfig
from clickscape.config.settings import (
    DIFFUSION_FAMILIES,
    DiffusionConfig,
    FidelityConfig,
    GenerateConfig,
    IngestConfig,
    PretrainConfig,
    RewardConfig,
    Settings,
    TinyConfig,
    load,
    read,
)
from clickscape.config.simulation import AudienceConfig, SimulateConfig
from clickscape.config.split import SplitConfig

__all__ = [
    "DIFFUSION_FAMILIES",
    "AudienceConfig",
    "ClicksConfig",
    "ComputeConfig",
    "DiffusionConfig",
    "FidelityConfig",
    "GenerateConfig",
    "IngestConfig",
    "LogColumn",
    "MonitorConfig",
    "OptimizeConfig",
    "PretrainConfig",
    "RelevanceConfig",
    "RewardConfig",
    "ServeConfig",
    "Settings",
    "SimulateConfig",
    "SplitConfig",
    "TinyConfig",
    "load",
    "read",
]
