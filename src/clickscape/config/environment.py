"""The environment variables that settings may read: a clickscape.toml travels with its workspace, secrets stay home.

A setting that names a variable could send its value to the host that the same file names. So the user lists the
variables that settings may read in CLICKSCAPE_ALLOWED_ENV, which no file can set.
"""

from __future__ import annotations

import os

from clickscape.errors import ConfigError

ALLOWED = "CLICKSCAPE_ALLOWED_ENV"
API_KEY = "CLICKSCAPE_API_KEY"
"""The key for servers of models: clickscape's own variable, which needs no listing."""


def allowed() -> dict[str, str]:
    """Return the variables that settings may read, name → value: those listed (by commas or spaces) that are set."""
    listed = os.environ.get(ALLOWED, "").replace(",", " ").split()
    return {name: os.environ[name] for name in (API_KEY, *listed) if name in os.environ}


def check_allowed(name: str, *, setting: str) -> None:
    """Raise a ConfigError for a variable that is set and not listed; `setting` is where it was named."""
    if name in os.environ and name not in allowed():
        raise ConfigError(f"{setting}: the environment variable {name} is not listed, so its value is not read. If it "
                          f"is meant for the server that the settings name: export {ALLOWED}={name}")  # fmt: skip
