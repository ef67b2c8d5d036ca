"""Brand rules: what an audience and a placement say over the brand, bans that only grow, one line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from clickscape import config
from clickscape.config.brand import Brand, BrandFile, Rules
from clickscape.errors import ConfigError

BRAND = """
[brand]
use = ["marble", "soft light"]
avoid = ["neon"]
palette = ["cream"]
season = "winter"

[brand.audience.teens]
use = ["neon light"]
avoid = ["candles"]
minors = true

[brand.placement.story]
use = ["no props"]
season = ""
"""


@pytest.fixture
def brand(tmp_path: Path) -> Brand:
    (tmp_path / "brand.toml").write_text(BRAND)
    return config.read(tmp_path / "brand.toml", BrandFile).brand


def test_nothing_is_asked_by_default() -> None:
    assert Brand().rules() == Rules()
    assert not Rules().asks


def test_the_placement_has_the_last_word_and_bans_add_up(brand: Brand) -> None:
    plain = brand.rules()
    assert (plain.use, plain.avoid, plain.season, plain.minors) == (
        ("marble", "soft light"),
        ("neon",),
        "winter",
        False,
    )
    teens = brand.rules(audience="teens")
    assert (teens.use, teens.avoid, teens.season, teens.minors) == (
        ("neon light",),
        ("neon", "candles"),
        "winter",
        True,
    )
    both = brand.rules(audience="teens", placement="story")
    assert (both.use, both.avoid, both.season, both.minors) == (("no props",), ("neon", "candles"), "", True)
    assert both.palette == ("cream",), "what nobody overrides stays"


def test_the_section_of_a_workspace_reads_the_same(tmp_path: Path, brand: Brand) -> None:
    (tmp_path / "clickscape.toml").write_text(f"[generate]\nkeep = 1\n{BRAND}")
    assert config.load(tmp_path / "clickscape.toml").brand == brand


def test_a_name_without_a_section_lists_those_there_are(brand: Brand) -> None:
    with pytest.raises(ConfigError, match=r"no \[brand.audience.men\] in the brand's rules; there is: teens"):
        brand.rules(audience="men")
    with pytest.raises(ConfigError, match="there is: none"):
        Brand().rules(placement="story")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[brand]\nuze = ["marble"]', "brand.uze"),
        ('use = ["marble"]', "brand"),
        ('[brand]\nseason = "monsoon"', "brand.season"),
        ('[brand]\nuse = ["\\u001b[31m"]', "brand.use.0"),
        ('[brand]\nuse = [" - "]', "brand.use.0"),
        (f'[brand]\nuse = ["{"x" * 61}"]', "brand.use.0"),
        ("[brand]\navoid = [" + '"x", ' * 51 + "]", "brand.avoid"),
        ("[brand.audience.teens]\naudience = {}", "brand.audience.teens.audience"),
        ("[brand", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_one_line_with_file_and_key(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "brand.toml").write_text(text)
    with pytest.raises(ConfigError) as error:
        config.read(tmp_path / "brand.toml", BrandFile)
    assert str(error.value).startswith(f"{tmp_path / 'brand.toml'}: {told}")
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"brand\.toml: cannot be read"):
        config.read(tmp_path / "brand.toml", BrandFile)
