"""Sets on disk: the same picture with and without them, bounded, and harmless when torn."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import clickscape.render
from clickscape.render.scene import Scene
from clickscape.render.studio import disk, gbuffer, materials
from clickscape.render.studio.engine import StudioRenderer


def cutout() -> np.ndarray:
    picture = np.zeros((80, 60, 4), np.uint8)
    picture[10:70, 15:45] = (200, 120, 40, 255)
    return picture


DRAWN = Scene("loft", "oak", "window", "steps", "teal")


@pytest.mark.slow
def test_a_set_cached_on_disk_renders_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = StudioRenderer().compose(cutout(), DRAWN, size=(96, 96), seed=4).image
    first = StudioRenderer(kept=tmp_path).compose(cutout(), DRAWN, size=(96, 96), seed=4).image
    assert len(list(tmp_path.glob("*.npz"))) == 4  # the set, what its light reaches, oak, concrete
    monkeypatch.setattr(gbuffer, "build", lambda *_, **__: pytest.fail("the set is on disk"))
    monkeypatch.setattr(gbuffer, "key_visibility", lambda *_, **__: pytest.fail("the light is on disk"))
    monkeypatch.setattr(materials, "atlas", lambda *_: pytest.fail("the materials are on disk"))
    again = StudioRenderer(kept=tmp_path).compose(cutout(), DRAWN, size=(96, 96), seed=4).image
    assert np.array_equal(plain, first)
    assert np.array_equal(plain, again)


@pytest.mark.parametrize("damage", [b"", b"not a zip", None])
def test_a_torn_cache_file_is_made_anew(tmp_path: Path, damage: bytes | None) -> None:
    disk.keep("a", lambda: {"x": np.arange(4)}, where=tmp_path)
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:60] if damage is None else damage)
    assert disk.keep("a", lambda: {"x": np.arange(4)}, where=tmp_path)["x"].tolist() == [0, 1, 2, 3]
    assert disk.keep("a", lambda: pytest.fail("mended"), where=tmp_path)["x"].tolist() == [0, 1, 2, 3]


def test_the_disk_cache_stays_within_its_bytes_and_evicts_the_oldest(tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        disk.keep(name, lambda: {"x": np.zeros(1000, np.uint8)}, where=tmp_path, max_bytes=3_000)
        for path in tmp_path.glob("*.npz"):
            if path.stat().st_mtime > 1e9:
                os.utime(path, (number + 1, number + 1))
    made: list[str] = []
    for name in "cba":
        disk.keep(name, lambda name=name: {"x": np.array(made.append(name) or [1])}, where=tmp_path, max_bytes=3_000)
    assert made == ["a"]
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert disk.keep("a", lambda: {"x": np.arange(2)}, where=blocked / "studio")["x"].tolist() == [0, 1]


def test_the_environment_names_the_folder_or_switches_it_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(disk.VARIABLE, str(tmp_path))
    assert disk.folder() == tmp_path / "studio"
    studio = clickscape.render.load("studio")
    assert isinstance(studio, StudioRenderer)
    assert studio.kept == tmp_path / "studio"
    monkeypatch.setenv(disk.VARIABLE, "")
    assert disk.folder() is None
    monkeypatch.delenv(disk.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert disk.folder() == tmp_path / "home" / "clickscape" / "studio"
