"""A pipe, a device or a folder in the place of a file that the user names is one clear error, and nothing waits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clickscape.catalog import feeds
from clickscape.catalog.cutout_file import model_digest
from clickscape.catalog.images import check_image, open_image
from clickscape.catalog.matting import recipe_of
from clickscape.config import settings
from clickscape.config.brand import BrandFile
from clickscape.errors import ClickscapeError
from clickscape.files import fingerprint
from clickscape.render.typeset import open_face
from clickscape.reward import pairwise_list
from clickscape.stages.inspect import inspect

READERS: dict[str, Callable[[Path], object]] = {
    "feed": feeds.read,
    "picture": open_image,
    "picture's header": check_image,
    "picture's label": inspect,
    "settings": settings.load,
    "brand": lambda path: settings.read(path, BrandFile),
    "matting model": model_digest,
    "font": open_face,
    "pairwise list": pairwise_list.read,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_refused_and_nothing_waits(tmp_path: Path, reader: str, kind: str) -> None:
    path = tmp_path / "odd"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
    with pytest.raises(ClickscapeError, match=r"odd") as told:
        READERS[reader](path)
    assert "\n" not in str(told.value)


@pytest.mark.skipif(not Path("/proc/kmsg").exists(), reason="Linux shows its messages as a file")
@pytest.mark.parametrize("reader", sorted(READERS.keys() - {"settings"}))  # empty settings are the defaults
def test_the_systems_messages_are_an_empty_file_and_are_not_waited_for(tmp_path: Path, reader: str) -> None:
    (tmp_path / "odd").symlink_to("/proc/kmsg")  # a regular file of 0 bytes: who reads to its end waits for the next
    with pytest.raises(ClickscapeError, match=r"odd"):
        READERS[reader](tmp_path / "odd")


@pytest.mark.parametrize("target", ["pipe", "/dev/zero"])
def test_what_a_fingerprint_is_taken_of_is_a_file(tmp_path: Path, target: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "odd").symlink_to(target)
    with pytest.raises(ClickscapeError, match="no regular file"):
        fingerprint(tmp_path / "odd")


def test_a_recipe_that_nests_deeply_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"side":' + "[" * 200_000)
    with pytest.raises(ClickscapeError, match=r"model\.json: not a recipe"):
        recipe_of(tmp_path / "model.onnx")


def test_settings_that_nest_deeply_are_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("brand = " + "[" * 200_000)
    with pytest.raises(ClickscapeError, match=r"a\.toml: not valid TOML"):
        settings.load(tmp_path / "a.toml")
