"""Gates: what a picture must be before anybody sees it. `fidelity.judge` asks whether it shows the product as it is."""

from __future__ import annotations

from clickscape.gates.retry import Passed, Rejected, until_pass
from clickscape.gates.verdict import Failure, Verdict

__all__ = ["Failure", "Passed", "Rejected", "Verdict", "until_pass"]
