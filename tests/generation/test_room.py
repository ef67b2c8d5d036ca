from __future__ import annotations

import subprocess
import sys

import pytest

import clickscape


def test_the_room_is_cheap_to_enter_and_its_verbs_are_there() -> None:
    code = "import sys, clickscape.generation; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    for verb in ("AdPipeline", "best_of_n", "render_and_score", "sample_candidates", "score_candidates"):
        assert callable(getattr(clickscape.generation, verb))
    with pytest.raises(AttributeError, match="no attribute 'oops'; verbs: AdPipeline, best_of_n"):
        _ = clickscape.generation.oops
