from __future__ import annotations

from clickscape.gates import Failure, GateResult


def test_a_result_says_what_failed_and_why() -> None:
    failure = Failure("floating", 0.0, 0.01, "draw again")
    assert GateResult().passed
    assert not GateResult((failure,)).passed
    assert GateResult((failure,)).kinds == ("floating",)
    assert str(failure) == "floating: measured 0, limit 0.01. draw again"
