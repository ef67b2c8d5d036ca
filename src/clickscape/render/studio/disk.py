"""Sets and materials kept on disk between runs: a new process need not cast rays and paint tiles for its first picture.

One uncompressed .npz for each in the user's cache folder, named by a digest of the key and of the code that made it, so
that what an older version left is never read. The least recently used files leave when all exceed `MAX_BYTES`. A cache
is a convenience: whatever is wrong with it (no space, no permission, a torn file) means that the set is made anew.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import zipfile
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from clickscape.render import color
from clickscape.render.studio import gbuffer, geometry, materials, parallel_rays, stand, stones, tiles

MAX_BYTES = 2**30
VARIABLE = "CLICKSCAPE_CACHE"
"""Environment variable with another folder; empty means that nothing is kept."""

Arrays = Mapping[str, np.ndarray]


def folder() -> Path | None:
    """Where sets are kept; None when the environment switches it off."""
    if (named := os.environ.get(VARIABLE)) is not None:
        return Path(named) / "studio" if named else None
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "clickscape" / "studio"


def keep(key: Hashable, make: Callable[[], Arrays], *, where: Path | None, max_bytes: int = MAX_BYTES) -> Arrays:
    """The arrays of `key`, read from `where` or made and written there; the same bytes either way."""
    if where is None:
        return make()
    path = where / f"{hashlib.sha256(f'{_code()} {key!r}'.encode()).hexdigest()[:40]}.npz"
    with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        os.utime(path)
        return arrays
    arrays = dict(make())
    with suppress(OSError):
        where.mkdir(parents=True, exist_ok=True)
        temporary = where / f".tmp-{secrets.token_hex(6)}.npz"
        try:
            np.savez(temporary, **arrays)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _unseen[where] = _unseen.get(where, 0) - path.stat().st_size
        if _unseen[where] < 0:
            _unseen[where] = (max_bytes - _shrink(where, max_bytes=max_bytes)) // 8
    return arrays


_unseen: dict[Path, int] = {}
"""Bytes that this process may still write into a folder before it looks at all files there; others write, too."""


def _shrink(where: Path, *, max_bytes: int) -> int:
    """Remove what was not used for longest where the files do not fit, and an eighth more; return what is held.

    A file that another process removed is no loss.
    """
    entries = []
    for path in where.glob("*.npz"):
        with suppress(OSError):
            status = path.stat()
            entries.append((status.st_mtime_ns, status.st_size, path))
    held = sum(size for _, size, _ in entries)
    most = max_bytes if held <= max_bytes else max_bytes * 7 // 8
    for _, size, path in sorted(entries):
        if held <= most:
            break
        path.unlink(missing_ok=True)
        held -= size
    return held


@cache
def _code() -> str:
    """Digest of the code that makes what is kept, and of the libraries whose last bits may differ."""
    made_by = (color, gbuffer, geometry, materials, parallel_rays, stand, stones, tiles)
    sources = [Path(str(module.__file__)).read_bytes() for module in made_by]
    return hashlib.sha256(b"".join([*sources, f"{np.__version__} {cv2.__version__}".encode()])).hexdigest()
