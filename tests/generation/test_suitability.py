"""What a scene promises: the department's lift by hand, the grades, a reason for every prop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clickscape.generation import department_fit
from clickscape.generation.department_fit import DepartmentFit
from clickscape.generation.suitability import BREACH, subject_of, suitability
from clickscape.render.language.graded import log_publishable
from clickscape.render.scene import Scene
from clickscape.types import Product

CREAM = Product("cream", "Face Cream", ("Beauty",))


def bath(*props: str, setting: str = "bathroom", light: str = "soft") -> Scene:
    return Scene(setting=setting, light=light, props=props)


def test_the_lift_is_a_ratio_of_shares_shrunk_by_twenty_descriptions_of_the_average() -> None:
    """30 of 40 in one department and 10 of 40 in the other, half of all: (30 + 10) / 60 and (10 + 10) / 60, over ½."""
    scenes = [("A", bath())] * 30 + [("A", Scene())] * 10 + [("B", bath())] * 10 + [("B", Scene())] * 30
    fit = DepartmentFit.of(scenes)
    assert fit.counts["A"]["setting"] == {"bathroom": 30, "studio": 10}
    np.testing.assert_allclose(fit.lift(bath(), "setting"), [math.log(4 / 3), math.log(2 / 3)])
    np.testing.assert_allclose(fit.lift(bath(), "prop"), [0, 0])
    np.testing.assert_allclose(fit.lift(Scene(setting="pool"), "setting"), [0, 0])


def test_a_department_that_nobody_knows_is_told_by_what_the_model_wrote() -> None:
    fit = DepartmentFit.of([("A", bath())] * 50 + [("B", Scene())] * 50)
    np.testing.assert_array_equal(fit.likely([Scene()], department="A"), [1, 0])
    np.testing.assert_allclose(fit.likely([], department="Zork"), [0.5, 0.5])
    told = fit.likely([bath(), bath(), Scene()], department="")
    assert told[0] == pytest.approx(6 / 7), "60 : 10 for each, two against one"


def test_grades_are_shares_of_published_ads() -> None:
    """24 of 51 and 6 pictures of the average 51/116; what nobody graded counts as the average."""
    average = 51 / 116
    assert log_publishable("prop", "none") == pytest.approx(math.log((24 + 6 * average) / 57))
    assert log_publishable("prop", "yarn") == pytest.approx(math.log(average))
    assert log_publishable("prop", "gift") < log_publishable("prop", "yarn") < log_publishable("prop", "none")


def promises(product: Product, *scenes: Scene) -> list[float]:
    fit = department_fit.shipped()
    return suitability(subject_of(product, scenes, fit=fit), scenes, fit=fit).tolist()


def test_no_prop_is_the_default_and_one_with_a_reason_may_beat_it() -> None:
    reason, bare, none = promises(CREAM, bath("candle"), bath(), bath("log"))
    assert reason > bare > none
    bare, none = promises(Product("spanner", "Wrench", ("Tools",)), bath(), bath("candle"))
    assert bare > none, "the same prop, without a reason"


def test_a_place_that_suits_promises_more_and_so_do_a_light_and_a_ground_that_belong_to_it() -> None:
    own, other = promises(CREAM, bath(), bath(setting="workshop"))
    assert own > other + BREACH
    soft, neon = promises(CREAM, bath(), bath(light="neon"))
    grades = log_publishable("light", "soft") - log_publishable("light", "neon")
    assert soft == pytest.approx(neon + BREACH + grades)
    juice = Product("juice", "Juice", ("Drinks",))
    soft, golden = promises(juice, bath(setting="beach"), bath(setting="beach", light="golden hour"))
    assert soft - golden == pytest.approx(log_publishable("light", "soft") - log_publishable("light", "golden hour"))
    oak, pond = promises(juice, *(Scene(setting="kitchen", surface=one, stand="table") for one in ("oak", "water")))
    assert oak == pytest.approx(pond + BREACH + log_publishable("surface", "oak") - log_publishable("surface", "water"))


def test_where_nobody_names_a_department_the_scenes_written_tell_it() -> None:
    fit = department_fit.shipped()
    baths = [bath("eucalyptus")] * 6
    assert subject_of(Product("zork", "Zork"), baths, fit=fit).department == "Beauty"
    assert subject_of(Product("zork", "Zork"), [], fit=fit).department == ""
    assert subject_of(CREAM, [bath(setting="workshop")] * 9, fit=fit).department == "Beauty"


def test_the_shipped_counts_tell_departments_apart() -> None:
    fit = department_fit.shipped()
    assert len(fit.counts) == 16
    for product, place in (("Beauty", "bathroom"), ("Tools", "workshop"), ("Home", "living room"), ("Food", "kitchen")):
        lift = dict(zip(fit.counts, fit.lift(Scene(setting=place), "setting"), strict=True))
        assert lift[product] > 0.5
