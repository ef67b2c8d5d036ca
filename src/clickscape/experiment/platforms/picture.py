"""One picture of an experiment: the file that a platform gets, and whose it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from clickscape.errors import ExperimentError
from clickscape.experiment.definition import ExperimentDefinition, exact


@dataclass(frozen=True, slots=True)
class Picture:
    """What a variant shows of a product at a placement; `data` are the file's bytes, `file` is where they lie."""

    variant: str
    product_id: str
    creative_id: str
    placement: str
    file: str
    width: int
    height: int
    data: bytes

    @property
    def sha256(self) -> str:
        """Return the hex digest of the file."""
        return hashlib.sha256(self.data).hexdigest()

    def record(self) -> dict[str, object]:
        """Return what a manifest says of it."""
        names = ("variant", "product_id", "creative_id", "placement", "file", "width", "height")
        return {name: getattr(self, name) for name in names} | {"sha256": self.sha256, "bytes": len(self.data)}


def arm_name(definition: ExperimentDefinition, variant: str) -> str:
    """Return the name by which a platform's report tells a variant: EXPERIMENT/VARIANT."""
    return f"{definition.name}/{variant}"


def whole_percents(definition: ExperimentDefinition) -> Mapping[str, int]:
    """Return variant → share in percent; ExperimentError unless they are whole, since platforms take no others."""
    shares = {name: exact(share) * 100 for name, share in definition.shares.items()}
    if odd := next((name for name, share in shares.items() if share.denominator != 1), None):
        raise ExperimentError(f"variant {odd!r} of experiment {definition.name!r} has {float(shares[odd]):g} % of the "
                              f"traffic, expected whole percents. Start an experiment with such shares.")  # fmt: skip
    if sum(shares.values(), Fraction(0)) != 100:
        raise ExperimentError(f"the shares of experiment {definition.name!r} do not add up to 100 %. Correct them.")
    return {name: int(share) for name, share in shares.items()}


def of_variant(pictures: Sequence[Picture], variant: str) -> list[Picture]:
    """Return the pictures of a variant; ExperimentError when there are none."""
    found = [one for one in pictures if one.variant == variant]
    if not found:
        raise ExperimentError(f"no picture of variant {variant!r}. Export its creatives first: clickscape export.")
    return found
