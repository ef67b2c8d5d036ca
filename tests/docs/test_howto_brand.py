"""What docs/howto/brand.md says, run as it stands: its rules, its commands, and what it claims of the files."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from clickscape import config
from clickscape.catalog import sample
from clickscape.config import GenerateConfig
from clickscape.config.brand import BrandFile
from clickscape.gates import content_rules
from clickscape.gates.style import Style

PAGE = (Path(__file__).parents[2] / "docs/howto/brand.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```(\w*)\n(.*?)^```", PAGE, flags=re.M | re.S))


@pytest.mark.slow
def test_the_commands_of_the_page_work_with_its_rules(tmp_path: Path, command: Callable[..., str]) -> None:
    commands = [shlex.split(line)[1:] for line in BLOCKS[""].splitlines()]
    assert [words[0] for words in commands] == ["generate"] * 3
    with contextlib.chdir(tmp_path):
        (product,) = sample.write(tmp_path / "pictures", 128, product_ids=["toy_car-navy"])
        row = f'{product.product_id},"{product.title}",{product.category[0]},{product.image}'
        Path("my-catalog.csv").write_text(f"id,title,category,image\n{row}\n", encoding="utf-8")
        Path("brand.toml").write_text(BLOCKS["toml"], encoding="utf-8")
        told = [command(*words, "--size", "160") for words in commands]
    assert "brand rule 'season': met by 2 of 2 images" in told[0]
    for folder, shown in (("ads", "season"), ("teens", "season"), ("stories", "use")):
        lines = (tmp_path / folder / "creatives.jsonl").read_text(encoding="utf-8").splitlines()
        made = [json.loads(line) for line in lines]
        assert made
        assert all(one["rules"][shown] and "written" in one for one in made)
        refused = tmp_path / folder / "refused.jsonl"
        assert ("refused.jsonl" in told[("ads", "teens", "stories").index(folder)]) == refused.exists()


def test_every_set_of_rules_on_the_page_can_hold(tmp_path: Path) -> None:
    (tmp_path / "brand.toml").write_text(BLOCKS["toml"], encoding="utf-8")
    brand = config.read(tmp_path / "brand.toml", BrandFile).brand
    for audience in ("", *brand.audience):
        for placement in ("", *brand.placement):
            assert not Style.of(brand.rules(audience=audience, placement=placement)).unread


def test_the_page_names_the_settings_and_the_rules_as_they_are() -> None:
    defaults = GenerateConfig()
    assert f"`rewrites` = {defaults.rewrites}" in PAGE
    assert f"`max_overlap` = {defaults.max_overlap}" in PAGE
    assert defaults.max_same_scene == 0
    listed = PAGE[PAGE.index("## What the content rules refuse") : PAGE.index("The lists are data")]
    for rule in content_rules.load():
        word = {"hate": "hatred", "text": "text in the picture"}.get(rule.name, rule.name)
        assert word in listed
