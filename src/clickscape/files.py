"""File names that cannot leave their folder, and writes that a kill cannot leave half done."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path, PurePath
from urllib.parse import quote

from pydantic import BaseModel

from clickscape.errors import ClickscapeError, WorkspaceError

_TEMPORARY, _REPLACED = ".tmp-", ".old-"
_DEVICE_NAMES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}
_LONGEST_NAME = 160


def file_name(identifier: str) -> str:
    """Turn an id into a file name that cannot leave its folder; different ids give different names, percent-encoded."""
    if not identifier:
        raise WorkspaceError("an empty id cannot name a file. Give every product and creative an id.")
    try:
        name = quote(identifier, safe=" ")
    except UnicodeEncodeError:
        raise WorkspaceError(f"the id {identifier!r} is not valid Unicode. Fix it in the feed.") from None
    if name[0] in ". ~" or name.split(".")[0].upper() in _DEVICE_NAMES:
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if name[-1] in ". ":
        name = f"{name[:-1]}%{ord(name[-1]):02X}"
    if len(name) > _LONGEST_NAME:  # "%-" cannot come out of quote, so a shortened name never meets a whole one
        name = f"{name[:80]}%-{hashlib.sha256(identifier.encode()).hexdigest()}"
    return name


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


def open_regular(path: Path, flags: int, *, error: type[ClickscapeError] = WorkspaceError) -> int:
    """Open a regular file and return its descriptor; `error` for a folder, a pipe or a device, which could block.

    With O_NOFOLLOW in `flags` a symlink is refused too, as it must be for whatever is written.
    """
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except IsADirectoryError:
        raise error(f"{path} is a folder, expected a file. Remove it.") from None
    except OSError as problem:
        if problem.errno in (errno.ELOOP, errno.ENXIO):
            raise error(f"{path} is a symlink or a pipe, expected a file. Remove it.") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise error(f"{path} is no regular file. Remove it.")
    return descriptor


def read_bytes(path: Path, *, limit: int = 1 << 28, error: type[ClickscapeError] = WorkspaceError) -> bytes:
    """Return the content of a regular file; `error` when it is none, or has more than `limit` bytes."""
    with open(open_regular(path, os.O_RDONLY, error=error), "rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise error(f"{path} has more than {limit:,} bytes. Delete it.")
    return data


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; when the block succeeds it takes the target's place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f"{_TEMPORARY}{secrets.token_hex(6)}{target.suffix}"
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, target)
        _flush(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`; it replaces the whole target when the block succeeds, else it vanishes.

    What a killed writer of the same target left is removed first; a writer that lives holds a lock on its own.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    replaced = target.parent / f"{_REPLACED}{target.name}"
    _recover(replaced)
    own = f"{_TEMPORARY}{target.name}-"
    for left in target.parent.iterdir():
        if left.name.startswith(own) and "-" not in left.name.removeprefix(own):
            _remove_dead(left)
    temporary = target.parent / f"{own}{secrets.token_hex(6)}"
    temporary.mkdir()
    lock = os.open(temporary, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield temporary
        for path in sorted(temporary.rglob("*"), reverse=True):
            _flush(path)
        _flush(temporary)
        if target.exists():
            os.rename(target, replaced)  # a kill right after this is mended by _recover
        os.rename(temporary, target)
        _flush(target.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)


def fingerprint(value: object) -> str:
    """sha256, in hex, of the content of `value`: a file, a folder (names and contents) or anything JSON can say."""
    digest = hashlib.sha256()
    if isinstance(value, Path):
        if not value.exists():
            raise WorkspaceError(f"{value} is missing. Run the stage that makes it first.")
        files = sorted(path for path in value.rglob("*") if path.is_file()) if value.is_dir() else [value]
        for path in files:
            name = path.relative_to(value).as_posix().encode()
            if not any(part.startswith(".") for part in path.relative_to(value).parts):
                digest.update(len(name).to_bytes(8, "big") + name + path.stat().st_size.to_bytes(8, "big"))
                with path.open("rb") as stream:
                    while block := stream.read(1 << 20):
                        digest.update(block)
    else:
        digest.update(to_json(value).encode())
    return digest.hexdigest()


def to_json(value: object) -> str:
    """One line of JSON with sorted keys; models become objects, paths text, times ISO 8601, NaN and infinity null."""
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False, allow_nan=False)


def sweep(folder: Path) -> None:
    """Remove what killed writers left below `folder`; only the holder of the lock may do so."""
    for place, folders, files in os.walk(folder):
        for name in [name for name in folders if name.startswith(_REPLACED)]:
            _recover(Path(place, name))
        for name in [name for name in folders if name.startswith(_TEMPORARY)]:
            shutil.rmtree(Path(place, name), ignore_errors=True)
        folders[:] = [name for name in folders if not name.startswith((_TEMPORARY, _REPLACED))]
        for name in files:
            if name.startswith(_TEMPORARY):
                Path(place, name).unlink(missing_ok=True)


def _remove_dead(folder: Path) -> None:
    """Remove a temporary folder unless its writer lives."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # gone by now, or a file that is none of ours
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return
    finally:
        os.close(lock)


def _recover(replaced: Path) -> None:
    """Finish or undo an atomic_folder that was killed between its two renames."""
    target = replaced.with_name(replaced.name.removeprefix(_REPLACED))
    if replaced.exists() and not target.exists():
        os.rename(replaced, target)
    shutil.rmtree(replaced, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="python")
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if hasattr(value, "tolist"):  # a NumPy or torch value
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
