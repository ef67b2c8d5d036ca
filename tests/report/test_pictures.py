from __future__ import annotations

import base64
from pathlib import Path

import pytest
from PIL import Image

from clickscape.errors import ImageError, WorkspaceError
from clickscape.report.pictures import data_uri


def test_pictures_are_small_ours_and_inside_the_workspace(workspace: Path, tmp_path: Path) -> None:
    uri = data_uri("before.webp", folder=workspace, side=60)
    (tmp_path / "small").write_bytes(base64.b64decode(uri.removeprefix("data:image/webp;base64,")))
    with Image.open(tmp_path / "small") as small:
        assert (small.format, small.size, small.mode) == ("WEBP", (60, 48), "RGB")
    (tmp_path / "cutout").write_bytes(base64.b64decode(data_uri("cutout.png", folder=workspace, side=60).split(",")[1]))
    with Image.open(tmp_path / "cutout") as cutout:
        assert cutout.mode == "RGBA"
    (workspace / "text.png").write_text("no picture")
    for path in ("../secret.png", "/etc/passwd"):
        with pytest.raises(WorkspaceError, match="outside"):
            data_uri(path, folder=workspace, side=60)
    for path in ("gone.webp", "text.png"):
        with pytest.raises(ImageError, match=path):
            data_uri(path, folder=workspace, side=60)
