"""What docs/howto/provenance.md says, run as it stands: certificates by openssl, settings, export and check."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from glob import glob
from pathlib import Path

import pytest
from tests.factory import clickscape

from clickscape.catalog import sample

PAGE = (Path(__file__).parents[2] / "docs/howto/provenance.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="the page makes its certificates with openssl")
def test_the_commands_of_the_page_work_in_their_order(tmp_path: Path, command: Callable[..., str]) -> None:
    blocks = dict(re.findall(r"^```(\w*)\n(.*?)^```", PAGE, flags=re.M | re.S))
    export, inspect = (shlex.split(line)[1:] for line in blocks[""].splitlines())
    with contextlib.chdir(tmp_path):
        (product,) = sample.write(tmp_path / "pictures", 96, product_ids=["sofa-coral"])
        row = f'{product.product_id},"{product.title}",{Path(product.image).relative_to(tmp_path)}'
        Path("my.csv").write_text(f"id,title,image\n{row}\n", encoding="utf-8")
        command("new", "my-shop")
        command("ingest", "my-shop", "my.csv")
        command("generate", "my-shop", "--out", "ads", "--size", "128", "--keep", "1")
        command("review", "my-shop", "--approve-all")
        subprocess.run(["bash", "-ec", blocks["bash"]], check=True, capture_output=True)
        Path("my-shop/clickscape.toml").write_text(blocks["toml"], encoding="utf-8")
        assert "1 files signed by My Shop, My Shop ads" in command(*export)
        files = [name for word in inspect for name in (glob(word) if "*" in word else [word])]
        told = command(*files)
        shown = [line for line in blocks["text"].splitlines() if "…" not in line]
        assert set(shown) <= set(told.splitlines())
        assert re.search(
            r"^  ingredients  photo of product sofa-coral \(componentOf, sha256:[0-9a-f]{64}\)$", told, re.M
        )

        (signed,) = glob("signed/*/*.jpg")
        changed = bytearray(Path(signed).read_bytes())
        changed[-300] ^= 1
        Path(signed).write_bytes(changed)
        done = clickscape(*files)
        assert done.code == 1
        assert "INVALID: the file was changed after it was signed" in done.out
