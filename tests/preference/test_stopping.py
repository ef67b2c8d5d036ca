"""The limits at which an optimization ends, just below and just above each."""

from __future__ import annotations

from pathlib import Path

import pytest

from clickscape.errors import PreferenceError
from clickscape.preference.monitor import _lost_diversity
from clickscape.preference.records import RoundReport
from clickscape.preference.rounds import _reason, open_policy


@pytest.mark.parametrize(("share", "ends"), [(0.29, True), (0.3, False), (0.31, False)])
def test_diversity_below_its_floor_ends_the_run(share: float, ends: bool) -> None:
    assert bool(_lost_diversity({"distinct scenes": 0.9, "scene entropy": share}, floor=0.3)) is ends


@pytest.mark.parametrize(("kl", "budget", "ends"), [(1.01, 1.0, True), (1.0, 1.0, False), (99.0, 0.0, False)])
def test_a_kl_over_its_budget_ends_the_run(kl: float, budget: float, ends: bool) -> None:
    report = RoundReport(
        round=1, products=2, candidates=4, pairs=2, parse_rate=1.0, distinct_scenes=2, reward=0.0, margin=None,
        kl=0.0, kl_error=0.1, steps=3, kl_after=kl, kl_after_error=0.1,
    )  # fmt: skip
    assert (_reason(report, kl_budget=budget) is not None) is ends


def test_a_folder_of_another_release_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"version": 1, "config": {"anchor": "sft_margin"}}')
    with pytest.raises(PreferenceError, match="written by another release"):
        open_policy(tmp_path)
