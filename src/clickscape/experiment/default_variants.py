"""What an experiment compares where nobody names its variants: of each product the ad shown now, and a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clickscape.errors import ExperimentError
from clickscape.experiment.definition import Variant, exact

CONTROL, NEW = "control", "new"


@dataclass(frozen=True, slots=True)
class Ad:
    """A creative, its status, and its impressions so far, 0 where nobody counted any."""

    creative_id: str
    product_id: str
    status: str
    impressions: int = 0


def default_variants(ads: Sequence[Ad], *, share: float = 0.5, product_ids: Sequence[str] = ()) -> list[Variant]:
    """Return control and new, which gets `share` of the users; ads stand in the order in which they were made.

    Control is a product's live creative, and new its approved one. Where none is live, as in a shop that has shipped
    nothing yet: control is the approved creative with most impressions, the oldest of equals, and new is the newest of
    the others. Products that lack either are left out, unless named in `product_ids`. ExperimentError for a product
    with several where one is meant.
    """
    control: dict[str, str] = {}
    new: dict[str, str] = {}
    for product_id in dict.fromkeys(ad.product_id for ad in ads):
        if product_ids and product_id not in product_ids:
            continue
        live, approved = (
            [ad for ad in ads if ad.product_id == product_id and ad.status == status] for status in ("live", "approved")
        )
        if live and approved:
            control[product_id], new[product_id] = _only(live), _only(approved)
        elif len(approved) > 1:
            shown = max(approved, key=lambda ad: ad.impressions)
            control[product_id] = shown.creative_id
            new[product_id] = [ad for ad in approved if ad is not shown][-1].creative_id
    for name in product_ids:
        if name not in control:
            lacking = "live" if any(ad.product_id == name and ad.status == "approved" for ad in ads) else "approved"
            raise ExperimentError(f"product {name!r} has no {lacking} creative to compare. Approve one more, or name "
                                  f"the variants.")  # fmt: skip
    if not control:
        raise ExperimentError("no product has a live creative and an approved one, or two that are approved, to "
                              "compare. Approve some, or name the variants.")  # fmt: skip
    return [Variant(CONTROL, float(1 - exact(share)), control), Variant(NEW, share, new)]


def _only(ads: Sequence[Ad]) -> str:
    if len(ads) > 1:
        first, second = ads[0], ads[1]
        raise ExperimentError(f"product {first.product_id!r} has several {first.status} creatives, "
                              f"{first.creative_id!r} and {second.creative_id!r}. Say which are compared by naming the "
                              f"variants, or leave the product out.")  # fmt: skip
    return ads[0].creative_id
