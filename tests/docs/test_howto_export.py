"""What docs/howto/export.md says, run as it stands."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from clickscape.catalog import sample
from clickscape.workspace import Workspace

PAGE = (Path(__file__).parents[2] / "docs/howto/export.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_commands_of_the_page_work_in_their_order(tmp_path: Path, command: Callable[..., str]) -> None:
    """Two products; generating again adds no creative, and the feed names the files that lie there."""
    (block,) = re.findall(r"^```\n(.*?)^```", PAGE, flags=re.M | re.S)
    commands = [shlex.split(line)[1:] for line in block.splitlines()]
    assert [words[0] for words in commands] == ["generate", "review", "placements", "export"]
    with contextlib.chdir(tmp_path):
        products = sample.write(tmp_path / "pictures", 96, product_ids=["running_shoe-navy", "sofa-coral"])
        rows = [f'{one.product_id},"{one.title}",{Path(one.image).relative_to(tmp_path)}' for one in products]
        Path("my.csv").write_text("\n".join(["id,title,image", *rows]) + "\n", encoding="utf-8")
        command("new", "my-shop")
        command("ingest", "my-shop", "my.csv")
        told = [command(*words) for words in commands]
        made = Workspace.open("my-shop").creatives()
        command(*commands[0])
        assert Workspace.open("my-shop").creatives() == made, "generated again, nothing is added and nothing changed"
    assert len(made) == 4
    assert {one.status for one in made} == {"approved"}
    assert all(Path(one.image).exists() for one in made)
    assert re.search(r"^meta-reels +1440 x 2560, 30,000,000 bytes, jpeg, png, free edges 14% 6% 35% 6%$", told[2], re.M)
    renditions = json.loads((tmp_path / "exports/manifest.json").read_text(encoding="utf-8"))["renditions"]
    assert {one["product_id"] for one in renditions} == {product.product_id for product in products}
    kept = len(renditions)  # the gate may leave one out, whatever its seeds
    assert f"{kept} files in exports, {kept} of them drawn now" in told[3]
    with (tmp_path / "exports/feeds/meta-supplemental.csv").open(encoding="utf-8", newline="") as stream:
        links = {
            row["id"]: [link for link in (row["image_link"], row["additional_image_link"]) if link]
            for row in csv.DictReader(stream)
        }
    assert links == {
        product.product_id: [
            f"https://cdn.example.com/ads/{one['file']}"
            for one in renditions
            if one["product_id"] == product.product_id
        ]
        for product in products
    }
