"""Where in an advertiser's accounts an experiment goes: one TOML file with a section for each platform."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clickscape.errors import ExperimentError
from clickscape.regular_files import read_bytes

Platform = Literal["google-ads", "meta"]
Id = Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    start: date = Field(description="first day of the experiment, in the account's time zone")
    end: date = Field(description="last day")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"end {self.end} is before start {self.start}")
        return self


class GoogleAdsAccount(_Section):
    """A Performance Max campaign and the asset group in which images are compared; ids without dashes."""

    customer_id: Id
    campaign_id: Id
    asset_group_id: Id


class MetaAccount(_Section):
    """An ad set that is copied once for each variant, so that variants differ in their pictures alone."""

    ad_account_id: Id = Field(description="without act_")
    business_id: Id
    page_id: Id
    ad_set_id: Id
    link: str = Field(pattern=r"^https?://\S+$", description="where a click leads; {product_id} is put in")
    message: str = Field(min_length=1, max_length=4096, description="text above the picture")
    placement: str = Field("meta-feed", description="of which placement the pictures are")

    @property
    def seconds(self) -> tuple[int, int]:
        """Return the start of the first day and the end of the last one, seconds since 1970, UTC."""
        first = datetime.combine(self.start, time.min, UTC)
        last = datetime.combine(self.end, time.max, UTC)
        return int(first.timestamp()), int(last.timestamp()) + 1


Account = GoogleAdsAccount | MetaAccount
_MODELS: Mapping[Platform, type[GoogleAdsAccount] | type[MetaAccount]] = {
    "google-ads": GoogleAdsAccount,
    "meta": MetaAccount,
}


def read_account(path: Path, platform: Platform) -> Account:
    """Return the section of a platform; ExperimentError for what is missing, unknown or of another form."""
    try:
        sections = tomllib.loads(read_bytes(path, error=ExperimentError).decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExperimentError(f"{path}: not a TOML file ({error}). Correct it.") from None
    section = sections.get(platform)
    if not isinstance(section, dict):
        raise ExperimentError(f"{path} has no section [{platform}]. Add it, with {_fields(platform)}.")
    try:
        return _MODELS[platform].model_validate(section)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        part = ".".join(str(step) for step in first["loc"])
        remedy = f"Expected {_fields(platform)}; ids are texts of digits."
        raise ExperimentError(f"{path}, [{platform}]{' ' + part if part else ''}: {first['msg']}. {remedy}") from None


def _fields(platform: Platform) -> str:
    return ", ".join(_MODELS[platform].model_fields)
