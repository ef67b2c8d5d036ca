"""From a product to its ads: sample descriptions, render and score them, select, render again until one passes.

    pipeline = clickscape.generation.AdPipeline(renderer, reward)
    for some in clickscape.generation.sample_candidates(writer, products, pipeline=pipeline, …):
        best = [max(each, key=lambda one: (one.eligible, one.score)) for each in some]

`optimize`, `generate`, `export`, `refresh` and `compare` share this room.  Its verbs load when they are used, so that
`import clickscape.generation` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import Any

_VERBS = {
    "AdPipeline": "pipeline",
    "render_and_score": "score",
    "sample_candidates": "sample",
    "score_candidates": "sample",
}


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return getattr(importlib.import_module(f"clickscape.generation.{_VERBS[name]}"), name)
    raise AttributeError(f"clickscape.generation has no attribute {name!r}; verbs: {', '.join(_VERBS)}")
