"""Read JSON that nobody vouches for as the type that it must have, and write JSON that is whole or not there.

Damage is one line that names the place.

pydantic's parser bounds the nesting, refuses lone surrogates, and converts nothing: "1" is no number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from clickscape.errors import ClickscapeError, WorkspaceError
from clickscape.files import write_text
from clickscape.regular_files import read_bytes

Record = TypeVar("Record")


def read_json(
    path: Path,
    kind: type[Record],
    *,
    error: type[ClickscapeError] = WorkspaceError,
    remedy: str = "Delete it and run its stage again.",
) -> Record:
    """Return a JSON file as `kind`, any type of pydantic; `error` for damage, FileNotFoundError for no file."""
    return parse_json(read_bytes(path, error=error), kind, where=str(path), error=error, remedy=remedy)


def read_json_lines(
    path: Path,
    kind: type[Record],
    *,
    error: type[ClickscapeError] = WorkspaceError,
    remedy: str = "Delete the line.",
) -> list[Record]:
    """Return every line of a JSON Lines file as `kind`; `error` names the line, FileNotFoundError for no file."""
    lines = read_bytes(path, error=error).split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [
        parse_json(line, kind, where=f"{path}, line {number}", error=error, remedy=remedy)
        for number, line in enumerate(lines, start=1)
    ]


def write_json(path: Path, value: object) -> None:
    """Write one value as JSON; a reader sees the old file or the new one, never half of one."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_json_lines(path: Path, records: Iterable[Any]) -> None:
    """Write dataclasses as JSON Lines; a reader sees the old file or the new one, never half of one."""
    write_text(path, "".join(json.dumps(asdict(record)) + "\n" for record in records))


def parse_json(
    text: str | bytes, kind: type[Record], *, where: str, error: type[ClickscapeError], remedy: str
) -> Record:
    """Return JSON text as `kind`; `error` says `where` it stands, which part is wrong first and why, and `remedy`."""
    try:
        data = text.encode() if isinstance(text, str) else text
        return _adapter(cast("Any", kind)).validate_json(data, strict=True)
    except UnicodeEncodeError:
        raise error(f"{where}: not valid Unicode. {remedy}") from None
    except ValidationError as damage:
        first = damage.errors(include_url=False, include_context=False, include_input=False)[0]
        part = ".".join(str(step) for step in first["loc"])
        raise error(f"{where}: {part + ': ' if part else ''}{first['msg']}. {remedy}") from None


@lru_cache(maxsize=64)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
