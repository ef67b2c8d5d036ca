"""What docs/howto/backbones.md says: its presets, its settings, and its Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from clickscape.cli import main
from clickscape.config import GenerateConfig
from clickscape.vlm import backbones

PAGE = (Path(__file__).parents[3] / "docs" / "howto" / "backbones.md").read_text(encoding="utf-8")


def test_the_presets_are_those_of_the_table() -> None:
    rows = re.findall(r"^\| `([\w.-]+)` \| (\w[\w-]*/[\w.-]+) \|$", PAGE, flags=re.M)
    assert dict(rows) == dict(backbones.PRESETS)
    assert all(f"`{name}`" in PAGE for name in backbones.FAMILIES)


def test_the_options_of_the_page_exist(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("generate", "merge"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        told = capsys.readouterr().out
        asked = re.findall(rf"^clickscape {command} .*$", PAGE, flags=re.M)
        assert asked
        assert all(option in told for line in asked for option in re.findall(r"--[\w-]+", line))
    assert {"model", "server_model"} <= set(GenerateConfig.model_fields)


def test_the_settings_name_the_checkpoint_that_optimize_starts_from(
    folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clickscape.stages.reward import start_source
    from clickscape.workspace import Workspace

    (told,) = (block for block in re.findall(r"```toml\n(.*?)```", PAGE, flags=re.S) if "model" in block)
    monkeypatch.chdir(tmp_path)
    shop = Workspace.create(tmp_path / "my-shop")
    assert start_source(shop, shop.settings.optimize) == "tiny"
    (shop.path / "clickscape.toml").write_text(told)
    shop = Workspace.open(shop.path)
    assert start_source(shop, shop.settings.optimize) == "downloaded/qwen", "a name of the hub, for all that is known"
    Path("downloaded").mkdir()
    Path("downloaded/qwen").symlink_to(folder("qwen2_5_vl"))
    assert start_source(shop, shop.settings.optimize) == Path("downloaded/qwen")
    assert shop.settings.optimize.lora_rank == 16
