"""The application starts in moments: it imports no model."""

from __future__ import annotations

import subprocess
import sys


def test_the_service_answers_without_importing_a_model() -> None:
    code = (
        "import sys, clickscape.service.app; print([m for m in ('torch', 'transformers', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
