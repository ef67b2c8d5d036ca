"""From an experiment to request files and back to counts: only what may be shown, only what was exported."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.factory import clickscape, shop_of_tins

from clickscape.errors import ClickscapeError, ExperimentError, WorkspaceError
from clickscape.experiment.definition import Variant
from clickscape.experiment.platforms.account import Platform
from clickscape.experiment.reading import ExperimentReading
from clickscape.stages.experiment import start, stop
from clickscape.stages.experiment_platforms import COUNTS_SCHEMA, Requests, export_requests, import_results
from clickscape.stages.experiment_reading import read_traffic
from clickscape.stages.progress import run
from clickscape.types import COPYWRITER, OWN, ClickCounts, Creative
from clickscape.workspace import Workspace

NOW = datetime(2026, 12, 1, tzinfo=UTC)
ACCOUNT = """
[google-ads]
customer_id = "123"
campaign_id = "45"
asset_group_id = "67"
start = 2026-12-07
end = 2026-12-20

[meta]
ad_account_id = "1"
business_id = "2"
page_id = "3"
ad_set_id = "4"
link = "https://shop.example/{product_id}"
message = "New this week"
start = 2026-12-07
end = 2026-12-20
"""
PLACES = {"meta-feed": (144, 180), "google-pmax-square": (120, 120)}


def _picture(size: tuple[int, int], seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    """Product A with two approved creatives, an experiment of them, an account file and a folder of exported files."""
    made = shop_of_tins(tmp_path / "my-shop", {"A": (200, 30, 30)})
    creatives = [
        Creative(f"A-{number}", "A", str(made.image_path(f"A-{number}")), "oak table", {}, "studio", "tiny", number,
                 status="approved")
        for number in (1, 2)
    ]  # fmt: skip
    made.write_creatives(creatives)
    variants = [Variant("control", 0.5, {"A": "A-1"}), Variant("new", 0.5, {"A": "A-2"})]
    start(made, "autumn", variants, now=NOW)
    (tmp_path / "account.toml").write_text(ACCOUNT, encoding="utf-8")
    records = []
    for seed, (place, size) in enumerate(PLACES.items()):
        for one in creatives:
            file = f"{place}/{one.creative_id}.jpg"
            data = _picture(size, seed * 10 + one.seed)
            (tmp_path / "exports" / place).mkdir(parents=True, exist_ok=True)
            (tmp_path / "exports" / file).write_bytes(data)
            records.append({"creative_id": one.creative_id, "product_id": "A", "placement": place, "file": file,
                            "sha256": hashlib.sha256(data).hexdigest(), "width": size[0], "height": size[1],
                            "rendition_id": f"{one.creative_id}@{place}", "bytes": len(data)})  # fmt: skip
    manifest = {"workspace": "my-shop", "base_url": None, "renditions": records}
    (tmp_path / "exports/manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return made


def export(shop: Workspace, platform: Platform, **options: Any) -> Requests:
    folder = shop.path.parent
    values = {"account": folder / "account.toml", "renditions": folder / "exports", "out": folder / "requests"}
    return export_requests(shop, "autumn", platform=platform, today=date(2026, 12, 1), **values | options)


def loaded(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_manifest_names_every_picture_by_its_hash(shop: Workspace) -> None:
    made = export(shop, "meta")
    manifest = loaded(made.manifest)
    assert [one["file"] for one in manifest["requests"]] == ["batch.json"]
    assert manifest["schema"]["checked"] >= "2026-11-30"
    for one in manifest["pictures"]:
        path = made.manifest.parent / one["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == one["sha256"], "the path is relative to the requests"
    assert [(one["variant"], one["creative_id"], one["placement"]) for one in manifest["pictures"]] == [
        ("control", "A-1", "meta-feed"),
        ("new", "A-2", "meta-feed"),
    ]


def test_google_gets_the_treatments_files_byte_by_byte(shop: Workspace) -> None:
    made = export(shop, "google-ads")
    assert [path.name for path in made.files] == ["1-opt-outs.json", "2-experiment.json"]
    operations = loaded(made.files[1])["mutateOperations"]
    sent = [one["assetOperation"]["create"] for one in operations if "assetOperation" in one]
    file = shop.path.parent / "exports/google-pmax-square/A-2.jpg"
    assert [base64.b64decode(one["imageAsset"]["data"]) for one in sent] == [file.read_bytes()]
    url = loaded(made.manifest)["requests"][1]["url"]
    assert url == "https://googleads.googleapis.com/v25/customers/123/googleAds:mutate"


def test_the_same_export_again_writes_the_same(shop: Workspace) -> None:
    made = export(shop, "meta")
    first = [path.read_bytes() for path in (*made.files, made.manifest)]
    again = export(shop, "meta")
    assert [path.read_bytes() for path in (*again.files, again.manifest)] == first


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": "draft"}, "draft, not approved"),
        ({"status": "rejected"}, "rejected"),
        ({"model_id": COPYWRITER}, "simulated"),
    ],
)
def test_what_may_not_be_shown_is_refused(shop: Workspace, change: dict[str, Any], said: str) -> None:
    first, second = shop.creatives()
    shop.write_creatives([first, replace(second, **change)])
    with pytest.raises(ExperimentError, match=rf"creative 'A-2' of variant 'new' may not be shown: {said}"):
        export(shop, "meta")
    assert not (shop.path.parent / "requests").exists()


def test_a_live_creative_may_be_shown(shop: Workspace) -> None:
    first, second = shop.creatives()
    shop.write_creatives([replace(first, status="live"), second])
    assert len(export(shop, "meta").pictures) == 2


def test_a_file_that_was_changed_after_its_export_is_refused(shop: Workspace) -> None:
    path = shop.path.parent / "exports/meta-feed/A-2.jpg"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ExperimentError, match=r"A-2\.jpg is not the file that was exported"):
        export(shop, "meta")
    path.unlink()
    with pytest.raises(ExperimentError, match="no such file"):
        export(shop, "meta")


def test_a_manifest_that_leads_out_of_its_folder_is_refused(shop: Workspace) -> None:
    path = shop.path.parent / "exports/manifest.json"
    content = loaded(path)
    content["renditions"][0]["file"] = "../account.toml"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ClickscapeError, match="leaves the folder"):
        export(shop, "meta")


def test_a_placement_that_was_not_exported_is_named_with_the_command(shop: Workspace) -> None:
    account = shop.path.parent / "account.toml"
    account.write_text(ACCOUNT.replace("message =", 'placement = "meta-stories"\nmessage ='), encoding="utf-8")
    with pytest.raises(ExperimentError, match=r"no file of creative 'A-1' for meta-stories\. Run clickscape export"):
        export(shop, "meta")


def test_the_export_of_another_workspace_is_refused(shop: Workspace) -> None:
    path = shop.path.parent / "exports/manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"my-shop"', '"other"'), encoding="utf-8")
    with pytest.raises(ExperimentError, match="holds the export of 'other'"):
        export(shop, "meta")


def test_a_shops_own_ad_goes_as_it_is(shop: Workspace) -> None:
    first, second = shop.creatives()
    own = shop.path.parent / "own.png"
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(own)
    shop.write_creatives([replace(first, renderer=OWN, model_id=OWN, image=str(own), status="live"), second])
    made = export(shop, "meta")
    assert made.pictures[0].data == own.read_bytes()
    assert (made.pictures[0].width, made.pictures[0].height) == (50, 40)


def test_a_folder_with_something_else_is_left_alone(shop: Workspace) -> None:
    other = shop.path.parent / "mine"
    other.mkdir()
    (other / "notes.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(WorkspaceError, match=r"notes\.txt"):
        export(shop, "meta", out=other)


def test_an_ended_experiment_is_not_exported(shop: Workspace) -> None:
    stop(shop, "autumn", now=datetime(2026, 12, 2, tzinfo=UTC))
    with pytest.raises(ExperimentError, match="has ended"):
        export(shop, "meta")


RESULTS = """Day,Ad set name,Impressions,Link clicks
2026-12-07,Base [autumn/control],1000,10
2026-12-07,Base [autumn/new],1100,22
"""


def test_imported_results_are_counts_in_place_of_the_earlier_ones(shop: Workspace) -> None:
    file = shop.path.parent / "results.csv"
    for clicks in (22, 25):
        file.write_text(RESULTS.replace(",22", f",{clicks}"), encoding="utf-8")
        done = clickscape("experiment", "import", str(shop.path), "autumn", str(file), "--platform", "meta")
        assert done.code == 0, done.err
    assert "1 days from 2026-12-07 to 2026-12-07, allocation: randomized with shares" in done.out
    table = pq.read_table(shop.path / "experiments/autumn/platform-counts.parquet")
    assert table.schema.equals(COUNTS_SCHEMA)
    rows = [tuple(row.values()) for row in table.to_pylist()]
    assert rows == [
        ("control", date(2026, 12, 7), 1000, 10, None, "randomized with shares", "meta"),
        ("new", date(2026, 12, 7), 1100, 25, None, "randomized with shares", "meta"),
    ]


def imported(shop: Workspace, table: str) -> ExperimentReading:
    file = shop.path.parent / "results.csv"
    file.write_text(table, encoding="utf-8")
    import_results(shop, "autumn", file, platform="meta", arms={})
    return run(read_traffic(shop, "autumn"))


def test_a_clear_difference_of_the_arms_is_a_lift(shop: Workspace) -> None:
    """CTR 1 % against 2 % with 100,000 impressions each: lift +100 %, from the eighth day after the start on."""
    rows = ["2026-12-07,Base [autumn/control],100000,1000", "2026-12-08,Base [autumn/control],100000,1000",
            "2026-12-07,Base [autumn/new],100000,2000", "2026-12-08,Base [autumn/new],100000,2000"]  # fmt: skip
    found = imported(shop, "\n".join(["Day,Ad set name,Impressions,Link clicks", *rows]))
    new = found.variants[1]
    assert (found.allocation, found.unit, new.decision) == ("randomized with shares", "impression", "better")
    assert found.sample_ratio is None
    assert new.latest.day == date(2026, 12, 8)
    assert new.counts == ClickCounts(200_000, 4_000)
    assert new.latest.fixed is not None
    assert new.latest.fixed.low < new.latest.fixed.value < new.latest.fixed.high
    assert new.latest.fixed.value == pytest.approx(1.0, abs=0.01)
    assert "lift" in "\n".join(found.lines())


def test_numbers_of_assets_are_never_called_a_lift(shop: Workspace) -> None:
    rows = ["2026-12-07,A-1,100000,1000", "2026-12-07,A-2,100000,2000"]
    found = imported(shop, "\n".join(["Day,Image,Impressions,Link clicks", *rows]))
    assert (found.allocation, found.variants[1].decision) == ("unknown", "association")
    assert "lift" not in "\n".join(found.lines())


def test_counts_by_variant_have_no_products(shop: Workspace) -> None:
    imported(shop, RESULTS)
    done = clickscape("experiment", "read", str(shop.path), "autumn", "--products")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "counts by variant, not by product. Leave --products out" in done.err


def test_days_before_the_start_are_refused(shop: Workspace) -> None:
    file = shop.path.parent / "results.csv"
    file.write_text(RESULTS.replace("2026-12-07", "2026-11-30"), encoding="utf-8")
    done = clickscape("experiment", "import", str(shop.path), "autumn", str(file), "--platform", "meta")
    assert done.code == 2
    assert "2026-11-30 is before 'autumn' was started, 2026-12-01" in done.err


def test_bad_input_is_one_line_and_exit_code_2(shop: Workspace) -> None:
    file = shop.path.parent / "results.csv"
    file.write_text(RESULTS.replace("autumn/new", "spring/new"), encoding="utf-8")
    words = ("experiment", "import", str(shop.path), "autumn", str(file), "--platform", "meta")
    for arms, said in (((), "line 3: 'Base [spring/new]' is none of"), (("--arm", "new"), "expected 'NAME=VARIANT'")):
        done = clickscape(*words, *arms)
        assert done.code == 2
        assert said in done.err
        assert done.err.count("\n") == 1
    assert not (shop.path / "experiments/autumn/platform-counts.parquet").exists()
    assert clickscape(*words, "--arm", "Base [spring/new]=new").code == 0
