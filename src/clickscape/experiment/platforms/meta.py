"""Requests to Meta's Marketing API: a split test whose cells are copies of one ad set, one for each variant.

The list has the form of a batch of the Graph API: `{result=NAME:$.path}` stands for a value in the answer to the
request of that name, a batch fills it in by itself.  All that is made is paused, and every creative is opted out of
every enhancement that Meta documents (since v22.0 each has to be named), and of ads of several advertisers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from clickscape.errors import ExperimentError
from clickscape.experiment.definition import ExperimentDefinition
from clickscape.experiment.platforms.account import MetaAccount
from clickscape.experiment.platforms.picture import Picture, arm_name, of_variant, whole_percents
from clickscape.experiment.platforms.schema import opted_out, schema_of

Request = dict[str, Any]
_MOST_CELLS = 5
_OUT = {"enroll_status": "OPT_OUT"}


def split_test_requests(
    definition: ExperimentDefinition, pictures: Sequence[Picture], account: MetaAccount, *, today: date
) -> list[Request]:
    """Return the requests in the order in which they are sent: images, creatives, ad sets, ads, the split test.

    ExperimentError for more than five variants, shares that are no whole percents, a start that is past, and pictures
    of another placement than the account file names.
    """
    if len(definition.variants) > _MOST_CELLS:
        raise ExperimentError(f"experiment {definition.name!r} has {len(definition.variants)} variants, a split test "
                              f"compares at most {_MOST_CELLS}. Start one with fewer variants.")  # fmt: skip
    if account.start <= today:
        raise ExperimentError(f"the split test would start on {account.start}, which is not after today, {today}. "
                              f"Choose a later start in the account file.")  # fmt: skip
    shares = whole_percents(definition)
    ads, cells = [], []
    copies: list[Request] = []
    uploads: dict[str, Request] = {}
    creatives: list[Request] = []
    for position, variant in enumerate((one.name for one in definition.variants), start=1):
        shown = of_variant(pictures, variant)
        for one in shown:
            number = len(creatives) + 1
            if one.sha256 not in uploads:
                name = f"image-{len(uploads) + 1}"
                uploads[one.sha256] = _post(name, f"act_{account.ad_account_id}/adimages", {}, attached=one.file)
            creatives.append(_creative(f"creative-{number}", one, uploads[one.sha256]["name"], account))
            about = {
                "name": f"{one.creative_id} [{arm_name(definition, variant)}]",
                "adset_id": f"{{result=adset-{position}:$.copied_adset_id}}",
                "creative": {"creative_id": f"{{result=creative-{number}:$.id}}"},
                "status": "PAUSED",
            }
            ads.append(_post(f"ad-{number}", f"act_{account.ad_account_id}/ads", about))
        rename = {"rename_strategy": "ONLY_TOP_LEVEL_RENAME", "rename_suffix": f" [{arm_name(definition, variant)}]"}
        settings = {"deep_copy": False, "status_option": "PAUSED", "rename_options": rename}
        copies.append(_post(f"adset-{position}", f"{account.ad_set_id}/copies", settings))
        share = shares[variant]
        ad_set = f"{{result=adset-{position}:$.copied_adset_id}}"
        cells.append({"name": arm_name(definition, variant), "treatment_percentage": share, "adsets": [ad_set]})
    first, last = account.seconds
    study = {
        "name": f"clickscape {definition.name}",
        "description": f"clickscape: {', '.join(definition.treatments)} against {definition.control}"[:2048],
        "type": "SPLIT_TEST",
        "start_time": first,
        "end_time": last,
        "cells": cells,
    }
    return [*uploads.values(), *creatives, *copies, *ads, _post("study", f"{account.business_id}/ad_studies", study)]


def _creative(name: str, picture: Picture, image: str, account: MetaAccount) -> Request:
    if picture.placement not in (account.placement, ""):
        raise ExperimentError(f"{picture.file} is for the placement {picture.placement}, the account file names "
                              f"{account.placement}. Run clickscape export for that, or change the file.")  # fmt: skip
    link = {
        "image_hash": f"{{result={image}:$.images.*.hash}}",
        "link": account.link.replace("{product_id}", picture.product_id),
        "message": account.message,
    }
    body = {
        "name": f"{picture.creative_id} {picture.sha256[:12]}",
        "object_story_spec": {"page_id": account.page_id, "link_data": link},
        "degrees_of_freedom_spec": {"creative_features_spec": {feature: dict(_OUT) for feature in opted_out()}},
        "contextual_multi_ads": dict(_OUT),
    }
    return _post(name, f"act_{account.ad_account_id}/adcreatives", body)


def _post(name: str, path: str, body: Request, *, attached: str | None = None) -> Request:
    made = {"name": name, "method": "POST", "relative_url": f"{schema_of('meta')['x-version']}/{path}", "body": body}
    return made if attached is None else made | {"attached_files": attached}
