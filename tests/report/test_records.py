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


def test_truth_in_a_report_of_real_clicks_is_refused(whole_report: Whole) -> None:
    values = whole_report().model_dump() | {"simulated": False, "world": None}
    with pytest.raises(ValidationError, match=r"knows no true CTR.*gallery.*comparison.*accuracy.*clicks"):
        reports.Report.model_validate(values)
    with pytest.raises(ValidationError, match="names its world"):
        reports.Report(title="x", simulated=True)


def test_unknown_numbers_are_none_not_nan() -> None:
    with pytest.raises(ValidationError, match="finite"):
        reports.ComparisonRow(name="x", role="search", win_rate=Estimate(float("nan"), 0.1, 0.2))
    with pytest.raises(ValidationError):
        reports.TrainingStep(number=1, round=1, loss=float("nan"))


@pytest.mark.parametrize("content", [b'{"title": "x"}', b"{", b"\xff\xfe"])
def test_a_damaged_record_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(WorkspaceError, match="no report here"):
        reports.load(path)
    path.write_bytes(content)
    with pytest.raises(WorkspaceError, match=re.escape(str(path))):
        reports.load(path)
