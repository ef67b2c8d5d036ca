"""What the settings of every stage have in common."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from clickscape.errors import ConfigError

_LARGEST = 1e9


class StageConfig(BaseModel):
    """Frozen settings of one stage, one section of clickscape.toml; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*")
    @classmethod
    def _bounded(cls, value: object) -> object:
        """Tables, arrays and devices hold no larger integers; no clock, weight or share needs larger fractions."""
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError("must fit into 64 bits")
        if isinstance(value, float) and not abs(value) <= _LARGEST:
            raise ValueError(f"must be a number up to {_LARGEST:,.0f}")
        return value

    def __hash__(self) -> int:
        """Equal settings, equal hash; tables among them, too (settings are keys of caches)."""
        return hash(self.model_dump_json())

    def changed(self, **values: object) -> Self:
        """Return these settings with other values (None: as they are), checked as those of clickscape.toml.

        ConfigError for a wrong one.
        """
        given = {name: value for name, value in values.items() if value is not None}
        try:
            return type(self).model_validate({**self.model_dump(), **given})
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            name = ".".join(map(str, first["loc"])) or type(self).__name__
            raise ConfigError(
                f"{name}: {first['msg']}. Give another value, on the command line or in clickscape.toml."
            ) from None
