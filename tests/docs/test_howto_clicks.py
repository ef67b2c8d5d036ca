"""What docs/howto/clicks.md says of own ads, run as it stands; its table names the columns that are read."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clickscape.catalog import own_ads, sample
from clickscape.workspace import CREATIVES, Workspace

PAGE = (Path(__file__).parents[2] / "docs/howto/clicks.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## Your own ads") : PAGE.index("### The table of creatives")]
PRODUCTS = {
    "mug-navy": "coffee_mug-navy",
    "shoe": "running_shoe-navy",
    "ball": "soccer_ball-navy",
    "cap": "camera-navy",
}


@pytest.mark.slow
def test_the_commands_of_own_ads_work_in_their_order(tmp_path: Path, command: Callable[..., str]) -> None:
    """Darker banners are clicked more often, and the model ranks new ones so."""
    (block,) = re.findall(r"^```\n(.*?)^```", SECTION, flags=re.M | re.S)
    (ads,) = re.findall(r"^    (product_id,.*?)^$", SECTION, flags=re.M | re.S)
    rows = [line.strip() for line in ads.splitlines()]
    catalog = ["id,title,category,image"]
    (tmp_path / "banners").mkdir()
    for name, like in PRODUCTS.items():
        (product,) = sample.write(tmp_path / name, 96, product_ids=[like])
        catalog.append(f'{name},"{product.title}",{product.category[0]},{Path(product.image).relative_to(tmp_path)}')
        rows += [f"{name},banners/{name}-{shade}.png,10000,{300 - shade}" for shade in (40, 90, 140, 190)]
    names = {row.split(",")[1]: int(re.sub(r"\D", "", row.split(",")[1]) or 120) for row in rows[1:]}
    for place, (name, shade) in enumerate(
        (names | {"banners/mug-new-1.jpg": 200, "banners/mug-new-2.jpg": 50}).items()
    ):
        noise = np.random.default_rng(place).integers(0, 20, (96, 96, 3))
        Image.fromarray((shade + noise).astype(np.uint8)).save(tmp_path / name)
    (tmp_path / "my-catalog.csv").write_text("\n".join(catalog) + "\n", encoding="utf-8")
    (tmp_path / "my-ads.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    with contextlib.chdir(tmp_path):
        told = [command(*shlex.split(line)[1:]) for line in block.splitlines()]
    assert "18 creatives" in told[2]
    assert {"mug-spring", "mug-sale"} < {one.creative_id for one in Workspace.open(tmp_path / "my-shop").creatives()}
    assert told[-1].index("mug-new-2.jpg") < told[-1].index("mug-new-1.jpg")


def test_the_tables_name_the_columns_as_they_are() -> None:
    def named(part: str) -> set[str]:
        cells = re.findall(r"^\| (`[^|]*`) \|", part, flags=re.M)
        return {name for cell in cells for name in re.findall(r"`(.+?)`", cell)}

    assert named(SECTION) == set(own_ads.COLUMNS)
    table = PAGE[PAGE.index("### The table of creatives") : PAGE.index("## What is left out")]
    assert named(table) == set(CREATIVES.names)
    for status in own_ads.STATUSES:
        assert status in SECTION
