"""Words over a picture: contrast, distance and safe zone worked out anew from the pixels before and after."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clickscape.errors import TextError
from clickscape.render.studio.product import Box
from clickscape.render.text import TextResult, check_text_allowed, set_text
from clickscape.render.typeset import break_lines, cleaned, draw_line, line_width, open_face, reads_leftward

HEBREW = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
JAPANESE = Path(__file__).parent / "fonts" / "NotoSansJP-subset.ttf"
SIDE = 360
WHOLE = Box(0, 0, SIDE, SIDE)
Pixels = NDArray[np.uint8]


def product(
    center: tuple[float, float] = (0.5, 0.64), radius: float = 0.2, size: tuple[int, int] = (SIDE, SIDE)
) -> Pixels:
    """A red disc with a soft edge; `center` and `radius` are shares of (width, height) and of the width."""
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    away = np.hypot(x - center[0] * size[0], y - center[1] * size[1])
    made = np.zeros((size[1], size[0], 4), np.uint8)
    made[..., 0], made[..., 3] = 200, np.clip((radius * size[0] - away) * 64 + 128, 0, 255)
    return made


def ground(mean: float, sway: float, seed: int, *, blur: float = 18) -> Pixels:
    """A wall of smooth colored noise around `mean` (0..255) with a disc in front."""
    noise = np.random.default_rng(seed).normal(0, 1, (SIDE, SIDE, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), blur)
    wall = np.clip(mean + sway * soft / soft.std(), 0, 255)
    disc = product()
    alpha = disc[..., 3:] / 255
    return np.rint(wall * (1 - alpha) + disc[..., :3] * alpha).astype(np.uint8)


def luminance(pixels: Pixels) -> NDArray[np.float64]:
    """Relative luminance, WCAG 2.2, written down again from its definition."""
    share = pixels / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear[..., 0] * 0.2126 + linear[..., 1] * 0.7152 + linear[..., 2] * 0.0722


def contrasts(ground: NDArray[np.float64], ink: float) -> NDArray[np.float64]:
    return (np.maximum(ground, ink) + 0.05) / (np.minimum(ground, ink) + 0.05)


def inside(picture: NDArray, box: Box) -> NDArray:
    return picture[box.top : box.top + box.height, box.left : box.left + box.width]


def ink_of(after: Pixels, box: Box, before: Pixels) -> float:
    """Luminance of the pixels that changed most."""
    now, then = luminance(inside(after, box)).ravel(), luminance(inside(before, box)).ravel()
    return float(now[np.argmax(np.abs(now - then))])


def keeps_clear(result: TextResult, before: Pixels, disc: Pixels, safe: Box) -> None:
    """The product is untouched, and every box lies in the safe zone at a distance from it."""
    solid = disc[..., 3] == 255
    assert (result.image[solid] == before[solid]).all()
    distance = cv2.distanceTransform((disc[..., 3] == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    for box in result.boxes:
        assert inside(distance, box).min() >= 0.03 * SIDE
        assert box.left >= safe.left
        assert box.top >= safe.top
        assert box.left + box.width <= safe.left + safe.width
        assert box.top + box.height <= safe.top + safe.height


@pytest.mark.slow
@pytest.mark.parametrize("mean", [12, 60, 95, 190, 245])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_contrast_recomputed_from_before_and_after(mean: float, seed: int) -> None:
    before = ground(mean, 9, seed)
    result = set_text(before, product(), safe=WHOLE, tagline="Made for the long way home", badge="New")
    tagline, badge = result.boxes
    keeps_clear(result, before, product(), WHOLE)
    changed = (result.image != before).any(-1)
    spared = changed.copy()
    for box in result.boxes:
        inside(spared, box)[:] = False
    assert not spared.any(), "calm grounds need no shade: nothing outside the boxes changes"
    glyphs = inside(changed, tagline)
    assert 0.05 < glyphs.mean() < 0.7
    behind = luminance(inside(before, tagline))[glyphs]
    of_letters = contrasts(behind, ink_of(result.image, tagline, before))
    assert np.quantile(of_letters, 0.01) >= 4.5
    assert result.contrast <= np.quantile(of_letters, 0.05) + 0.01
    plate = luminance(inside(result.image, badge))
    middle = plate[badge.height // 4 : -badge.height // 4, badge.height // 2 : -badge.height // 2]
    assert contrasts(middle.min(), middle.max()) >= 4.5, "the badge's own letters on its own plate"


@pytest.mark.parametrize("gray", [120, 125, 130])
def test_a_calm_middle_gray_is_shaded_because_neither_ink_reaches_the_contrast(gray: int) -> None:
    """On 125, white and near-black both have a contrast of 3.9 : 1, less than 4.5 : 1."""
    before = ground(gray, 1, 1)
    result = set_text(before, product(), safe=WHOLE, tagline="Hold on")
    assert result.contrast >= 4.5
    around = (result.image != before).any(-1)
    inside(around, result.boxes[0])[:] = False
    assert around.any(), "the shade reaches beyond the letters"


def test_a_background_with_too_little_contrast_is_shaded() -> None:
    tiles = np.kron(np.indices((SIDE // 6, SIDE // 6)).sum(0) % 2 * 255, np.ones((6, 6))).astype(np.uint8)
    before = np.dstack([tiles] * 3)
    disc = product()
    before[disc[..., 3] > 0] = disc[disc[..., 3] > 0][:, :3]
    result = set_text(before, disc, safe=WHOLE, tagline="Hold on")
    keeps_clear(result, before, disc, WHOLE)
    (box,) = result.boxes
    now = luminance(inside(result.image, box))
    light = np.median(now) < 0.5
    ink = float(now.max() if light else now.min())
    near = cv2.dilate((np.abs(now - ink) < 0.2).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert 0.1 < (~near).mean() < 0.95
    assert contrasts(now[~near], ink).min() >= 4.5
    assert result.contrast >= 4.5
    far = np.s_[SIDE - 40 :] if box.top < SIDE / 2 else np.s_[:40]
    assert (result.image[far] == before[far]).all(), "the shade ends softly, long before the other edge"


def test_the_safe_zone_holds_wherever_it_is() -> None:
    for safe in (Box(0, 0, SIDE, 110), Box(0, 0, 110, SIDE), Box(250, 20, 110, 320), Box(0, 300, SIDE, 60)):
        before = ground(60, 5, 4)
        result = set_text(before, product(), safe=safe, tagline="Stay in")
        keeps_clear(result, before, product(), safe)
        assert min(result.boxes[0].left, result.boxes[0].top) >= 0.05 * SIDE, "and a margin to the picture's edge"


@pytest.mark.slow
def test_words_shrink_until_they_fit_and_no_further() -> None:
    before, room, heights = ground(60, 5, 5), Box(0, 0, SIDE, 100), []
    for count in (1, 5, 10, 16):
        result = set_text(before, product(), safe=room, tagline=" ".join(["Long"] * count), badge="New")
        keeps_clear(result, before, product(), room)
        heights.append(result.boxes[1].height)  # a badge is set in proportion to its tagline
    assert heights == sorted(heights, reverse=True)
    assert heights[0] > 1.15 * heights[2]
    assert heights[0] == set_text(before, product(), safe=WHOLE, tagline="Long", badge="New").boxes[1].height


def test_the_same_words_give_the_same_bytes_and_leave_the_input_alone() -> None:
    before = ground(190, 9, 6)
    kept = before.copy()
    first, second = (set_text(before, product(), safe=WHOLE, tagline="Again", badge="−20 %") for _ in range(2))
    assert (first.image == second.image).all()
    assert (before == kept).all()


def test_a_badge_fits_square_wide_and_tall_pictures() -> None:
    before = ground(60, 5, 7)
    (badge,) = set_text(before, product(), safe=WHOLE, badge="New").boxes
    assert badge.width > badge.height > 0.05 * SIDE
    for size in ((600, 314), (270, 480)):
        picture, disc = np.full((size[1], size[0], 3), 40, np.uint8), product(radius=0.15, size=size)
        result = set_text(picture, disc, safe=Box(0, 0, *size), tagline="See it the way it felt", badge="Kit")
        assert len(result.boxes) == 2
        assert result.contrast > 4.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "no words to set"),
        ({"tagline": "\u202e \x00\u200b\n"}, "no words to set"),
        ({"tagline": "a" * 10_000}, "a tagline of 10000 letters, expected at most 120"),
        ({"tagline": "x y" * 41}, "a tagline of 123 letters"),
        ({"badge": "b" * 33}, "a badge of 33 letters, expected at most 32"),
        ({"tagline": "毎日"}, r"tagline has '毎' \(U\+6BCE, CJK UNIFIED .*\), which .* Give a font with --font"),
        ({"badge": "Sale 😀"}, r"badge has '😀' \(U\+1F600, GRINNING FACE\)"),
        ({"tagline": "שלום"}, r"tagline has 'ש' \(U\+05E9, HEBREW LETTER SHIN\)"),
        ({"tagline": "\ud800"}, r"U\+D800, unnamed"),
        ({"tagline": "W" * 100}, "fit nowhere beside the product"),
        ({"tagline": "New", "font_path": Path("no.ttf")}, r"no\.ttf: no font that can be read .* Give a TTF"),
        ({"tagline": "New", "font_path": Path(__file__)}, "no font that can be read"),
        ({"tagline": "New", "safe": Box(0, 0, 40, 40)}, "fit nowhere .* in a safe zone of 18 × 18 pixels. Shorten"),
        ({"tagline": "New", "safe": Box(300, 300, 10, 10)}, "fit nowhere"),
        ({"tagline": "New", "safe": Box(0, 170, SIDE, 110)}, None),
    ],
)  # fmt: skip
def test_untrusted_words_and_rooms_give_one_clear_error(words: dict[str, object], message: str | None) -> None:
    arguments = {"safe": WHOLE, **words}
    if message is None:  # room enough on the product's left
        set_text(ground(60, 5, 8), product(), **arguments)  # type: ignore[arg-type]
        return
    with pytest.raises(TextError, match=message) as caught:
        set_text(ground(60, 5, 8), product(), **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_product_that_fills_the_picture_leaves_no_room() -> None:
    full = np.full((SIDE, SIDE, 4), 255, np.uint8)
    with pytest.raises(TextError, match=r"the tagline 'Hello' and the badge 'New' fit nowhere beside the product"):
        set_text(full[..., :3], full, safe=WHOLE, tagline="Hello", badge="New")


def test_what_is_drawn_is_the_cleaned_text() -> None:
    assert cleaned(" Slow\r\n\tmornings\u202e \u200bnow\x1b[31m ", role="tagline") == "Slow mornings now[31m"
    assert cleaned("Cafe\u0301 ☕\ufe0f", role="tagline") == "Café ☕"
    before = ground(60, 5, 9)
    plain = set_text(before, product(), safe=WHOLE, tagline="Slow mornings")
    marked = set_text(before, product(), safe=WHOLE, tagline="\u202eSlow\n\u200b mornings\u2066")
    assert (plain.image == marked.image).all()


def test_lines_are_balanced_and_break_where_readers_expect() -> None:
    face = open_face()
    ways = break_lines("Slow mornings, better coffee for everyone", face, most=4)
    assert ways[:3] == [
        ("Slow mornings, better coffee for everyone",),
        ("Slow mornings, better", "coffee for everyone"),
        ("Slow mornings,", "better coffee", "for everyone"),
    ]
    assert break_lines("Sale", face, most=4) == [("Sale",)]
    japanese = break_lines("毎日を、もっと静かに。新品「朝の一杯」限定", open_face(JAPANESE), most=4)
    assert japanese[1] == ("毎日を、もっと静かに。", "新品「朝の一杯」限定")
    for lines in japanese:
        assert "".join(lines) == "毎日を、もっと静かに。新品「朝の一杯」限定"
        assert not any(line[0] in "、。」" or line[-1] == "「" for line in lines)
    for lines in ways:  # no other way of breaking the same words is narrower
        words, best = " ".join(lines).split(), max(line_width(line, face, tracking=0) for line in lines)
        if len(lines) == 2:
            others = [(" ".join(words[:cut]), " ".join(words[cut:])) for cut in range(1, len(words))]
            assert best == min(max(line_width(line, face, tracking=0) for line in pair) for pair in others)


def test_another_font_by_path_draws_what_the_bundled_one_cannot() -> None:
    before = ground(60, 5, 10)
    result = set_text(before, product(), safe=WHOLE, tagline="毎日を、もっと静かに。", badge="新品", font_path=JAPANESE)
    keeps_clear(result, before, product(), WHOLE)
    assert result.contrast >= 4.5
    with pytest.raises(TextError, match=r"U\+0041, LATIN CAPITAL LETTER A\), which NotoSansJP-subset\.ttf cannot draw"):
        set_text(before, product(), safe=WHOLE, tagline="A毎日", font_path=JAPANESE)


@pytest.mark.parametrize("line", ["AVATAR Tofu, Wę́ża", "Привет Ωμέγα", "−20 %"])
def test_letters_one_by_one_stand_where_the_font_would_set_them(line: str) -> None:
    face, size = open_face(), 48
    ours, whole = np.zeros((80, 640), np.uint8), Image.new("L", (640, 80))
    draw_line(ours, line, face, size=size, at=(20.0, 60.0), tracking=0.0)
    ImageDraw.Draw(whole).text((20, 60), line, fill=255, font=face.at(size), anchor="ls")
    difference = np.abs(ours.astype(int) - np.asarray(whole))
    assert difference.sum() < 0.15 * np.asarray(whole).sum(), "kerning and accents as in one piece"
    wide = np.zeros((80, 640), np.uint8)
    draw_line(wide, line, face, size=size, at=(20.0, 60.0), tracking=0.1)
    gaps = len(line) - 1 - line.count("\u0301")
    spread = np.flatnonzero(wide.any(0))[-1] - np.flatnonzero(ours.any(0))[-1]
    assert spread == pytest.approx(0.1 * size * gaps, abs=2)


def test_reading_begins_on_the_side_of_the_script() -> None:
    assert [reads_leftward(text) for text in ("New", "−20 % שלום", "קפה", "قهوة", "5", "")] == [
        False, True, True, True, False, False,
    ]  # fmt: skip


@pytest.mark.skipif(not HEBREW.exists(), reason="needs a font with Hebrew letters")
def test_right_to_left_words_stand_on_the_right_and_are_set_in_reading_order() -> None:
    before = ground(60, 5, 11)
    result = set_text(before, product(), safe=WHOLE, tagline="קפה טוב", badge="חדש", font_path=HEBREW)
    keeps_clear(result, before, product(), WHOLE)
    assert all(box.left + box.width > 0.9 * SIDE for box in result.boxes)
    line, face = np.zeros((80, 400), np.uint8), open_face(HEBREW)
    draw_line(line, "קפה", face, size=48, at=(20.0, 60.0))
    first, end = np.zeros((80, 400), np.uint8), 20 + line_width("קפה", face) * 48
    draw_line(first, "ק", face, size=48, at=(end - line_width("ק", face) * 48, 60.0))
    assert line[first > 200].mean() > 180, "the first letter is the rightmost"


@pytest.mark.skipif(not HEBREW.exists(), reason="needs a font with Hebrew letters")
def test_a_latin_name_at_the_start_of_a_line_is_read_leftward_too() -> None:
    face, line = open_face(HEBREW), "Air קפה!"
    drawn, name, mark = (np.zeros((80, 400), np.uint8) for _ in range(3))
    draw_line(drawn, line, face, size=48, at=(20.0, 60.0), leftward=True)
    end = 20 + line_width(line, face, leftward=True) * 48
    draw_line(name, "Air", face, size=48, at=(end - line_width("Air", face, tracking=0) * 48, 60.0), tracking=0)
    draw_line(mark, "!", face, size=48, at=(20.0, 60.0))
    assert drawn[name > 200].mean() > 180, "the name is rightmost"
    assert drawn[mark > 200].mean() > 180, "the exclamation mark is leftmost"
    assert [reads_leftward(text) for text in ("Air קפה טוב", "קפה Northpine", "Northpine קפה")] == [True, True, False]


@pytest.mark.skipif(not HEBREW.exists(), reason="needs a font with Hebrew letters")
def test_right_to_left_lines_end_on_the_right_even_where_they_stand_on_the_left() -> None:
    before = np.full((SIDE, SIDE, 3), 60, np.uint8)
    before[:, SIDE // 2 :: 2] = 120  # restless on the right
    result = set_text(before, product(), safe=WHOLE, tagline="קפה טוב של בוקר יפה", font_path=HEBREW)
    (box,) = result.boxes
    assert box.left + box.width < 0.6 * SIDE
    inked = inside(np.abs(result.image.astype(int) - before).max(2) > 90, box)
    bands = np.flatnonzero(np.diff(inked.any(1).astype(int), prepend=0, append=0)).reshape(-1, 2)
    lines = [np.flatnonzero(inked[top:bottom].any(0)) for top, bottom in bands if bottom - top > 4]
    assert len(lines) > 1
    assert max(line[-1] for line in lines) - min(line[-1] for line in lines) <= 3
    assert max(line[0] for line in lines) - min(line[0] for line in lines) > 6, "lines of unlike lengths"


def test_a_placement_that_forbids_text_says_so_and_why() -> None:
    check_text_allowed("meta-feed", allows_text=True)
    with pytest.raises(TextError, match=r"google-shopping forbids text .* image_link .* Leave out the tagline"):
        check_text_allowed("google-shopping", allows_text=False)
