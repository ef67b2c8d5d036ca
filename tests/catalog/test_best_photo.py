"""Of several pictures of one product the one is chosen that is better in what the test made worse in the others."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from clickscape.catalog import sample
from clickscape.catalog.best_photo import choose_photo, score_photo
from clickscape.catalog.cutout import Cutout, place
from clickscape.catalog.flags import Flags


def _picture(size: int = 700, *, fill: float = 0.8, confidence: float | None = 0.95) -> Cutout:
    pixels = place(sample.cutout("camera-original", 600), (size, size), fill=fill)
    return Cutout(pixels, "plain", confidence, Flags())


def _cropped(cutout: Cutout) -> Cutout:
    return replace(cutout, pixels=np.ascontiguousarray(cutout.pixels[:, cutout.pixels.shape[1] // 3 :]))


def _blurred(cutout: Cutout) -> Cutout:
    pixels = cutout.pixels.copy()
    pixels[..., :3] = cv2.GaussianBlur(pixels[..., :3], (0, 0), 6)
    return replace(cutout, pixels=pixels)


def _badged(cutout: Cutout) -> Cutout:
    pixels = cutout.pixels.copy()
    pixels[20:120, 20:330] = (220, 0, 0, 255)
    return replace(cutout, pixels=pixels)


@pytest.mark.parametrize(
    ("worse", "reason"),
    [
        (_picture(confidence=0.4), "surer"),
        (_cropped(_picture()), "whole in the picture"),
        (_picture(160), "more pixels"),
        (_blurred(_picture()), "sharper"),
        (_badged(_picture(fill=0.6)), "nothing else"),
    ],
)
def test_the_better_picture_wins_and_the_reason_is_what_was_wrong(worse: Cutout, reason: str) -> None:
    choice = choose_photo([worse, _picture()])
    assert choice.index == 1
    assert reason in choice.reason
    assert choose_photo([_picture(), worse]).index == 0


def test_the_shops_first_picture_stays_unless_another_is_clearly_better() -> None:
    same = choose_photo([_picture(700), _picture(720), _picture(690)])
    assert same.index == 0
    assert "none is clearly better" in same.reason
    assert choose_photo([_picture()]).reason == "the only picture"
    with pytest.raises(ValueError, match="at least one cut-out"):
        choose_photo([])


def test_an_unknown_confidence_stands_between_a_sure_and_a_poor_one() -> None:
    unknown, sure, poor = (score_photo(_picture(confidence=value)).score for value in (None, 0.95, 0.4))
    assert poor < unknown < sure


def test_the_order_is_the_order_of_the_scores() -> None:
    pictures = [_picture(160), _cropped(_picture()), _picture(), _blurred(_picture())]
    scores = [score_photo(picture).score for picture in pictures]
    assert choose_photo(pictures).index == int(np.argmax(scores)) == 2


def _recolored(cutout: Cutout, channels: tuple[int, int, int]) -> Cutout:
    return replace(cutout, pixels=np.ascontiguousarray(cutout.pixels[..., [*channels, 3]]))


def _chart(paper: tuple[int, int, int]) -> Cutout:
    """A table of sizes: dark lines and words on a sheet, cut out whole, sharper and larger than any photo."""
    pixels = np.zeros((1200, 1200, 4), np.uint8)
    pixels[60:1140, 60:1140] = (*paper, 255)
    for at in range(60, 1140, 90):
        pixels[at : at + 5, 60:1140, :3] = 20
        pixels[at + 30 : at + 60, 100:1100:7, :3] = 30
    return Cutout(pixels, "plain", 0.99, Flags())


def _mug(name: str, size: int) -> Cutout:
    return Cutout(place(sample.cutout(name, 600), (size, size), fill=0.8), "plain", 0.95, Flags())


def test_a_photo_of_another_color_is_not_the_product() -> None:
    navy = _mug("coffee_mug-navy", 240)
    red = _recolored(_mug("coffee_mug-navy", 900), (2, 0, 1))
    assert score_photo(red).score > 1.1 * score_photo(navy).score
    assert choose_photo([navy, red]).index == 0
    assert choose_photo([red, navy, red]).index == 0
    assert choose_photo([navy, red, _mug("coffee_mug-navy", 900)]).index == 2


@pytest.mark.parametrize("paper", [(236, 232, 222), (255, 255, 255), (25, 35, 80)], ids=["beige", "white", "navy"])
@pytest.mark.parametrize("turned", [(0, 1, 2), (2, 0, 1)], ids=["navy", "red"])
def test_a_size_chart_is_not_the_product(paper: tuple[int, int, int], turned: tuple[int, int, int]) -> None:
    front = _recolored(_mug("coffee_mug-navy", 240), turned)
    chart = _chart(paper)
    assert score_photo(chart).score > 1.1 * score_photo(front).score
    assert choose_photo([front, chart]).index == 0
