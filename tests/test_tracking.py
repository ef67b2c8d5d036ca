"""What trackio is told: every finished run, its manifest as config, its steps once. `make test-trackio` has trackio."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from clickscape.errors import ConfigError
from clickscape.stages.tracking import all_to_trackio, to_trackio, tracked
from clickscape.workspace import Workspace


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    """A workspace with two finished runs, one of which was killed and went on, and an unfinished one."""
    workspace = Workspace.create(tmp_path / "my-shop")
    for last in (5, 7):  # killed after step 5, on from the checkpoint of step 3
        run = workspace.start_run("optimize", {"rounds": 1}, {"products": "p"})
        for number in range(1 if last == 5 else 4, last + 1):
            run.log({"round": 1, "number": number, "loss": last / 10, "kl": None})
        if last == 5:
            run.close()
        else:
            run.finish(
                result={"accuracy": {"value": 0.61, "low": 0.58, "high": 0.64}, "summary": ["good"], "new": True}
            )
    workspace.start_run("reward", {"form": "effects"}, {}).finish(result={"pairs": 12})
    workspace.start_run("clicks", {}, {}).close()
    return workspace


@pytest.fixture
def trackio(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, keeping its projects in a folder of the test; it reads where when it is imported."""
    if "trackio" not in sys.modules:
        monkeypatch.setenv("TRACKIO_DIR", str(tmp_path_factory.mktemp("trackio")))
    return pytest.importorskip("trackio")


def _steps(project: str, run: str) -> list[dict[str, Any]]:
    from trackio.sqlite_storage import SQLiteStorage

    return [row for row in SQLiteStorage.get_logs(project, run)]  # noqa: C416


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_finished_run_opens_with_its_manifest_and_each_step_once(
    trackio: Any, shop: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *place, **_: asked.append(place) or [])
    for _ in range(2):  # the second time replaces
        names = all_to_trackio(shop)
    assert [name.partition("-")[2] for name in names] == ["optimize", "reward"]
    runs = {run.name: run for run in trackio.Api().runs("my-shop")}
    assert set(runs) == set(names)
    assert len(list(trackio.Api().runs("my-shop"))) == 2
    manifest = json.loads((shop.runs_folder / names[0] / "manifest.json").read_text())
    config = runs[names[0]].config
    for name in ("stage", "config", "inputs", "fingerprint", "versions", "started", "ended"):
        assert config[name] == manifest[name]
    steps = _steps("my-shop", names[0])
    assert [(row["step"], row["loss"]) for row in steps[:-1]] == [
        (1, 0.5), (2, 0.5), (3, 0.5), (4, 0.7), (5, 0.7), (6, 0.7), (7, 0.7),
    ]  # fmt: skip
    found = {name: value for name, value in steps[-1].items() if name.startswith("result/")}
    assert found == {"result/accuracy/value": 0.61, "result/accuracy/low": 0.58, "result/accuracy/high": 0.64}
    assert not asked, "nothing asks the network"
    assert capsys.readouterr().out == ""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_setting_brings_a_run_when_it_has_ended(trackio: Any, tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "one-shop")
    with workspace.start_run("optimize", {}, {}) as run, tracked("trackio", run.folder) as log:
        log({"loss": 1.0}, 1)
        run.log({"loss": 1.0})
        with pytest.raises(ValueError, match="does not exist"):
            trackio.Api().runs("one-shop")
        run.finish()
    assert [one.name for one in trackio.Api().runs("one-shop")] == [run.folder.name]
    broken = workspace.start_run("reward", {}, {})
    with pytest.raises(RuntimeError), tracked("trackio", broken.folder):
        raise RuntimeError
    broken.close()
    assert to_trackio(broken.folder) is None


def test_without_trackio_one_line_says_how_to_get_it(shop: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)  # as if it could not be imported
    with (
        pytest.raises(ConfigError, match=r"pip install 'clickscape\[trackio\]'"),
        tracked("trackio", shop.runs_folder),
    ):
        pass
    with pytest.raises(ConfigError, match=r"clickscape\[trackio\]"):
        all_to_trackio(shop)
