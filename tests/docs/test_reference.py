"""The generated reference leaves nothing out."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_reference.py"


def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_reference", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_setting_says_what_it_means() -> None:
    page = reference()
    silent = [
        f"{section}.{name}"
        for section, model in page.sections(page.Settings)
        for name, field in model.model_fields.items()
        if not page._is_model(field.annotation) and not field.description
    ]
    assert not silent
    assert "| `products_per_round` |" in page.settings_page()


def test_every_command_is_on_the_page() -> None:
    page = reference().commands_page()
    assert all(f"## clickscape {name}\n" in page for name in ("demo", "generate", "optimize", "export"))
