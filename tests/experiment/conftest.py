from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from clickscape.experiment.assign import key_id
from clickscape.experiment.definition import ExperimentDefinition, Variant

KEY = bytes(range(32))


@pytest.fixture(scope="session")
def experiment() -> Callable[..., ExperimentDefinition]:
    """A function that makes a definition of two equal variants of two products by KEY; any field may be given."""

    def make(**values: Any) -> ExperimentDefinition:
        shares = values.pop("shares", {"control": 0.5, "new": 0.5})
        variants = tuple(Variant(name, share, {"mug": f"mug-{name}", "shoe": f"shoe-{name}"})
                         for name, share in shares.items())  # fmt: skip
        given = {"name": "autumn", "variants": variants, "control": "control", "salt": "autumn"}
        start = datetime(2026, 3, 2, tzinfo=UTC)
        return ExperimentDefinition(**{**given, "start": start, "key_id": key_id(KEY), **values})

    return make
