"""Drawing until it passes: the first that does, the reasons of those that did not, and no try too many."""

from __future__ import annotations

import pytest

from clickscape.gates import Failure, GateResult, Passed, Rejected, until_pass

LATE = Failure("floating", 0.0, 0.01, "draw again")


def judge(drawn: int) -> GateResult:
    """Only 20 is right."""
    return GateResult(() if drawn == 20 else (LATE,))


def test_the_first_that_passes_ends_it() -> None:
    asked: list[int] = []

    def draw(attempt: int) -> int:
        asked.append(attempt)
        return 10 * attempt

    outcome = until_pass(draw, judge, tries=9)
    assert outcome == Passed(20, 2, (Rejected(0, (LATE,)), Rejected(1, (LATE,))))
    assert asked == [0, 1, 2]


def test_after_the_last_try_come_the_reasons() -> None:
    assert until_pass(lambda attempt: attempt, judge, tries=2) == (Rejected(0, (LATE,)), Rejected(1, (LATE,)))
    with pytest.raises(ValueError, match="at least one try"):
        until_pass(lambda attempt: attempt, judge, tries=0)


def test_a_verdict_says_what_and_why() -> None:
    assert GateResult().passed
    assert not judge(3).passed
    assert judge(3).kinds == ("floating",)
    assert str(LATE) == "floating: measured 0, limit 0.01. draw again"
