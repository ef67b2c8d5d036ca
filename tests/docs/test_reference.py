"""The generated reference leaves nothing out, and no page speaks of a command that there is not."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

from clickscape.cli.terminal import app

ROOT = Path(__file__).parents[2]
COMMANDS = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
COMMANDS |= {str(group.name) for group in app.registered_groups}
"""Everything that can follow `clickscape` on the command line, as the app registers it."""


def test_every_setting_says_what_it_means(reference: ModuleType) -> None:
    silent = [
        f"{section}.{name}"
        for section, model in reference.sections(reference.Settings)
        for name, field in model.model_fields.items()
        if not reference._is_model(field.annotation) and not field.description
    ]
    assert not silent
    assert "| `products_per_round` |" in reference.settings_page()


def test_every_command_is_on_the_page(reference: ModuleType) -> None:
    page = reference.commands_page()
    groups = {str(group.name): group.typer_instance for group in app.registered_groups if group.typer_instance}
    inner = {f"{name} {one.name}" for name, group in groups.items() for one in group.registered_commands}
    assert len(COMMANDS) > 15
    assert inner > {"reward train", "reward evaluate", "experiment start", "experiment assign"}
    written = set(re.findall(r"^## clickscape (.+)$", page, flags=re.M))
    assert written == (COMMANDS - groups.keys()) | inner


def test_people_find_every_command_in_a_written_page_and_no_other() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages if page.parent.name != "reference")
    blocks = "".join(re.findall(r"^```\w*\n(.*?)^```", text, flags=re.M | re.S))
    typed = set(re.findall(r"^clickscape ([a-z]+)", blocks, flags=re.M)) | set(
        re.findall(r"`clickscape ([a-z]+)", text)
    )
    assert typed - COMMANDS == set()
    assert COMMANDS - typed == set()


def test_the_security_page_is_on_the_site_and_speaks_of_every_input(reference: ModuleType) -> None:
    page = reference.security_page()
    for source in (
        "Pictures",
        "Feeds",
        "Titles",
        "Click logs",
        "Checkpoints",
        "Workspaces",
        "clickscape.toml",
        "Servers",
    ):
        assert f"**{source}" in page
    assert "## How to report" in page
    assert len(page.splitlines()) <= 90
    assert "reference/security.md" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "](SECURITY.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
