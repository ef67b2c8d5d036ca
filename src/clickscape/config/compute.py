"""Where the stages that go over a catalog compute: settings of how, never of what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clickscape.config.stage import StageConfig


class ComputeConfig(StageConfig):
    """Workers of cut-outs, generate, refresh, export and score; none of this changes a result, nor asks for it anew."""

    engine: Literal["process", "ray"] = Field(
        "process", description="processes of this machine; or workers of a Ray cluster (extra `ray`)"
    )
    address: str = Field(
        "", description="ray: address of the cluster, as 10.0.0.1:6379; empty: one that lives as long as the command"
    )
    gpus: float = Field(
        0.0, ge=0, le=64, description="ray: GPUs of each worker, where its models lie; 0.5: two workers share one"
    )
