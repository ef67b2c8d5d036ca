"""What docs/howto/platforms.md says, run as it stands, and its table of opt-outs against the schema."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from clickscape.catalog import sample
from clickscape.experiment.platforms.google_ads import OPT_OUTS
from clickscape.experiment.platforms.schema import opted_out, schema_of, undocumented_features
from clickscape.workspace import Workspace

PAGE = (Path(__file__).parents[2] / "docs/howto/platforms.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Enhancements that are opted out")[2].partition("## Results back in")[0]


def test_the_table_names_every_feature_that_is_opted_out() -> None:
    rows = [line for line in SECTION.splitlines() if line.startswith("|")]
    named = re.findall(r"`(\w+)`", "\n".join(rows))
    assert sorted(named) == sorted([*opted_out(), *OPT_OUTS])
    assert f"knows {len(undocumented_features())} more names" in SECTION
    assert {schema_of(one)["x-checked"] for one in ("google-ads", "meta")} == {"2026-11-30"}
    assert SECTION.count("2026-11-30") == 2


@pytest.mark.slow
def test_the_commands_of_the_page_work_in_their_order(tmp_path: Path, command: Callable[..., str]) -> None:
    block, account = re.findall(r"^```(?:toml)?\n(.*?)^```", PAGE, flags=re.M | re.S)[:2]
    commands = [shlex.split(line)[1:] for line in block.splitlines()]
    first = datetime.now(UTC).date() + timedelta(days=30)
    account = re.sub(r"start = \S+", f"start = {first}", account)
    account = re.sub(r"end = \S+", f"end = {first + timedelta(days=20)}", account)
    with contextlib.chdir(tmp_path):
        (product,) = sample.write(tmp_path / "pictures", 96, product_ids=["sofa-coral"])
        row = f'{product.product_id},"{product.title}",{Path(product.image).relative_to(tmp_path)}'
        Path("my.csv").write_text(f"id,title,image\n{row}\n", encoding="utf-8")
        Path("account.toml").write_text(account, encoding="utf-8")
        command("new", "my-shop")
        command("ingest", "my-shop", "my.csv")
        generate, review, start, export, google, meta, inspect, read_back, read = commands
        command(*generate)
        command(*review)
        old, new = (one.creative_id for one in Workspace.open("my-shop").creatives()[:2])
        Path("variants.csv").write_text(f"variant,creative_id\ncontrol,{old}\nnew,{new}\n", encoding="utf-8")
        command(*start)
        command(*export)
        command(*google)
        command(*meta)
        pictures = json.loads(Path("requests/meta/requests.json").read_text(encoding="utf-8"))["pictures"]
        assert [one["creative_id"] for one in pictures] == [old, new]
        approved = Path("requests/meta", pictures[1]["file"])
        with Image.open(approved) as picture:
            picture.resize((picture.width // 2, picture.height // 2)).save("downloaded.jpg", quality=70)
        told = command(*inspect)
        assert f"still the approved picture {new} at meta-feed-landscape: encoded again, 600 x 314" in told
        batch = json.loads(Path("requests/meta/batch.json").read_text(encoding="utf-8"))
        names = [one["body"]["rename_options"]["rename_suffix"] for one in batch if "copies" in one["relative_url"]]
        lines = [f"{first},Autumn{name},1000,{200 + 10 * place}" for place, name in enumerate(names)]
        Path("results.csv").write_text("\n".join(["Day,Ad set name,Impressions,Link clicks", *lines]), "utf-8")
        command(*read_back)
        told = command(*read)
        counts = pq.read_table("my-shop/experiments/autumn/platform-counts.parquet").to_pylist()
    assert "control: 1,000 impressions, 1,000 impressions, 200 clicks, CTR 20.000%" in told
    assert "new against control: not enough evidence yet" in told
    assert [(one["variant"], one["clicks"], one["allocation"]) for one in counts] == [
        ("control", 200, "randomized with shares"),
        ("new", 210, "randomized with shares"),
    ]
