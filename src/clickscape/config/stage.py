"""What the settings of every stage have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StageConfig(BaseModel):
    """Frozen settings of one stage, one section of clickscape.toml; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __hash__(self) -> int:
        """Equal settings, equal hash; tables among them, too (settings are keys of caches)."""
        return hash(self.model_dump_json())
