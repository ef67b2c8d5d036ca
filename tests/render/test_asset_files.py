"""The studio's own pictures are decoded, or one line says what the machine lacks."""

from __future__ import annotations

import subprocess
import sys

import cv2
import pytest

from clickscape.render.studio.asset_files import read_picture


def test_a_panorama_has_light_in_three_channels() -> None:
    picture = read_picture("panoramas/city.hdr", flags=cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    assert (picture.dtype.name, picture.shape[2]) == ("float32", 3)
    assert float(picture.max()) > 1


@pytest.mark.slow
def test_a_limit_of_file_sizes_is_an_error_that_names_the_remedy() -> None:
    """OpenCV decodes panoramas from a temporary file; under the limit it cannot write one."""
    code = (
        "import cv2, resource\n"
        "from clickscape.errors import RenderError\n"
        "from clickscape.render.studio.asset_files import read_picture\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try:\n"
        "    read_picture('panoramas/city.hdr', flags=cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)\n"
        "except RenderError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "panoramas/city.hdr of the studio cannot be decoded" in done.stdout
    assert "ulimit -f unlimited" in done.stdout
