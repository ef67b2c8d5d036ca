"""What the settings of every stage have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, field_validator


class StageConfig(BaseModel):
    """Frozen settings of one stage, one section of clickscape.toml; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*")
    @classmethod
    def _fits_64_bits(cls, value: object) -> object:
        """Tables, arrays and devices hold no larger integers."""
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError("must fit into 64 bits")
        return value

    def __hash__(self) -> int:
        """Equal settings, equal hash; tables among them, too (settings are keys of caches)."""
        return hash(self.model_dump_json())
