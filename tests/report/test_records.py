from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from clickscape.errors import WorkspaceError
from clickscape.report import records as reports
from clickscape.types import Estimate

Whole = Callable[..., reports.Report]


def around(value: float, half: float = 0.03) -> Estimate:
    return Estimate(value, value - half, value + half)


def test_truth_in_a_report_of_real_clicks_is_refused(whole_report: Whole) -> None:
    values = whole_report().model_dump() | {"simulated": False, "world": None}
    with pytest.raises(ValidationError, match=r"knows no true CTR.*gallery.*comparison.*accuracy.*learning.*clicks"):
        reports.Report.model_validate(values)
    with pytest.raises(ValidationError, match="names its world"):
        reports.Report(title="x", simulated=True)


def test_unknown_numbers_are_none_not_nan() -> None:
    with pytest.raises(ValidationError, match="finite"):
        reports.ComparisonRow(name="x", role="search", win_rate=Estimate(float("nan"), 0.1, 0.2))
    with pytest.raises(ValidationError):
        reports.TrainingStep(number=1, round=1, loss=float("nan"))


def test_normalized_accuracy_is_given_or_follows_from_accuracy_and_ceiling() -> None:
    accuracy = reports.RewardAccuracy(observed=Estimate(0.74, 0.7, 0.78), ceiling=around(0.9), pairs=1, products=1)
    normalized = accuracy.normalized_accuracy
    assert normalized is not None
    assert (normalized.value, normalized.low, normalized.high) == pytest.approx(
        (0.6, 0.5, 0.7)
    )  # .24/.4, .2/.4, .28/.4
    given = accuracy.model_copy(update={"normalized": around(0.55)})
    assert given.normalized_accuracy == around(0.55)
    assert accuracy.model_copy(update={"ceiling": around(0.5)}).normalized_accuracy is None


@pytest.mark.parametrize("content", [b'{"title": "x"}', b"{", b"\xff\xfe"])
def test_a_damaged_record_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(WorkspaceError, match="no report here"):
        reports.load(path)
    path.write_bytes(content)
    with pytest.raises(WorkspaceError, match=re.escape(str(path))):
        reports.load(path)
