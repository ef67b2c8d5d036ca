"""Open files that nobody vouches for: regular ones, inside their folder; what is written follows no symlink."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from clickscape.errors import ClickscapeError, WorkspaceError

_LARGEST = 1 << 28  # bytes of a file that is read as a whole


def inside(folder: Path, name: str) -> Path:
    """Return the path of `name` below `folder`; WorkspaceError when it is absolute, says `..` or passes a symlink."""
    parts = PurePath(name).parts
    if not parts or PurePath(name).is_absolute() or ".." in parts or "\0" in name:
        raise WorkspaceError(f"{name!r} leaves the folder {folder}. Remove what names it, or write elsewhere.")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise WorkspaceError(f"{path} is a symlink, so it may lead elsewhere. Remove it, or write elsewhere.")
    return path


def real_path(path: Path) -> Path | None:
    """The path without links; None where there is none: a loop of links, a NUL byte, a name that is too long."""
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):
        return None


def check_ours(folder: Path, *, marks: Collection[str]) -> None:
    """Raise WorkspaceError where a folder shows files but has none of `marks`, which each folder made here holds."""
    if not folder.exists() or any((folder / mark).exists() for mark in marks):
        return
    if not folder.is_dir():
        raise WorkspaceError(f"{folder} is a file, expected a folder to write to. Choose another --out.")
    if foreign := sorted(name for name in os.listdir(folder) if not name.startswith(".")):
        raise WorkspaceError(f"{folder} holds {foreign[0]!r}, which was not made here and could be replaced. Choose a "
                             f"new or an empty folder with --out.")  # fmt: skip


def open_regular(path: Path, flags: int, *, error: type[ClickscapeError] = WorkspaceError) -> int:
    """Open a regular file with `os.open`'s flags; `error` for a folder, and for a pipe or device, which could block.

    What is opened to be written may be neither a symlink nor one of several names of a file.
    """
    writes = bool(flags & (os.O_WRONLY | os.O_RDWR))
    always = os.O_NONBLOCK | os.O_CLOEXEC | (os.O_NOFOLLOW if writes else 0)
    try:
        descriptor = os.open(path, flags | always, 0o666)
    except OSError as problem:
        if problem.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise error(f"{path} is no regular file: a folder, a symlink or a pipe. Remove it.") from None
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or (writes and found.st_nlink > 1):
        os.close(descriptor)
        raise error(f"{path} is no regular file of one name: a pipe, a device or a hard link. Remove it.")
    return descriptor


def read_bytes(path: Path, *, error: type[ClickscapeError] = WorkspaceError) -> bytes:
    """Return the content of a regular file of at most 256 MiB; `error` for any other."""
    with open(open_regular(path, os.O_RDONLY, error=error), "rb") as stream:
        data = stream.read(_LARGEST + 1) or b""  # None: the system will write more of it one day, as of /proc/kmsg
    if len(data) > _LARGEST:
        raise error(f"{path} has more than {_LARGEST:,} bytes. Delete it.")
    return data


def append_line(path: Path, line: str) -> None:
    """Add one line of text to a regular file at once."""
    with open(open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a", encoding="utf-8") as stream:
        stream.write(line + "\n")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the one process that writes in the folder of `path`, a lock file; WorkspaceError when another one is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(open_regular(path, os.O_RDWR | os.O_CREAT), "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read(32).decode("ascii", "replace").strip() or "unknown"
            raise WorkspaceError(f"{path.parent} is being written by another process (id {holder}). Wait until it "
                                 "ends, or stop it.") from None  # fmt: skip
        file.truncate()
        file.write(str(os.getpid()).encode())
        file.flush()
        yield
