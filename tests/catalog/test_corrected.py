"""Strokes change a cut-out where they are and nowhere else; what they cannot mean is one line."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.factory import clickscape

from clickscape.catalog import sample
from clickscape.catalog.corrected import correct
from clickscape.catalog.cutout import examine
from clickscape.catalog.cutout_file import WAY, notes_of
from clickscape.errors import ImageError


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    """A teapot and, apart from it, a forgotten ball, on gray paper with a vignette, shadows, noise; a JPEG."""
    side = 500
    y, x = np.mgrid[:side, :side].astype(np.float32) / side - 0.5
    ground = np.repeat((225 - 60 * (x * x + y * y))[..., None], 3, 2)
    for name, size, left, top in (("teapot-crimson", 260, 30, 160), ("basketball-original", 120, 350, 290)):
        thing = sample.cutout(name, size).astype(np.float32)
        height, width = thing.shape[:2]
        alpha = np.zeros((side, side), np.float32)
        alpha[top : top + height, left : left + width] = thing[..., 3] / 255
        shade = cv2.GaussianBlur(np.roll(alpha, (8, 6), (0, 1)), (0, 0), 9) * 0.35 * (1 - alpha)
        ground *= 1 - shade[..., None]
        color = np.zeros_like(ground)
        color[top : top + height, left : left + width] = thing[..., :3]
        ground = ground * (1 - alpha[..., None]) + color * alpha[..., None]
    ground += np.random.default_rng(0).normal(0, 1.5, (side, side, 1)).astype(np.float32)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.rint(ground), 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
    return np.asarray(Image.open(buffer).convert("RGB"))


TEAPOT, BALL = (slice(150, 440), slice(20, 330)), (slice(280, 430), slice(345, 480))


def _solid(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return pixels[..., 3] > 127


@pytest.mark.slow
def test_a_dab_on_what_is_no_product_removes_it_and_leaves_the_rest(photo: NDArray[np.uint8]) -> None:
    before = _solid(examine(photo).pixels)
    assert before[BALL].mean() > 0.4
    found = correct(photo, drop=[[(410, 350)]])
    after = _solid(found.pixels)
    assert after[BALL].mean() < 0.02
    assert np.array_equal(after[TEAPOT], before[TEAPOT])
    assert not found.doubtful


@pytest.mark.slow
def test_a_stroke_brings_back_what_an_alpha_had_lost(photo: NDArray[np.uint8]) -> None:
    whole = examine(photo).pixels.copy()
    whole[BALL][..., 3] = 0
    lost = whole.copy()
    lost[240:360, 100:200, 3] = 0  # a hole in the middle of the teapot, as of a bad tool
    truth, damaged = _solid(whole)[TEAPOT], _solid(lost)[TEAPOT]
    found = _solid(correct(lost, keep=[[(110, 300), (190, 300)], [(150, 250), (150, 350)]]).pixels)[TEAPOT]
    overlap = lambda mask: (mask & truth).sum() / (mask | truth).sum()  # noqa: E731
    assert overlap(damaged) < 0.85
    assert overlap(found) > 0.97


def test_the_whole_picture_is_the_product_when_somebody_says_so(photo: NDArray[np.uint8]) -> None:
    found = correct(photo, whole=True)
    assert found.pixels[..., 3].min() == 255
    assert found.flags.names == ("whole",)


@pytest.mark.slow
def test_without_strokes_it_is_the_cut_out_as_it_is_found(photo: NDArray[np.uint8]) -> None:
    assert np.array_equal(correct(photo).pixels, examine(photo).pixels)


@pytest.mark.slow
def test_strokes_that_contradict_each_other_are_refused(photo: NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match="cross each other"):
        correct(photo, keep=[[(100, 300), (200, 300)]], drop=[[(150, 250), (150, 350)]])


@pytest.mark.slow
def test_the_command_writes_a_png_that_a_catalog_can_name(photo: NDArray[np.uint8], tmp_path: Path) -> None:
    Image.fromarray(photo).save(tmp_path / "pot.jpg", quality=95)
    done = clickscape("cutout", "pot.jpg", "--drop", "410,350 420,360", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "pot-cutout.png" in done.out
    made = tmp_path / "pot-cutout.png"
    assert notes_of(made)[WAY] == "strokes"
    with Image.open(made) as picture:
        assert picture.mode == "RGBA"
        assert picture.width < 330  # the ball is gone, and the border with it
    assert clickscape("cutout", "pot.jpg", cwd=tmp_path).code == 0  # its own file is made anew


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--drop", "900,10"], "outside of the picture"),
        (["--keep", "a,b"], "expected a point in pixels"),
        (["--keep", ""], "expected a point in pixels"),
        (["--out", "there.png"], "was not made here"),
        (["--out", "pot.jpg"], "a cut-out is a PNG"),
    ],
)
def test_bad_input_is_one_line(photo: NDArray[np.uint8], tmp_path: Path, options: list[str], said: str) -> None:
    Image.fromarray(photo).save(tmp_path / "pot.jpg")
    Image.fromarray(photo).save(tmp_path / "there.png")
    untouched = (tmp_path / "there.png").read_bytes()
    done = clickscape("cutout", "pot.jpg", *options, cwd=tmp_path)
    assert done.code == 2
    (line,) = done.err.strip().splitlines()
    assert line.startswith("clickscape: ")
    assert said in line
    assert (tmp_path / "there.png").read_bytes() == untouched
