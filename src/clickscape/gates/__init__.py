"""Gates: checks that a description and an image must pass before they are served, such as `fidelity.check`."""

from __future__ import annotations

from clickscape.gates.result import Failure, GateResult

__all__ = ["Failure", "GateResult"]
