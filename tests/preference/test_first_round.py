"""The first round is shared by variants that would sample the same, and by no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from clickscape.config import OptimizeConfig, Settings
from clickscape.errors import ModelError
from clickscape.preference.first_round import sample_first_round


@pytest.mark.parametrize("other", [{"renderer": "diffusion"}, {"seed": 2}, {"candidates": 3}, {"searched_share": 0.0}])
def test_variants_that_would_sample_differently_share_nothing(tmp_path: Path, other: dict[str, object]) -> None:
    """There is no model to sample from: who tries fails."""
    folders = {name: tmp_path / name for name in "ab"}
    writers = dict.fromkeys("ab", tmp_path / "gone")

    def share(second: OptimizeConfig) -> None:
        configs = {"a": OptimizeConfig(objective="preference_only"), "b": second}
        sample_first_round(folders, configs, writers, tmp_path / "gone", [], settings=Settings(), workers=1)

    share(OptimizeConfig.model_validate(other))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ModelError):
        share(OptimizeConfig())
