"""Arms that are run together: what they share, and that sharing it changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.factory import copy_of
from tests.stages.conftest import SMALL_OPTIMIZE

from clickscape.stages.progress import Progress, run
from clickscape.stages.variants import train_variants
from clickscape.workspace import Workspace

ONE_ROUND = SMALL_OPTIMIZE.model_copy(update={"rounds": 1, "candidates": 4})  # one of them by search
CONFIGS = {
    "centric": ONE_ROUND,
    "preference": ONE_ROUND.model_copy(update={"objective": "preference_only"}),
}


@pytest.mark.slow
def test_one_worker_samples_the_first_round_once_for_all_variants(shop: Workspace, tmp_path: Path) -> None:
    together, apart = (copy_of(shop, tmp_path / name) for name in ("together", "apart"))
    told: list[Progress] = []
    run(train_variants(together, CONFIGS, workers=1), on_progress=told.append)
    for workers, (name, config) in enumerate(CONFIGS.items(), start=1):  # two: the variant has a process of its own
        run(train_variants(apart, {name: config}, workers=workers))
    assert [one.note for one in told if "sampling" in one.note] == ["round 1: sampling and scoring for all"]
    shared, alone = (
        {
            name: (next(one.runs_folder.glob(f"*-variants*/{name}/round-1/candidates.jsonl")).read_bytes())
            for name in CONFIGS
        }
        for one in (together, apart)
    )
    assert shared == alone
    assert shared["centric"] == shared["preference"]
    assert b'"searched": true' in shared["centric"]
    for name in CONFIGS:
        weights = [(one.models / name / "model.safetensors").read_bytes() for one in (together, apart)]
        assert weights[0] == weights[1], name
