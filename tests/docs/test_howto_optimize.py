"""What docs/howto/optimize.md says of settings and commands is what there is."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from clickscape.cli import main
from clickscape.config import OptimizeConfig

PAGE = (Path(__file__).parents[2] / "docs/howto/optimize.md").read_text(encoding="utf-8")


def test_every_setting_is_documented_with_its_default() -> None:
    told: dict[str, object] = {}
    for names, defaults in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ([^|]*) \|", PAGE, flags=re.M):
        values = [None if value == "none" else json.loads(value) for value in defaults.split(", ")]
        told |= dict(zip(re.findall(r"`(\w+)`", names), values, strict=True))
    assert told == OptimizeConfig().model_dump()


def test_the_settings_that_the_page_shows_are_valid() -> None:
    for block in re.findall(r"((?:^ {4}.*\n)+)", PAGE, flags=re.M):
        if "[optimize]" in block:
            OptimizeConfig.model_validate(tomllib.loads(block.replace("    ", ""))["optimize"])
    for setting in re.findall(r"`(\w+ = [^`]+)`", PAGE):
        OptimizeConfig.model_validate(tomllib.loads(setting))


def test_the_options_that_the_page_names_exist() -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
        main(["optimize", "--help"])
    commands = [shlex.split(line) for line in PAGE.splitlines() if line.startswith("    clickscape optimize ")]
    assert len(commands) == 2
    for option in (word for command in commands for word in command if word.startswith("--")):
        assert option in out.getvalue()
    assert "torchrun --nproc_per_node 2 -m clickscape optimize my-shop" in " ".join(out.getvalue().split())
    assert "torchrun --nproc_per_node 2 -m clickscape optimize my-shop" in PAGE
