"""The content digests of a log's files, read again only where a file was written since: a history is not hashed daily.

Size, times of writing and inode of a file say whether its content may be another. A file that was written while, or
just before, it was hashed is hashed again, because a clock that ticks too slowly would not tell the two apart.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from clickscape.files import fingerprint, to_json, write_text

_UNCHANGING = 2_000_000_000  # nanoseconds after which another content has another time

_Known = TypeAdapter(dict[str, tuple[int, int, int, int, str]])


def digests(files: Sequence[Path], *, store: Path | None) -> list[str]:
    """Return the digest of every file's content, those of unchanged files from a table in the folder `store`."""
    path = store / "digests.json" if store else None
    known = _read(path) if path else {}
    now = time.time_ns()
    found: dict[str, tuple[int, int, int, int, str]] = {}
    for file in files:
        state = file.stat()
        stamp = (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
        before = known.get(str(file))
        found[str(file)] = before if before and before[:4] == stamp else (*stamp, fingerprint(file))
    unchanging = {name: one for name, one in found.items() if max(one[1], one[2]) < now - _UNCHANGING}
    if path and path.parent.is_dir() and unchanging != {name: known.get(name) for name in unchanging}:
        with suppress(OSError):  # of a workspace that may be read only
            write_text(path, to_json({**known, **unchanging}))
    return [found[str(file)][4] for file in files]


def _read(path: Path) -> Mapping[str, tuple[int, int, int, int, str]]:
    try:
        return _Known.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return {}
