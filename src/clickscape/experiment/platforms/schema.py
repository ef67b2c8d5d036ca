"""Check requests against the JSON schemas that lie beside this file, each with its source and the day of its check."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from clickscape.errors import ExperimentError
from clickscape.experiment.platforms.account import Platform

Json = Any


@lru_cache(maxsize=2)
def schema_of(platform: Platform) -> dict[str, Json]:
    """Return the schema of a platform's requests; `x-source`, `x-checked` and `x-version` say what it follows."""
    text = (Path(__file__).parent / f"{platform}.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Json] = json.loads(text)
    return loaded


def check_request(request: Json, platform: Platform) -> None:
    """Raise ExperimentError, which names the place, where a request is not what the platform's schema allows."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(schema_of(platform)).iter_errors(request))
    if error is not None:
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
        raise ExperimentError(f"the request to {platform} is not of its schema at {place or 'its top'}: "
                              f"{error.message[:300]}. Correct the account file, or the experiment.")  # fmt: skip


def opted_out() -> tuple[str, ...]:
    """Return Meta's creative features that every creative is opted out of, sorted."""
    return tuple(schema_of("meta")["$defs"]["features"]["required"])


def undocumented_features() -> tuple[str, ...]:
    """Return the features that Meta's client library knows and its documentation does not say how to opt out of."""
    return tuple(schema_of("meta")["x-features-without-documentation"])
