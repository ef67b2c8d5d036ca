"""Write docs/reference/ from the code: every setting, every command, renamed settings and every public module.

`mkdocs build` runs this (`site_hooks.py`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from clickscape.cli.terminal import app
from clickscape.config.renamed import REMOVED, RENAMED, VALUES
from clickscape.config.settings import Settings

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "reference"


def settings_page() -> str:
    """Return a Markdown page with one table per section of clickscape.toml."""
    lines = ["# Settings", "", "Look up every key of `clickscape.toml`, its type, its default and its meaning.", ""]
    for section, model in sections(Settings):
        lines += [f"## [{section}]", "", '<div class="stacked" markdown>', ""]
        lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
        for name, field in model.model_fields.items():
            if not _is_model(field.annotation):
                lines.append(f"| `{name}` | {_type(field)} | {_default(field)} | {_cell(field.description or '')} |")
        lines += ["", "</div>", ""]
    return "\n".join(lines)


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield (dotted name, model) for every section of the settings, nested ones after their parent."""
    for name, field in model.model_fields.items():
        if _is_model(field.annotation):
            yield prefix + name, field.annotation
            yield from sections(field.annotation, f"{prefix}{name}.")


def commands_page() -> str:
    """Return a Markdown page with every command, its arguments and its options."""
    lines = ["# Commands", "", "Look up every command, its arguments and its options.", ""]
    for name, command in commands(typer.main.get_command(app), "clickscape"):
        lines += [f"## {name}", "", (command.help or "").strip().replace("\b", ""), ""]
        rows = []
        for parameter in command.params:
            names = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
            rows.append(f"| {names} | {_cell(getattr(parameter, 'help', None) or '')} |")
        if rows:
            lines += ["| argument or option | meaning |", "| --- | --- |", *rows, ""]
    return "\n".join(lines)


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield (full name, command) for everything that can be typed."""
    children = getattr(command, "commands", {})
    if not children or getattr(command, "invoke_without_command", False):
        yield name, command
    for child, inner in children.items():
        yield from commands(inner, f"{name} {child}")


def renamed_page() -> str:
    """Return a Markdown page that says how settings of 0.1 are read."""
    lines = ["# Settings and checkpoints from 0.1", ""]
    lines += [
        "Move a `clickscape.toml` of 0.1 to new names. For one release, old names are read with a warning.",
        "",
    ]
    lines += ["| old key | new key |", "| --- | --- |", *(f"| `{old}` | `{new}` |" for old, new in RENAMED.items()), ""]
    lines += ["| key | old value | new value |", "| --- | --- | --- |"]
    lines += [f"| `{key}` | `{old}` | `{new}` |" for key, pairs in VALUES.items() for old, new in pairs.items()]
    lines += ["", "These keys are gone; their values are ignored with a warning.", "", "| key | why |", "| --- | --- |"]
    lines += [f"| `{key}` | {_cell(why)} |" for key, why in REMOVED.items()]
    lines += ["", "Checkpoints of 0.1 are read for one release, too; saving one writes the new form.", ""]
    return "\n".join(lines)


def python_page() -> str:
    """Return a Markdown page that lists every module with public functions or classes, for mkdocstrings to fill."""
    lines = ["# Python", "", "Look up every public function and class.", ""]
    for path in sorted((ROOT / "src" / "clickscape").rglob("*.py")):
        parts = path.relative_to(ROOT / "src").with_suffix("").parts
        if parts[-1] != "__main__" and not any(p.startswith("_") and p != "__init__" for p in parts) and _public(path):
            lines += [f"::: {'.'.join(p for p in parts if p != '__init__')}", ""]
    return "\n".join(lines)


def _public(path: Path) -> bool:
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    kinds = (ast.FunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) and not node.name.startswith("_") for node in nodes)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _type(field: Any) -> str:
    text = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
    return f"`{text.replace('typing.', '')}`".replace("|", "\\|")


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    return "required" if value is PydanticUndefined else f"`{_cell(repr(value))}`"


def _cell(text: str) -> str:
    words = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return re.sub(r"(?<!\$)\{ [^}]* \}", r"`\g<0>`", words)


def security_page() -> str:
    """Return SECURITY.md, which lies where hosts of repositories look for it."""
    return (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def write(folder: Path) -> None:
    """Write the five pages into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "settings": settings_page,
        "commands": commands_page,
        "renamed": renamed_page,
        "python": python_page,
        "security": security_page,
    }
    for name, page in pages.items():
        (folder / f"{name}.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write(TARGET)
    print(f"made {TARGET}")
