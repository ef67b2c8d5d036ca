from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clickscape import config
from clickscape.cli import main
from clickscape.config.renamed import REMOVED, RENAMED, VALUES
from clickscape.errors import ConfigError, DeprecatedWarning


def written(folder: Path, text: str) -> Path:
    path = folder / "clickscape.toml"
    path.write_text(text)
    return path


def test_an_old_section_is_read_with_one_warning_per_key_that_names_the_new_one(tmp_path: Path) -> None:
    path = written(tmp_path, "[watch]\nshare = 0.4\n")
    with pytest.warns(DeprecatedWarning) as caught:
        settings = config.load(path)
    assert settings.monitor.share == 0.4
    assert [str(one.message) for one in caught] == [
        f"{path}: watch.share is now called monitor.share. The next release reads only the new name."
    ]


@pytest.mark.parametrize(
    ("old", "value"),
    [
        ("fidelity.grounding", 0.01),
        ("generate.writer", "models/mine"),
        ("generate.writer_model", "qwen"),
        ("optimize.start", "models/mine"),
    ],
)
def test_the_old_name_of_a_key_is_read_with_a_warning(tmp_path: Path, old: str, value: object) -> None:
    section, _, key = old.partition(".")
    with pytest.warns(DeprecatedWarning, match=f"{old} is now called {RENAMED[old]}"):
        settings = config.load(written(tmp_path, f"[{section}]\n{key} = {value!r}\n"))
    assert settings.model_dump()[section][RENAMED[old].partition(".")[2]] == value


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [("scene", "seen", "predicted"), ("scene", "told", "given"), ("judge", "scene", "neighbors")],
)
def test_an_old_value_is_read_as_the_new_one(tmp_path: Path, key: str, old: str, new: str) -> None:
    with pytest.warns(DeprecatedWarning, match=f'reward.{key} = "{old}" is now "{new}"'):
        settings = config.load(written(tmp_path, f'[reward]\n{key} = "{old}"\n'))
    assert getattr(settings.reward, key) == new


@pytest.mark.parametrize("key", sorted(REMOVED))
def test_a_removed_setting_is_ignored_and_said(tmp_path: Path, key: str) -> None:
    section, _, name = key.partition(".")
    with pytest.warns(DeprecatedWarning, match=f"{key} is ignored, for the setting is gone"):
        assert config.load(written(tmp_path, f'[{section}]\n{name} = "anything"\n')) == config.Settings()


def test_old_and_new_name_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"watch.share is the old name of monitor.share, and both are given"):
        config.load(written(tmp_path, "[watch]\nshare = 0.4\n[monitor]\nshare = 0.3\n"))


def test_no_new_name_is_missing_and_no_old_one_is_still_a_setting() -> None:
    known = set(config.Settings.model_fields)
    known |= {
        f"{section}.{key}"
        for section, field in config.Settings.model_fields.items()
        for key in field.annotation.model_fields  # type: ignore[union-attr]
    }
    assert set(RENAMED.values()) <= known
    assert set(VALUES) <= known
    assert not set(RENAMED) & known
    assert not set(REMOVED) & known


def test_the_command_line_says_it_in_one_line(
    tmp_path: Path, command: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    command("new", str(tmp_path / "shop"))
    path = written(tmp_path / "shop", "[watch]\nshare = 0.4\n")
    with pytest.raises(SystemExit):
        main(["clicks", str(tmp_path / "shop")])
    said = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(said) == 1
    assert said[0].startswith(f"clickscape: warning: {path}"[:30])
