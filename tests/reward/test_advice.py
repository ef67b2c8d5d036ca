"""Advice names what surely earns or costs clicks, and an ad of the department whose scene has the most of it."""

from __future__ import annotations

from clickscape.reward.explain.advice import advise
from clickscape.reward.explain.elements import Credit, ElementReport
from clickscape.types import Estimate


def credit(department: str | None, slot: str, element: str, percent: float, half: float = 3) -> Credit:
    return Credit(department, slot, element, Estimate(percent, percent - half, percent + half), 1_000, 10)


def report(*found: Credit) -> ElementReport:
    return ElementReport(found, {}, {}, 0.1, used=10, left_out=0)


def test_the_strongest_sure_element_of_each_slot_is_named_and_what_may_be_chance_is_not() -> None:
    found, unknown = advise(
        report(
            credit("Beauty", "setting", "bathroom", 20),
            credit("Beauty", "setting", "studio", 10),
            credit("Beauty", "light", "soft", 2),
            credit("Beauty", "light", "neon", -12),
            credit("Beauty", "prop", "eucalyptus", 30),
            credit(None, "stand", "podium", 50),
        ),
        scenes={"one": {"setting": "bathroom"}},
        departments={"one": "Beauty"},
    )
    assert [(one.slot, one.element) for one in found[0].earns] == [("prop", "eucalyptus"), ("setting", "bathroom")]
    assert [one.element for one in found[0].costs] == ["neon"]
    assert not unknown


def test_the_example_is_of_the_department_and_adds_up_highest() -> None:
    scenes = {
        "far": {"setting": "bathroom", "prop": "eucalyptus"},  # of another department
        "neon": {"setting": "bathroom", "light": "neon"},  # 1.2 × 0.88
        "plain": {"setting": "bathroom", "light": None},  # 1.2
    }
    found, _ = advise(
        report(
            credit("Beauty", "setting", "bathroom", 20),
            credit("Beauty", "prop", "eucalyptus", 30),
            credit("Beauty", "light", "neon", -12),
        ),
        scenes=scenes,
        departments={"far": "Tools", "neon": "Beauty", "plain": "Beauty"},
    )
    assert found[0].creative_id == "plain"


def test_a_department_without_a_sure_element_is_said_to_be_unknown() -> None:
    found, unknown = advise(
        report(credit("Tools", "setting", "loft", 2)), scenes={"a": {"setting": "loft"}}, departments={"a": "Tools"}
    )
    assert not found
    assert unknown == ["Tools"]
