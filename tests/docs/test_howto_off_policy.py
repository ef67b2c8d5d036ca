"""What docs/howto/off-policy.md says, run as it stands."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from clickscape.catalog import sample
from clickscape.experiment.off_policy_scores import ESTIMATORS

PAGE = (Path(__file__).parents[2] / "docs/howto/off-policy.md").read_text(encoding="utf-8")
SMALL = "[simulate]\ncreatives_per_product = 5\nmedian_impressions = 1000\nsize = 96\n[generate]\nsize = 96\nkeep = 1\n"


@pytest.mark.slow
def test_the_commands_of_the_page_work_in_their_order(tmp_path: Path, command: Callable[..., str]) -> None:
    """Twelve products of one department; drafts are judged by scenes, what was shown by its propensities."""
    block = re.findall(r"^```\n(.*?)^```", PAGE, flags=re.M | re.S)[0]
    commands = [shlex.split(line)[1:] for line in block.splitlines()]
    assert [words[0] for words in commands] == ["simulate", "generate", "experiment", "experiment"]
    ids = [f"{name}-{color}" for name in ("candle", "coffee_mug") for color in
           ("emerald", "navy", "coral", "amber", "lemon", "teal")]  # fmt: skip
    with contextlib.chdir(tmp_path):
        products = sample.write(tmp_path / "pictures", 96, product_ids=ids)
        rows = [
            f'{one.product_id},"{one.title}",{one.category[0]},{Path(one.image).relative_to(tmp_path)}'
            for one in products
        ]
        Path("my.csv").write_text("\n".join(["id,title,category,image", *rows]) + "\n", encoding="utf-8")
        command("new", "my-shop")
        Path("my-shop/clickscape.toml").write_text(SMALL, encoding="utf-8")
        command("ingest", "my-shop", "my.csv")
        told = [command(*words) for words in commands]
    header = re.search(r"^ +(policy .*)$", PAGE, re.M)
    assert header is not None
    assert told[2].splitlines()[0].rstrip() == header[1], "the page shows the command's own columns"
    assert "draft: judged by scenes; share of its traffic whose element the log shows: setting " in told[2]
    found = json.loads(told[3])["policies"]
    assert [(one["policy"], one["estimator"]) for one in found] == [("uniform", "dr"), ("draft", "mips")]
    assert found[0]["ctr"]["low"] < found[0]["logged"]["value"] < found[0]["ctr"]["high"] * 1.5


def test_the_page_names_every_estimator() -> None:
    assert all(f"`{name}`" in PAGE for name in ESTIMATORS if name != "mips")
