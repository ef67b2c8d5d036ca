"""Settings of the held-out split."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clickscape.config.stage import StageConfig


class SplitConfig(StageConfig):
    """Products held out of everything that learns; `ingest` writes catalog/split.json by it."""

    by: Literal["object", "category"] = Field(
        "object",
        description="what is held out whole: an object with its color variants (item_group_id, else the product), or a "
        "category with all that is in it",
    )
    share: float = Field(0.2, gt=0, le=0.5, description="share of the objects, or categories, that is held out")
