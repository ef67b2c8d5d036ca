"""Settings that 0.1 called otherwise or had besides: read for one release with a warning, never silently.

`translate` is pure: a parsed clickscape.toml in, the same file in today's words out, and one line per change.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clickscape.errors import ConfigError

RENAMED: Mapping[str, str] = {
    "watch": "monitor",
    "fidelity.grounding": "fidelity.contact_shadow",
    "generate.writer": "generate.model",
    "generate.writer_model": "generate.server_model",
    "optimize.start": "optimize.model",
}
"""Old section or "section.key" → the new one; a section stands for all of its keys."""

VALUES: Mapping[str, Mapping[str, str]] = {
    "clicks.labels": {"gap_weighted": "soft"},
    "reward.scene": {"seen": "predicted", "told": "given"},
    "reward.form": {"single": "effects", "pair": "two_branch"},
    "reward.judge": {"scene": "neighbors", "single": "effects", "pair": "two_branch"},
}
"""New "section.key" → old value → new value."""

_CONSTANT = "its default is the only value that was ever used"

_SHIPPED = "it shaped the shipped model alone, whose script has it now"

REMOVED: Mapping[str, str] = {
    "pretrain.tower_label_smoothing": _CONSTANT,
    "pretrain.tower_wide_share": _CONSTANT,
    "pretrain.text_plain_share": _CONSTANT,
    "pretrain.joint_share": _CONSTANT,
    "pretrain.ads": _SHIPPED,
    "pretrain.tower_steps": _SHIPPED,
    "pretrain.tower_learning_rate": _SHIPPED,
    "pretrain.tower_batch_size": _SHIPPED,
    "pretrain.text_steps": _SHIPPED,
    "diffusion.control_end": _CONSTANT,
    "diffusion.edge_low": _CONSTANT,
    "diffusion.edge_high": _CONSTANT,
    "clicks.full_gap": "pairs weighted by their gap made the reward model no better",
    "clicks.stable_order": "it made the reward model no better",
    "reward.bucket_epochs": "it made the reward model no better",
    "reward.regression_target": "the squared error of a raw CTR is about 1e-4, as good as no target",
    "reward.slot_weight": "a probe of its own names slots",
    "reward.worths": "effects are fitted to counts wherever the log has them",
}
"""Old "section.key" → why it is gone; the value is ignored."""


def translate(tables: Mapping[str, Any], *, path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the tables of a settings file with today's keys and values, and one line for the user per change.

    ConfigError when a file gives both the old and the new name of a setting.
    """
    result: dict[str, Any] = {}
    given: dict[str, str] = {}  # new name → the name that the file gave it
    notes = []
    for section, keys in tables.items():
        if not isinstance(keys, Mapping):
            result[section] = keys
            continue
        result.setdefault(RENAMED.get(section, section), {})
        for key, value in keys.items():
            old = f"{section}.{key}"
            if old in REMOVED:
                notes.append(f"{path}: {old} is ignored, for the setting is gone: {REMOVED[old]}. Delete the line.")
                continue
            new = RENAMED.get(old, f"{RENAMED.get(section, section)}.{key}")
            if new in given:
                former = old if new != old else given[new]
                raise ConfigError(f"{path}: {former} is the old name of {new}, and both are given. Delete {former}.")
            given[new] = old
            if new != old:
                notes.append(f"{path}: {old} is now called {new}. The next release reads only the new name.")
            today = VALUES.get(new, {}).get(value) if isinstance(value, str) else None
            if today is not None:
                notes.append(f'{path}: {new} = "{value}" is now "{today}". The next release reads only the new value.')
            new_section, _, new_key = new.partition(".")
            result.setdefault(new_section, {})[new_key] = value if today is None else today
    return result, notes
