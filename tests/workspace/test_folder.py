"""A workspace is made once, opened by many and written by one, and survives being killed at any moment."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clickscape.config import ClicksConfig, Settings
from clickscape.errors import WorkspaceError
from clickscape.types import Product
from clickscape.workspace import Workspace, read_metrics


def test_the_settings_file_names_every_setting_and_changes_none(workspace: Workspace) -> None:
    text = workspace.settings_path.read_text()
    assert workspace.settings == Settings()
    lines = re.findall(r"^(?:# )?(\[\w+\]|\w+ = .*)$", text, flags=re.MULTILINE)
    assert Settings.model_validate(tomllib.loads("\n".join(lines))) == Settings()
    named = {section: set(values) for section, values in tomllib.loads("\n".join(lines)).items()}
    assert named == {section: set(type(stage).model_fields) for section, stage in Settings()}
    workspace.settings_path.write_text(text.replace("# prior_impressions = 200.0", "prior_impressions = 50"))
    assert workspace.settings.clicks == ClicksConfig(prior_impressions=50)


def test_create_refuses_a_folder_with_foreign_files(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="is a workspace already"):
        Workspace.create(workspace.path)
    assert Workspace.create(workspace.path, exist_ok=True).path == workspace.path
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(WorkspaceError, match=r"not empty \(it holds 'thesis.tex'\). Choose"):
        Workspace.create(tmp_path / "full")
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="is a file"):
        Workspace.create(tmp_path / "file")
    with pytest.raises(WorkspaceError, match=r"not a workspace.*clickscape new"):
        Workspace.open(tmp_path / "full")


def test_a_create_that_was_killed_can_be_repeated(workspace: Workspace) -> None:
    workspace.settings_path.rename(workspace.path / ".tmp-0123456789ab.toml")
    (workspace.path / "runs").rmdir()
    assert Workspace.create(workspace.path).settings == Settings()
    assert not (workspace.path / ".tmp-0123456789ab.toml").exists()


def test_deleting_the_settings_means_the_defaults(workspace: Workspace) -> None:
    workspace.settings_path.unlink()
    assert Workspace.open(workspace.path).settings == Settings()


def test_only_one_process_writes_and_others_read(workspace: Workspace) -> None:
    workspace.write_products([Product("a", "Cup")])
    with workspace.lock(), workspace.lock():  # nests
        other = Workspace.open(workspace.path)
        assert len(other.products()) == 1
        with pytest.raises(WorkspaceError, match=rf"another process \(id {os.getpid()}\). Wait"):
            other.write_products([Product("b", "Mug")])
    other.write_products([Product("b", "Mug")])
    assert workspace.products() == [Product("b", "Mug")]


_WRITER = """
import sys
from pathlib import Path
import numpy as np
from clickscape.types import Creative, Product
from clickscape.workspace import Workspace, atomic_folder

workspace = Workspace.open(sys.argv[1])
start = int(sys.argv[2])
print("ready", flush=True)
for number in range(start, start + 100_000):
    text = str(number)
    workspace.write_products([Product(str(n), text) for n in range(20)])
    with atomic_folder(workspace.models / "reward") as folder:
        for name in "abc":
            (folder / name).write_text(text * 1000)
    path = workspace.save_image("x", np.full((16, 16, 3), number % 256, np.uint8))
    workspace.append_creatives([Creative(text, "p", str(path), "d", {}, "studio", "tiny", number)])
    with workspace.start_run("stage", {"number": number}, {"products": workspace.products_path}) as run:
        for step in range(5):
            run.log({"step": step, "text": text * 100})
    print(number, flush=True)
"""


@pytest.mark.slow
def test_kill_9_at_any_moment_is_survived(workspace: Workspace) -> None:
    chance = random.Random(0)
    seen = start = 0
    for _ in range(7):
        command = [sys.executable, "-c", _WRITER, str(workspace.path), str(start)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            for _ in range(chance.randrange(3)):
                writer.stdout.readline()
            time.sleep(chance.uniform(0, 0.2))
            writer.send_signal(signal.SIGKILL)
        again = Workspace.open(workspace.path)
        if again.products_path.exists():
            products = again.products()
            assert [product.product_id for product in products] == [str(n) for n in range(20)]
            assert len({product.title for product in products}) == 1
        if (again.models / "reward").exists():
            contents = {name: (again.models / "reward" / name).read_text() for name in "abc"}
            assert len(set(contents.values())) == 1
        else:
            assert not again.creatives()
        creatives = again.creatives()
        seeds = [one.seed for one in creatives]
        assert seeds == sorted(set(seeds))
        if creatives:
            with Image.open(creatives[-1].image) as image:
                assert np.asarray(image).shape == (16, 16, 3)
        for run in again.runs_folder.iterdir():
            steps = [step["step"] for step in read_metrics(run / "metrics.jsonl")]
            assert steps == list(range(len(steps)))
            if (run / "manifest.json").exists() and json.loads((run / "manifest.json").read_text())["status"] == "done":
                assert len(steps) == 5
        assert not [path for path in again.path.rglob("*") if path.name.startswith(".tmp-")]
        seen, start = seen + len(creatives), max(seeds, default=start) + 1
    assert seen > 0
