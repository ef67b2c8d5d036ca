"""Preference optimization: from sampled descriptions and a reward model to a better prompt model.

    pipeline = clickscape.generation.AdPipeline(renderer, reward)
    for event in clickscape.preference.optimize(writer, pipeline, products, folder=folder, config=config):
        log(event)
    writer = clickscape.preference.open_policy(folder)

The verbs load torch when they are used, so that `import clickscape.preference` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import Any

_VERBS = {"open_policy": "rounds", "optimize": "rounds", "pcpo_loss": "loss"}


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return getattr(importlib.import_module(f"clickscape.preference.{_VERBS[name]}"), name)
    raise AttributeError(f"clickscape.preference has no attribute {name!r}; verbs: {', '.join(_VERBS)}")
