from __future__ import annotations

import subprocess
import sys

import pytest

import clickscape


def test_the_room_is_cheap_to_enter_and_its_verbs_are_there() -> None:
    code = "import sys, clickscape.preference; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    for verb in ("open_policy", "optimize", "pcpo_loss"):
        assert callable(getattr(clickscape.preference, verb))
    with pytest.raises(AttributeError, match="no attribute 'oops'; verbs: open_policy"):
        _ = clickscape.preference.oops
