"""What shoppers of drawn worlds see: figures that say what they are called, by code that the learning side lacks."""

from __future__ import annotations

import ast
from pathlib import Path

import cv2
import numpy as np
import pytest

import clickscape
from clickscape.simulator.perception import FIGURES, perceive, perceive_raw

SOURCE = Path(clickscape.__file__).parent


def picture(
    *, around: tuple[int, int, int] = (200, 190, 180), product: tuple[int, int, int] = (40, 60, 160), left: int = 90
) -> tuple[np.ndarray, np.ndarray]:
    """A disk before a wall (256, 256, 3), and its alpha."""
    image, mask = np.full((256, 256, 3), around, np.uint8), np.zeros((256, 256), np.uint8)
    cv2.circle(mask, (left + 38, 128), 45, 255, -1, cv2.LINE_AA)
    share = mask[..., None] / 255
    return np.rint(image * (1 - share) + np.array(product) * share).astype(np.uint8), mask


def figure(name: str, *pictures: tuple[np.ndarray, np.ndarray]) -> list[float]:
    return [perceive_raw(*one)[name] for one in pictures]


def test_an_outline_separates_more_the_more_colors_differ() -> None:
    near, far = picture(product=(180, 170, 160)), picture(product=(10, 10, 30))
    low, high = figure("separation", near, far)
    assert 0 < low < 0.2 * high


def test_hues_agree_oppose_or_have_nothing_to_say() -> None:
    same = picture(around=(150, 170, 240), product=(40, 60, 160))
    opposite = picture(around=(240, 210, 120), product=(40, 60, 160))
    gray = picture(around=(180, 180, 180))
    agree, oppose, neither = figure("hue agreement", same, opposite, gray)
    assert agree > 0.7
    assert oppose < -0.7
    assert abs(neither) < 0.05


def test_warm_bright_and_busy_surrounds_are_told_apart() -> None:
    warm, cold = figure("warmth", picture(around=(240, 190, 120)), picture(around=(120, 160, 240)))
    assert warm > 0.03 > -0.03 > cold
    bright, dark = figure("key", picture(around=(250, 250, 250)), picture(around=(30, 30, 30)))
    assert bright > 0.9 > 0.4 > dark
    image, mask = picture()
    noisy = np.clip(image + np.random.default_rng(0).normal(0, 30, image.shape), 0, 255).astype(np.uint8)
    plain, busy = figure("texture", (image, mask), (noisy, mask))
    assert busy > plain + 0.005


def test_the_eye_goes_to_the_product_unless_something_else_draws_it() -> None:
    image, mask = picture()
    other = image.copy()
    cv2.circle(other, (215, 40), 30, (230, 20, 20), -1)
    alone, beside = figure("gaze", (image, mask), (other, mask))
    assert alone > beside + 0.1
    middle, aside = figure("balance", picture(left=90), picture(left=20))
    assert aside > middle + 0.1
    even, uneven = figure("symmetry", picture(left=90), picture(left=20))
    assert even > 0.9 > 0.3 > uneven
    small = (cv2.copyMakeBorder(image, 60, 60, 60, 60, cv2.BORDER_REPLICATE), np.pad(mask, 60))
    full, empty = figure("space", (image, mask), small)
    assert empty > full


def test_figures_are_standardized_and_bounded() -> None:
    figures = perceive(*picture(around=(255, 255, 255), product=(0, 0, 0)))
    assert figures.shape == (len(FIGURES),)
    assert np.abs(figures).max() <= 3


@pytest.mark.parametrize("mask", [0, 255])
def test_a_picture_without_product_or_without_surround_has_figures(mask: int) -> None:
    image = picture()[0]
    assert np.isfinite(perceive(image, np.full(image.shape[:2], mask, np.uint8))).all()


def test_a_mask_of_another_size_is_refused() -> None:
    image, mask = picture()
    with pytest.raises(ValueError, match="one size"):
        perceive(image, mask[1:])


def bodies(*folders: str) -> dict[str, str]:
    """Dumped body of every function with more than a line of code → where it stands."""
    found = {}
    for folder in folders:
        for file in sorted((SOURCE / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef):
                    lines = [one for one in node.body if not isinstance(getattr(one, "value", None), ast.Constant)]
                    if len(lines) > 1:
                        found["\n".join(ast.dump(one) for one in lines)] = f"{file.name}:{node.name}"
    return found


def test_no_function_stands_on_both_sides() -> None:
    """What is learned must not be computed by the code that decides it; `harmony` and `siren` are as they were."""
    learns, decides = bodies("reward", "preference", "vlm", "clicks", "gates"), bodies("simulator")
    assert len(learns) > 200
    assert len(decides) > 30
    assert {decides[body] for body in decides.keys() & learns.keys()} == set()
    perception = (SOURCE / "simulator" / "perception.py").read_text(encoding="utf-8")
    imported = [node.module for node in ast.walk(ast.parse(perception)) if isinstance(node, ast.ImportFrom)]
    assert not [name for name in imported if str(name).startswith("clickscape")]
