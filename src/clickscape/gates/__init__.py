"""Gates: what a picture must be before anybody sees it. `fidelity.check` asks whether it shows the product as it is."""

from __future__ import annotations

from clickscape.gates.result import Failure, GateResult

__all__ = ["Failure", "GateResult"]
