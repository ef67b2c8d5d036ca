"""Requests to platforms: of their schemas, everything paused or only validated, and every enhancement opted out."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from clickscape.errors import ExperimentError
from clickscape.experiment.definition import ExperimentDefinition
from clickscape.experiment.platforms import google_ads, meta
from clickscape.experiment.platforms.account import GoogleAdsAccount, MetaAccount, read_account
from clickscape.experiment.platforms.picture import Picture
from clickscape.experiment.platforms.schema import check_request, opted_out, schema_of, undocumented_features

TODAY = date(2026, 12, 1)
START, END = date(2026, 12, 7), date(2026, 12, 20)
GOOGLE = GoogleAdsAccount(customer_id="123", campaign_id="45", asset_group_id="67", start=START, end=END)
META = MetaAccount(
    ad_account_id="1", business_id="2", page_id="3", ad_set_id="4", start=START, end=END,
    link="https://shop.example/{product_id}", message="New this week",
)  # fmt: skip
Make = Callable[..., ExperimentDefinition]


def picture(variant: str, product: str, placement: str, *, data: bytes = b"") -> Picture:
    creative = f"{product}-{variant}"
    file = f"../exports/{placement}/{creative}.jpg"
    return Picture(variant, product, creative, placement, file, 1200, 628, data or f"{creative}{placement}".encode())


def pictures(*placements: str, variants: tuple[str, ...] = ("control", "new")) -> list[Picture]:
    return [picture(v, p, place) for v in variants for p in ("mug", "shoe") for place in placements]


def google(experiment: Make, **shares: float) -> dict[str, Any]:
    definition = experiment(**({"shares": shares} if shares else {}))
    return google_ads.experiment_request(definition, pictures(*google_ads.FIELDS), GOOGLE, today=TODAY)


def test_the_google_request_is_of_its_schema_and_validates_only(experiment: Make) -> None:
    request = google(experiment)
    check_request(request, "google-ads")
    check_request(google_ads.opt_out_request(GOOGLE), "google-ads")
    assert request["validateOnly"] is True
    assert google_ads.opt_out_request(GOOGLE)["validateOnly"] is True


def test_google_operations_come_in_the_order_that_references_need(experiment: Make) -> None:
    """Assets, the experiment, its two arms, the links: nothing names what a later operation makes."""
    operations = google(experiment)["mutateOperations"]
    kinds = [next(iter(one)) for one in operations]
    images = 2 * 3  # two products of the treatment at three placements; the control's are in the asset group
    assert kinds == [
        *["assetOperation"] * images,
        "experimentOperation",
        *["experimentArmOperation"] * 2,
        *["assetGroupAssetOperation"] * images,
    ]
    made = {one["assetOperation"]["create"]["resourceName"] for one in operations[:images]}
    made.add(operations[images]["experimentOperation"]["create"]["resourceName"])
    text = json.dumps(operations[images + 1 :])
    named = {one for one in made if f'"{one}"' in text}
    assert named == made
    assert len(made) == images + 1, "every new resource has an id of its own"


def test_the_google_images_are_the_exported_bytes(experiment: Make) -> None:
    request = google(experiment)
    wanted = [one.data for one in pictures(*google_ads.FIELDS, variants=("new",))]
    sent = [one["assetOperation"]["create"]["imageAsset"]["data"] for one in request["mutateOperations"][:6]]
    assert [base64.b64decode(one) for one in sent] == wanted


def test_the_google_treatment_arm_holds_the_new_assets_and_the_control_none(experiment: Make) -> None:
    arms = [
        one["experimentArmOperation"]["create"]
        for one in google(experiment, control=0.7, new=0.3)["mutateOperations"]
        if "experimentArmOperation" in one
    ]
    assert [(one["name"], one["control"], one["trafficSplit"]) for one in arms] == [
        ("autumn/control", True, "70"),
        ("autumn/new", False, "30"),
    ]
    assert "assetGroupAssets" not in arms[0]["assetGroups"][0]
    fields = [one["fieldType"] for one in arms[1]["assetGroups"][0]["assetGroupAssets"]]
    assert fields == ["MARKETING_IMAGE", "SQUARE_MARKETING_IMAGE", "PORTRAIT_MARKETING_IMAGE"] * 2


def test_google_compares_two_arms_alone(experiment: Make) -> None:
    with pytest.raises(ExperimentError, match=r"has 3 variants, Google Ads compares two\. Start one"):
        google(experiment, control=0.5, new=0.25, other=0.25)


def test_shares_that_are_no_whole_percents_are_refused(experiment: Make) -> None:
    with pytest.raises(ExperimentError, match=r"'control' of experiment 'autumn' has 66\.6 %"):
        google(experiment, control=0.666, new=0.334)


def test_a_start_that_is_past_is_refused(experiment: Make) -> None:
    with pytest.raises(ExperimentError, match=r"would start on 2026-12-07, which is not after today, 2026-12-07"):
        google_ads.experiment_request(experiment(), pictures(*google_ads.FIELDS), GOOGLE, today=START)
    with pytest.raises(ExperimentError, match="would start on 2026-12-07"):
        meta.split_test_requests(experiment(), pictures("meta-feed"), META, today=START)


def test_an_image_that_no_field_takes_is_refused(experiment: Make) -> None:
    with pytest.raises(ExperimentError, match=r"is for the placement meta-feed, expected one of google-pmax"):
        google_ads.experiment_request(experiment(), pictures("meta-feed"), GOOGLE, today=TODAY)


def batch(experiment: Make) -> list[dict[str, Any]]:
    return meta.split_test_requests(experiment(), pictures("meta-feed"), META, today=TODAY)


def test_the_meta_batch_is_of_its_schema(experiment: Make) -> None:
    check_request(batch(experiment), "meta")


def test_everything_that_meta_gets_is_paused(experiment: Make) -> None:
    requests = batch(experiment)
    ads = [one["body"] for one in requests if one["relative_url"].endswith("/ads")]
    copies = [one["body"] for one in requests if one["relative_url"].endswith("/copies")]
    assert [one["status"] for one in ads] == ["PAUSED"] * 4
    assert [one["status_option"] for one in copies] == ["PAUSED"] * 2
    assert "ACTIVE" not in json.dumps(requests)


def test_every_creative_is_opted_out_of_everything_by_name(experiment: Make) -> None:
    creatives = [one["body"] for one in batch(experiment) if one["relative_url"].endswith("/adcreatives")]
    assert len(creatives) == 4
    for one in creatives:
        features = one["degrees_of_freedom_spec"]["creative_features_spec"]
        assert {name: value["enroll_status"] for name, value in features.items()} == dict.fromkeys(
            opted_out(), "OPT_OUT"
        )
        assert one["contextual_multi_ads"] == {"enroll_status": "OPT_OUT"}
    assert {"image_touchups", "image_uncrop", "image_background_gen", "image_brightness_and_contrast"} <= set(
        opted_out()
    )
    assert "standard_enhancements" not in opted_out(), "the bundle is refused since v22.0"
    assert not set(opted_out()) & set(undocumented_features())


@pytest.mark.parametrize("lost", ["image_touchups", "image_templates", "add_text_overlay"])
def test_a_creative_that_is_not_opted_out_of_one_enhancement_is_refused(experiment: Make, lost: str) -> None:
    requests = copy.deepcopy(batch(experiment))
    creative = next(one for one in requests if one["relative_url"].endswith("/adcreatives"))
    creative["body"]["degrees_of_freedom_spec"]["creative_features_spec"].pop(lost)
    with pytest.raises(ExperimentError, match=r"request to meta is not of its schema at \[4\]"):
        check_request(requests, "meta")


@pytest.mark.parametrize(
    ("path", "value"),
    [(("status",), "ACTIVE"), (("creative", "creative_id"), "17"), (("bid_amount",), 100)],
)
def test_what_the_schema_does_not_know_is_refused(experiment: Make, path: tuple[str, ...], value: object) -> None:
    requests = copy.deepcopy(batch(experiment))
    body = next(one for one in requests if one["relative_url"].endswith("/ads"))["body"]
    for step in path[:-1]:
        body = body[step]
    body[path[-1]] = value
    with pytest.raises(ExperimentError, match="not of its schema"):
        check_request(requests, "meta")


def test_references_in_a_batch_name_requests_that_come_before(experiment: Make) -> None:
    seen: set[str] = set()
    for one in batch(experiment):
        for part in json.dumps(one["body"]).split("{result=")[1:]:
            assert part.partition(":")[0] in seen
        seen.add(one["name"])


def test_the_cells_of_the_split_test_are_the_variants_with_their_shares(experiment: Make) -> None:
    study = batch(experiment)[-1]["body"]
    assert study["type"] == "SPLIT_TEST"
    assert [(one["name"], one["treatment_percentage"]) for one in study["cells"]] == [
        ("autumn/control", 50),
        ("autumn/new", 50),
    ]
    assert study["end_time"] - study["start_time"] == 14 * 24 * 3600


def test_one_picture_of_two_creatives_is_uploaded_once(experiment: Make) -> None:
    shown = [picture(v, p, "meta-feed", data=p.encode()) for v in ("control", "new") for p in ("mug", "shoe")]
    requests = meta.split_test_requests(experiment(), shown, META, today=TODAY)
    assert sum(one["relative_url"].endswith("/adimages") for one in requests) == 2
    check_request(requests, "meta")


def test_a_link_names_the_product(experiment: Make) -> None:
    links = [
        one["body"]["object_story_spec"]["link_data"]["link"]
        for one in batch(experiment)
        if one["relative_url"].endswith("/adcreatives")
    ]
    assert links == ["https://shop.example/mug", "https://shop.example/shoe"] * 2


@pytest.mark.parametrize("platform", ["google-ads", "meta"])
def test_each_schema_says_its_source_and_when_it_was_checked(platform: Any) -> None:
    schema = schema_of(platform)
    assert date.fromisoformat(schema["x-checked"]) >= date(2026, 11, 30)
    assert schema["x-source"]
    assert schema["x-version"].startswith("v")


ACCOUNT = """
[google-ads]
customer_id = "123"
campaign_id = "45"
asset_group_id = "67"
start = 2026-12-07
end = 2026-12-20
"""


def test_an_account_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "account.toml"
    path.write_text(ACCOUNT, encoding="utf-8")
    assert read_account(path, "google-ads") == GOOGLE


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"123"', '"123-456"', r"\[google-ads\] customer_id: String should match"),
        ('"123"', "123", r"\[google-ads\] customer_id: Input should be a valid string"),
        ("2026-12-20", "2026-12-01", "end 2026-12-01 is before start 2026-12-07"),
        ("[google-ads]", "[meta]", r"has no section \[google-ads\]"),
        ("[google-ads]", "[google-ads", "not a TOML file"),
        ("end = 2026-12-20\n", 'end = 2026-12-20\ntoken = "secret"\n', "token: Extra inputs are not permitted"),
    ],
)
def test_an_account_file_that_is_wrong_is_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "account.toml"
    path.write_text(ACCOUNT.replace(old, new), encoding="utf-8")
    with pytest.raises(ExperimentError, match=said) as caught:
        read_account(path, "google-ads")
    assert "\n" not in str(caught.value)
