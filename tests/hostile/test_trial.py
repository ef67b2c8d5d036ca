"""A trial calls a traceback a traceback: the verdicts on which the campaign's figures rest."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.hostile.trial import Case, Outcome, in_child, run_trial


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "trial/work"
    folder.mkdir(parents=True)
    return folder


def test_one_line_and_exit_code_2_is_a_refusal(work: Path) -> None:
    (work / "shop").write_text("a file", encoding="utf-8")
    outcome = run_trial(Case(["new", "shop"]), folder=work)
    assert outcome.kind == "refused"
    assert "shop is a file" in outcome.detail


def test_refusing_what_has_one_clear_meaning_is_wrong(work: Path) -> None:
    (work / "shop").write_text("a file", encoding="utf-8")
    assert run_trial(Case(["new", "shop"], may_refuse=False), folder=work).kind == "wrong"


def test_exit_code_0_with_another_result_is_wrong(work: Path) -> None:
    assert run_trial(Case(["new", "shop"]), folder=work) == Outcome("worked")
    assert run_trial(Case(["new", "other"], wrong=lambda: "3 products"), folder=work) == Outcome("wrong", "3 products")


def test_a_file_changed_outside_is_wrong(work: Path) -> None:
    outcome = run_trial(Case(["new", "../outside"]), folder=work)
    assert outcome.kind == "wrong"
    assert "clickscape.toml" in outcome.detail


def test_an_exception_is_a_traceback(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("oops")

    monkeypatch.setattr("clickscape.workspace.Workspace.create", broken)
    assert run_trial(Case(["new", "shop"]), folder=work).kind == "traceback"


@pytest.mark.slow
def test_a_child_that_waits_for_ever_or_computes_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.hostile.trial.WALL_SECONDS", 0.2)
    assert in_child(lambda: time.sleep(60) or 0) is None
    monkeypatch.setattr("tests.hostile.trial.WALL_SECONDS", 60)
    monkeypatch.setattr("tests.hostile.trial.CPU_SECONDS", 1)
    started = os.times().elapsed

    def compute() -> int:
        while True:
            pass

    assert in_child(compute) is None
    assert os.times().elapsed - started < 60
