"""Settings that 0.1 called otherwise: "section.old_key" → "section.new_key", read with a warning for one release."""

from __future__ import annotations

RENAMED = {
    "watch.share": "monitor.share",
    "watch.products": "monitor.products",
    "watch.descriptions": "monitor.descriptions",
    "watch.confidence": "monitor.confidence",
    "watch.diversity": "monitor.diversity",
    "watch.without_judge": "monitor.without_judge",
    "watch.seed": "monitor.seed",
}
