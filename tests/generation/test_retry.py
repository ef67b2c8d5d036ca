"""Rendering again until the fidelity gate passes: limits, seeds and what is noted."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest

from clickscape.catalog import sample
from clickscape.config import FidelityConfig
from clickscape.gates.fidelity import Limits
from clickscape.generation import retry
from clickscape.render.renderer import Margins, Rendering
from clickscape.render.scene import Scene
from clickscape.render.staging import STANDING, Staging
from clickscape.render.studio.engine import StudioRenderer

SCENE = Scene("studio", "oak", "soft", "table", "mint")


@pytest.fixture(scope="module")
def mug() -> Callable[[int], Rendering]:
    """Draws a mug with a seed."""
    cutout, studio = sample.cutout("coffee_mug-navy", 160), StudioRenderer()
    return lambda seed: studio.compose(cutout, SCENE, size=(192, 192), seed=seed)


def test_the_limits_of_the_settings_are_those_of_the_gate() -> None:
    assert retry.fidelity_limits(FidelityConfig(), source="trainedAlgorithmicMedia") == Limits()
    other = FidelityConfig(
        edge=5, seam=2, extension=0.2, contact_shadow=0, extent=0.4, room=0.03, blending=0.5, clutter=3
    )
    assert retry.fidelity_limits(other, source="trainedAlgorithmicMedia") == Limits(
        5, 2, 0.2, 0, 0.4, (0.03,) * 4, 0.5, 3
    )
    assert retry.fidelity_limits(other, source="compositeSynthetic") == Limits(
        5, 2, math.inf, 0, 0.4, (0.03,) * 4, 0.5, 3
    )


def test_a_placement_may_ask_for_more_room_and_never_for_less() -> None:
    zone = Margins(top=0.14, right=0.0, bottom=0.2, left=0.02)
    limits = retry.fidelity_limits(FidelityConfig(room=0.03), source="compositeSynthetic", margins=zone)
    assert limits.safe_zone == (0.03, 0.14, 0.03, 0.2), "left, top, right, bottom"


@pytest.mark.slow
def test_the_first_picture_that_passes_is_taken_with_its_own_seed(mug: Callable[[int], Rendering]) -> None:
    """The first seed gives a picture with one wrong product pixel, as a renderer that touches the product would."""
    seeds = retry.retry_seeds("mug", first=7, tries=3)

    def draw(seed: int) -> Rendering:
        drawn = mug(seed)
        if seed == seeds[0]:
            row, column = (int(places[0]) for places in (drawn.product_mask == 255).nonzero())
            drawn.image[row, column] ^= 1
        return drawn

    limits = retry.fidelity_limits(FidelityConfig(), source="compositeSynthetic")
    found = retry.render_until_pass(draw, seeds=seeds, limits=limits)
    assert found.rendering is not None
    assert (found.seed, found.gate.passed) == (seeds[1], True)
    (rejected,) = found.gate.rejected
    assert (rejected.seed, [one.kind for one in rejected.failures]) == (7, ["altered"])


@pytest.mark.slow
def test_an_image_that_never_passes_says_why(mug: Callable[[int], Rendering]) -> None:
    limits = retry.fidelity_limits(FidelityConfig(extent=1.0), source="compositeSynthetic")
    found = retry.render_until_pass(mug, seeds=[3, 4], limits=limits)
    assert (found.rendering, found.seed, found.gate.passed) == (None, 3, False)
    noted = json.loads(json.dumps(asdict(found.gate)))
    assert [one["seed"] for one in noted["rejected"]] == [3, 4]
    said = retry.refusal_reason(found.gate)
    assert said.startswith("the product is too small in the picture")
    assert "Give a photo in which it is larger" in said
    assert re.search(r"\(too_small: 0\.\d+, at least 1\); 2 pictures were tried$", said)


@pytest.mark.slow
def test_what_hangs_needs_no_shadow_below_and_what_stands_does() -> None:
    """A mug that hangs far before a wall: nothing is dark below it, and nobody who hangs it expects that."""
    cutout, studio = sample.cutout("coffee_mug-navy", 160), StudioRenderer()
    scene, hung = Scene("studio", "white marble", "soft", "floor", "charcoal"), Staging("hangs")
    drawn = studio.compose(cutout, scene, size=(256, 256), seed=1, staging=hung)
    limits = retry.fidelity_limits(FidelityConfig(), source="compositeSynthetic")
    for staging, floats in ((hung, False), (STANDING, True)):
        shown = replace(drawn, staging=staging)
        gate = retry.render_until_pass(lambda _, shown=shown: shown, seeds=[1], limits=limits).gate  # type: ignore[misc]
        assert ("floating" in {one.kind for attempt in gate.rejected for one in attempt.failures}) == floats


def test_seeds_are_the_same_for_the_same_names_and_differ_for_others() -> None:
    one = retry.retry_seeds("A 1", "meta-feed", first=5, tries=4)
    assert one == retry.retry_seeds("A 1", "meta-feed", first=5, tries=4)
    assert one[0] == 5
    assert len({*one, *retry.retry_seeds("A 1", "meta-reels", first=5, tries=4)}) == 7
    assert retry.retry_seeds("A 1", first=5, tries=1) == [5]
