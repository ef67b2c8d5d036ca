"""Settings: defaults without a file, one clear line for anything wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clickscape.config import ClicksConfig, ComputeConfig, FidelityConfig, Settings, load
from clickscape.errors import ConfigError


def test_no_file_means_defaults(tmp_path: Path) -> None:
    assert load(tmp_path / "clickscape.toml") == Settings()


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "clickscape.toml"
    path.write_text("[optimize]\nbeta = 0.1\n")
    settings = load(path)
    assert settings.optimize.beta == 0.1
    assert settings.optimize.model_copy(update={"beta": 0.5}) == Settings().optimize
    assert settings.reward == Settings().reward


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[optimize]\nbetta = 0.1\n", r"clickscape.toml: optimize.betta: Extra inputs"),
        ("[optimize]\nbeta = -1\n", r"optimize.beta: Input should be greater than 0"),
        ("[generate]\nper_product = 2\nkeep = 3\n", r"generate: .*keep \(3\) must not exceed per_product \(2\)"),
        ("[optimize\n", r"clickscape.toml: not valid TOML"),
        ("[fidelity]\nextent = 30\n", r"fidelity.extent: Input should be less than or equal to 1"),
        ("[fidelity]\nsafe_zone = 0.1\n", r"fidelity.safe_zone: Extra inputs"),
        ("[optimize]\nmask_ratio = nan\n", r"optimize.mask_ratio"),
        ("[generate]\nseed = 1" + "0" * 23 + "\n", r"generate.seed: .*64 bits"),
        ("[simulate]\nseed = -1\n", r"simulate.seed: Input should be greater than or equal to 0"),
        ("[simulate]\nmedian_impressions = 1" + "0" * 23 + "\n", r"simulate.median_impressions"),
        ("[clicks]\nclock_skew_seconds = inf\n", r"clicks.clock_skew_seconds: .*a number up to 1,000,000,000"),
        ("[clicks]\nlate_after_hours = 1e308\n", r"clicks.late_after_hours: .*a number up to 1,000,000,000"),
        ("[optimize]\nkl_budget = inf\n", r"optimize.kl_budget"),
        ("a = " + "[" * 100_000, r"not valid TOML"),
    ],
)
def test_anything_wrong_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "clickscape.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_file_of_a_windows_editor_is_read(tmp_path: Path) -> None:
    path = tmp_path / "clickscape.toml"
    path.write_text("[optimize]\nbeta = 0.1\n", encoding="utf-8-sig")
    assert load(path).optimize.beta == 0.1


def test_a_wrong_setting_names_the_page_that_lists_them(tmp_path: Path) -> None:
    path = tmp_path / "clickscape.toml"
    path.write_text("[optimize]\nbetta = 0.1\n")
    with pytest.raises(ConfigError, match=r"docs/reference/settings.md"):
        load(path)
    site = (Path(__file__).parents[2] / "mkdocs.yml").read_text(encoding="utf-8")
    assert "reference/settings.md" in site


def test_the_limits_that_the_docs_show_are_the_defaults(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/experiments/fidelity.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```", page, flags=re.M | re.S)
    path = tmp_path / "clickscape.toml"
    path.write_text(block)
    assert load(path).fidelity == FidelityConfig()
    assert block.count(" = ") == len(FidelityConfig.model_fields)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().optimize.beta = 1.0  # type: ignore[misc]


def test_settings_with_a_table_among_them_are_keys_of_caches() -> None:
    one, other = (ClicksConfig(columns={"ts": "time"}) for _ in range(2))
    assert hash(one) == hash(other)
    assert hash(Settings(clicks=one)) == hash(Settings(clicks=other))
    assert {one: 1}[other] == 1


@pytest.mark.parametrize("steps", [-1, 10**20])
def test_settings_of_the_command_line_are_checked_as_those_of_the_file(steps: int) -> None:
    with pytest.raises(ConfigError, match=r"^joint_steps: .*Give another value, on the command line"):
        Settings().pretrain.changed(joint_steps=steps)
    assert Settings().pretrain.changed(joint_steps=7).joint_steps == 7


def test_where_stages_compute_is_a_closed_section_that_says_nothing_by_default(tmp_path: Path) -> None:
    assert Settings().compute == ComputeConfig(engine="process", address="", gpus=0)
    path = tmp_path / "clickscape.toml"
    for wrong, said in (
        ('engine = "spark"', "compute.engine"),
        ("gpu = 1", "compute.gpu"),
        ("gpus = -1", "compute.gpus"),
    ):
        path.write_text(f"[compute]\n{wrong}\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=said):
            load(path)
