"""Requests to Google Ads: an experiment that compares images within one asset group of a Performance Max campaign.

The platform knows two arms.  The control arm is the asset group as it is; the treatment arm adds new images to it.  All
operations go in one request in a fixed order and name what is not there yet by negative ids (Google Ads API, guide
"Asset optimization experiments").  `validateOnly` is true: whoever sends the request decides when it is not.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from clickscape.errors import ExperimentError
from clickscape.experiment.definition import ExperimentDefinition
from clickscape.experiment.platforms.account import GoogleAdsAccount
from clickscape.experiment.platforms.picture import Picture, arm_name, of_variant, whole_percents

Request = dict[str, Any]

FIELDS: Mapping[str, str] = {
    "google-pmax-landscape": "MARKETING_IMAGE",
    "google-pmax-square": "SQUARE_MARKETING_IMAGE",
    "google-pmax-portrait": "PORTRAIT_MARKETING_IMAGE",
}
"""Placement of `clickscape export` → the field of an asset group that takes such images."""

OPT_OUTS = ("GENERATE_IMAGE_ENHANCEMENT", "GENERATE_IMAGE_EXTRACTION")
"""Automations of a campaign that change images or bring in others."""

_MOST_IMAGES = 20  # of an asset group, Google Ads Help: About asset groups


def experiment_request(
    definition: ExperimentDefinition, pictures: Sequence[Picture], account: GoogleAdsAccount, *, today: date
) -> Request:
    """Return the body of `googleAds:mutate` that uploads the images of the treatment and starts the experiment.

    ExperimentError for more than two variants, shares that are no whole percents, a start that is past, and images that
    no field of an asset group takes.
    """
    if len(definition.treatments) != 1:
        raise ExperimentError(f"experiment {definition.name!r} has {len(definition.variants)} variants, Google Ads "
                              f"compares two. Start one experiment for each treatment, one by one.")  # fmt: skip
    if account.start <= today:
        raise ExperimentError(f"the experiment would start on {account.start}, which is not after today, {today}. "
                              f"Choose a later start in the account file.")  # fmt: skip
    treatment = definition.treatments[0]
    shown = of_variant(pictures, treatment)
    if odd := next((one for one in shown if one.placement not in FIELDS), None):
        raise ExperimentError(f"{odd.file} is for the placement {odd.placement}, expected one of {', '.join(FIELDS)}. "
                              f"Run clickscape export with --placement 'google-pmax-*'.")  # fmt: skip
    if len(shown) > _MOST_IMAGES:
        raise ExperimentError(f"variant {treatment!r} has {len(shown)} images, an asset group holds {_MOST_IMAGES}. "
                              f"Start an experiment of fewer products, or export fewer placements.")  # fmt: skip
    customer = f"customers/{account.customer_id}"
    names = {number: f"{customer}/assets/-{number}" for number in range(1, len(shown) + 1)}
    experiment = f"{customer}/experiments/-{len(shown) + 1}"
    group = f"{customer}/assetGroups/{account.asset_group_id}"
    links = [(names[number], FIELDS[one.placement]) for number, one in enumerate(shown, start=1)]
    shares = whole_percents(definition)

    def arm(variant: str, assets: Sequence[tuple[str, str]]) -> Request:
        info: Request = {"assetGroup": group}
        if assets:
            info["assetGroupAssets"] = [{"asset": asset, "fieldType": kind} for asset, kind in assets]
        made = {
            "experiment": experiment,
            "name": arm_name(definition, variant),
            "control": variant == definition.control,
            "trafficSplit": str(shares[variant]),  # int64 is a text in JSON
            "campaigns": [f"{customer}/campaigns/{account.campaign_id}"],
            "assetGroups": [info],
        }
        return {"experimentArmOperation": {"create": made}}

    about = {
        "resourceName": experiment,
        "name": f"clickscape {definition.name}",
        "description": f"clickscape: {treatment} against {definition.control}, {', '.join(definition.products)}"[:2048],
        "type": "OPTIMIZE_ASSETS",
        "status": "ENABLED",
        "startDate": account.start.isoformat(),
        "endDate": account.end.isoformat(),
        "optimizeAssetsExperiment": {"optimizeAssetsExperimentSubtype": "COMPARE_ASSETS"},
    }
    operations = [
        *({"assetOperation": {"create": _asset(names[n], one)}} for n, one in enumerate(shown, start=1)),
        {"experimentOperation": {"create": about}},
        arm(definition.control, ()),
        arm(treatment, links),
        *(
            {"assetGroupAssetOperation": {"create": {"assetGroup": group, "asset": asset, "fieldType": kind}}}
            for asset, kind in links
        ),
    ]
    return {"mutateOperations": operations, "partialFailure": False, "validateOnly": True}


def opt_out_request(account: GoogleAdsAccount) -> Request:
    """Return the body of `googleAds:mutate` that forbids the campaign to alter images; it replaces the whole list."""
    settings = [{"assetAutomationType": one, "assetAutomationStatus": "OPTED_OUT"} for one in OPT_OUTS]
    campaign = f"customers/{account.customer_id}/campaigns/{account.campaign_id}"
    update = {"resourceName": campaign, "assetAutomationSettings": settings}
    operation = {"campaignOperation": {"updateMask": "assetAutomationSettings", "update": update}}
    return {"mutateOperations": [operation], "partialFailure": False, "validateOnly": True}


def _asset(name: str, picture: Picture) -> Request:
    return {
        "resourceName": name,
        "name": f"{picture.creative_id}@{picture.placement} {picture.sha256[:12]}"[-128:],
        "type": "IMAGE",
        "imageAsset": {"data": base64.b64encode(picture.data).decode("ascii")},
    }
