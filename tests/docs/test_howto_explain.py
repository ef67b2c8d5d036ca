"""What docs/howto/explain.md says, run as it stands."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from clickscape.catalog import sample

DOCS = Path(__file__).parents[2] / "docs"
PAGE, PICTURE = (DOCS / "howto/explain.md").read_text(encoding="utf-8"), DOCS / "pictures/explain.webp"
SMALL = "[simulate]\ncreatives_per_product = 4\nmedian_impressions = 500\nsize = 96\n[reward]\nepochs = 2\n"


@pytest.mark.slow
def test_the_commands_of_the_page_work_in_their_order(tmp_path: Path, command: Callable[..., str]) -> None:
    """Candles and mugs of two colors each, and both kinds of table as the page shows them."""
    block = re.findall(r"^```\n(.*?)^```", PAGE, flags=re.M | re.S)[0]
    commands = [shlex.split(line, comments=True)[1:] for line in block.splitlines()]
    assert [words[0] for words in commands] == ["simulate", "clicks", "reward", "explain", "explain", "explain"]
    ids = [f"{name}-{color}" for name in ("candle", "coffee_mug") for color in ("emerald", "navy")]
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
        folder = tmp_path / "my-shop" / "explanations"
        assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == {
            *("creatives/candle-emerald-c0.png", "creatives/candle-emerald-c0.json"),
            *("elements.csv", "elements.json", "scale.json"),
        }
        with Image.open(folder / "creatives/candle-emerald-c0.png") as drawn, Image.open(PICTURE) as shown:
            assert drawn.size == shown.size, "the page shows what the command draws"
    assert re.search(r"^without +reward, log-odds +95 % interval +then$", told[3], re.M)
    header = re.search(r"^light +CTR, % +95 % interval +impressions creatives$", PAGE, re.M)
    assert header is not None
    assert all(header[0] in text for text in told[4:])
    assert "not enough evidence" in told[5]
