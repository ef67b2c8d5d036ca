"""The arguments that several commands take, and the checks of paths that come before any heavy import.

Typer runs a check while it parses, so that a wrong path is told at once and not after the libraries of the stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer

from clickscape.errors import ClickscapeError, WorkspaceError

Paths = TypeVar("Paths", Path, Sequence[Path], None)


def existing_file(param: typer.CallbackParam, path: Paths) -> Paths:
    """Return what was given when all of it is there and no folder; ClickscapeError names the argument."""
    return _there(param, path, kind="file")


def existing_folder(param: typer.CallbackParam, path: Paths) -> Paths:
    """Return the folder when there is one; ClickscapeError names the argument."""
    return _there(param, path, kind="folder")


def output_folder(path: Path) -> Path:
    """Return the path unless a file lies there."""
    if path.exists() and not path.is_dir():
        raise WorkspaceError(f"{path} is a file, expected a folder. Choose another --out.")
    return path


def output_file(path: Path | None) -> Path | None:
    """Return the path unless a folder lies there, or what should hold it is a file."""
    if path is not None and path.is_dir():
        raise WorkspaceError(f"{path} is a folder, expected a file. Name one in it: --out {path / 'NAME'}.")
    return path


def existing_workspace(path: Path | None) -> Path | None:
    """Return the path when a workspace lies there, or none was given; WorkspaceError."""
    if path is not None:
        from clickscape.workspace import Workspace

        Workspace.open(path)
    return path


def known_placements(names: list[str]) -> list[str]:
    """Return the names when each is, or matches, a placement; ConfigError."""
    from clickscape.render import placements

    placements.find(*names)
    return names


def _there(param: typer.CallbackParam, path: Paths, *, kind: Literal["file", "folder"]) -> Paths:
    paths: Sequence[Path] = [path] if isinstance(path, Path) else path or ()
    for one in paths:
        found = "folder" if one.is_dir() else "file" if one.exists() else ""
        if found != kind:
            name = param.opts[0] if param.opts[0].startswith("-") else (param.name or "").upper()
            problem = f"{one} is a {found}, expected a {kind}" if found else f"{one}: no such {kind}"
            raise ClickscapeError(f"{problem}. Correct the path of {name}.")
    return path


Folder = Annotated[
    Path, typer.Argument(help="Folder of the workspace.", show_default=False, callback=existing_workspace)
]
FeedFormat = Annotated[
    Literal["google-xml", "google-tsv", "shopify", "meta", "jsonl", "csv", "parquet", "json"] | None,
    typer.Option("--format", help="Format of the feed. Default: detected from its content."),
]
AllowRemote = Annotated[
    bool,
    typer.Option("--allow-remote", help="Fetch images that the feed links to, from public http(s) addresses only."),
]
SkipBadRows = Annotated[
    bool,
    typer.Option("--skip-bad-rows", help="Leave bad rows out and list each, instead of stopping at the first."),
]
DrawingWorkers = Annotated[
    int,
    typer.Option("--workers", min=1, max=1_024, help="Processes that cut out and draw side by side; 1 is this one."),
]
