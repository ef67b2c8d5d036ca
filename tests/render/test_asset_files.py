"""The studio's own pictures are decoded, or one line says that the installation is damaged."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from clickscape.errors import RenderError
from clickscape.render.studio import asset_files
from clickscape.render.studio.backdrop import BAND, BRIGHTEST, VIEWS, panorama


@pytest.mark.parametrize("name", sorted({view.panorama for view in VIEWS.values()}))
def test_a_panorama_goes_all_around_and_holds_light_brighter_than_white(name: str) -> None:
    light = panorama(name)
    assert light.dtype == np.float32
    assert light.shape[0] == pytest.approx(light.shape[1] * BAND / 360, abs=1)
    assert 1 < float(light.max()) <= BRIGHTEST


def test_no_panorama_is_kept_that_no_setting_shows() -> None:
    folder = Path(asset_files.__file__).parent / "assets/panoramas"
    assert {path.stem for path in folder.iterdir()} == {view.panorama for view in VIEWS.values()}


def test_a_damaged_picture_is_an_error_that_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "damaged_studio"
    (package / "assets").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "assets/torn.webp").write_bytes(b"RIFF")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(asset_files, "__package__", package.name)
    with pytest.raises(RenderError, match="Install clickscape again"):
        asset_files.read_picture("torn.webp", flags=cv2.IMREAD_COLOR)
    sys.modules.pop(package.name, None)
