"""The placements are data that somebody read somewhere: complete, dated, drawable, found by name or glob."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from clickscape.errors import ConfigError
from clickscape.render import placements
from clickscape.render.renderer import Margins


def test_every_placement_is_named_once_and_says_where_it_comes_from() -> None:
    known = placements.load()
    assert len({one.name for one in known}) == len(known) > 35
    for one in known:
        assert len(one.source) > 20
        assert date(2026, 1, 1) <= one.checked
        assert one.name == one.name.lower()
        if "x" in one.name.rpartition("-")[2] and one.channel == "google":
            assert one.name.endswith(f"{one.width}x{one.height}")


@pytest.mark.parametrize(
    ("name", "size", "max_bytes", "allows_text"),
    [
        ("google-pmax-landscape", (1200, 628), 5_242_880, True),
        ("google-pmax-square", (1200, 1200), 5_242_880, True),
        ("google-pmax-portrait", (960, 1200), 5_242_880, True),
        ("google-display-300x250", (300, 250), 150_000, True),
        ("google-display-320x50", (320, 50), 150_000, True),
        ("google-image-link", (1500, 1500), 16_000_000, False),
        ("meta-feed", (1440, 1800), 30_000_000, True),
        ("meta-reels", (1440, 2560), 30_000_000, True),
        ("amazon-sponsored-brands", (1200, 628), 5_000_000, False),
    ],
)
def test_sizes_and_limits_are_those_that_the_platforms_publish(
    name: str, size: tuple[int, int], max_bytes: int, allows_text: bool
) -> None:
    (found,) = placements.find(name)
    assert (found.size, found.max_bytes, found.allows_text) == (size, max_bytes, allows_text)


def test_placements_have_the_ratio_and_the_safe_zone_of_their_pages() -> None:
    by_name = {one.name: one for one in placements.load()}
    for name, ratio in {"1x1": 1, "4x5": 0.8, "9x16": 9 / 16, "1.91x1": 1.91}.items():
        assert by_name[name].width / by_name[name].height == pytest.approx(ratio, rel=0.002)
    assert by_name["meta-reels"].margins == Margins(0.14, 0.06, 0.35, 0.06)
    assert by_name["meta-stories"].margins.bottom == 0.20
    assert by_name["google-pmax-square"].margins.inside((1200, 1200)) == (120, 120, 1080, 1080)


def test_images_for_google_listings_allow_no_text() -> None:
    listed = [one for one in placements.load() if one.channel == "google" and one.feed_column]
    assert {one.feed_column for one in listed} == {"image_link", "additional_image_link", "lifestyle_image_link"}
    assert not any(one.allows_text for one in listed)
    assert "webp" not in next(one for one in listed if one.feed_column == "lifestyle_image_link").formats


def test_globs_find_each_once_in_the_order_of_the_file() -> None:
    found = placements.find("google-display-3*", "GOOGLE-DISPLAY-320x50", "meta-feed")
    names = [one.name for one in found]
    assert names == sorted(set(names), key=[one.name for one in placements.load()].index)
    assert {"google-display-300x250", "google-display-320x50", "google-display-336x280", "meta-feed"} <= set(names)
    assert placements.find("*") == placements.load()
    assert placements.find() == ()


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no placement fits 'meta-fed'; the nearest are meta-feed"):
        placements.find("meta-feed", "meta-fed")


def test_a_placement_that_cannot_be_drawn_or_written_is_refused() -> None:
    right = placements.load()[0]
    for wrong in ({"width": 8}, {"height": 5000}, {"max_bytes": 0}, {"formats": ()}, {"formats": ("gif",)},
                  {"channel": "print"}, {"source": " "}):  # fmt: skip
        with pytest.raises(ValueError, match=right.name):
            replace(right, **wrong)
