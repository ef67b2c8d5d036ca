"""File names that cannot leave their folder, and writes that a kill cannot leave half done."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import date
from pathlib import Path
from urllib.parse import quote

from pydantic import BaseModel

from clickscape.errors import WorkspaceError
from clickscape.regular_files import open_regular

_TEMPORARY, _REPLACED = ".tmp-", ".tmp-replaced-"
_LEFT = re.compile(r"\.tmp-(.+-)?[0-9a-f]{12}(\.[^.]+)?", re.DOTALL)
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


def photo_file(cutout: Path) -> Path:
    """Name of the file beside a cut-out's that holds the photo that it was made of."""
    return cutout.with_suffix(".photo")


@contextmanager
def temporary_file(folder: Path, *, suffix: str = "") -> Iterator[Path]:
    """Yield a new, empty file in `folder`, which is removed at the end if it still has that name.

    A lock on it tells `sweep` that its writer lives.
    """
    path = folder / f"{_TEMPORARY}{secrets.token_hex(6)}{suffix}"
    descriptor = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def atomic_file(target: Path, *, flush: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `target`; when the block succeeds it takes the target's place.

    Without `flush` a crash of the machine may lose it: for thousands of small files that a later, flushed one names.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with temporary_file(target.parent, suffix=target.suffix) as temporary:
        try:
            yield temporary
            if flush:
                _flush(temporary)
        except OSError as error:  # a full disk does not say which file it was about
            error.filename = error.filename or str(target)
            raise
        os.replace(temporary, target)
        if flush:
            _flush(target.parent)


def write_text(target: Path, text: str) -> None:
    """Write a file of UTF-8 as `atomic_file` does, line ends as they are."""
    with atomic_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


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
        if re.fullmatch(f"{re.escape(own)}[0-9a-f]{{12}}", left.name):
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
        if os.path.lexists(target):
            os.rename(target, replaced)  # a kill right after this is repaired by _recover
        os.rename(temporary, target)
        _flush(target.parent)
        _remove(replaced)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)


@contextmanager
def temporary_folder(folder: Path, *, name: str) -> Iterator[Path]:
    """Yield a new, empty folder in `folder`, which is removed at the end; if its process is killed, `sweep` does it."""
    path = folder / f"{_TEMPORARY}{name}-{secrets.token_hex(6)}"
    path.mkdir()
    lock = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def fingerprint(value: object) -> str:
    """sha256, in hex, of the content of `value`: a file, a folder (names and contents) or anything JSON can say.

    The README.md of a folder tells of its content and is none of it: a model that is measured again stays the same.
    """
    digest = hashlib.sha256()
    if isinstance(value, Path):
        if not value.exists():
            raise WorkspaceError(f"{value} is missing. Run the stage that makes it first.")
        files = sorted(path for path in value.rglob("*") if path.is_file()) if value.is_dir() else [value]
        for path in files:
            name = path.relative_to(value).as_posix().encode()
            if name == b"README.md":
                continue
            if not any(part.startswith(".") for part in path.relative_to(value).parts):
                digest.update(len(name).to_bytes(8, "big") + name + path.stat().st_size.to_bytes(8, "big"))
                with open(open_regular(path, os.O_RDONLY), "rb") as stream:
                    while block := stream.read(1 << 20):
                        digest.update(block)
    else:
        digest.update(to_json(value).encode())
    return digest.hexdigest()


def to_json(value: object) -> str:
    """One line of JSON with sorted keys; models become objects, paths text, times ISO 8601, NaN and infinity null."""
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False, allow_nan=False)


def sweep(folder: Path, *, deep: bool = True) -> None:
    """Remove what killed writers left in `folder` and, if `deep`, below; what a living one writes stays.

    WorkspaceError for a symlink in the place of a folder below: whatever is written there would land elsewhere.
    """
    for place, folders, files in os.walk(folder):
        for path in (Path(place, name) for name in (*folders, *files)):
            if path.name.startswith(_REPLACED) and path.is_dir() and not path.is_symlink():
                _recover(path)
            elif _LEFT.fullmatch(path.name):
                _remove_dead(path)
            elif deep and path.is_symlink() and path.is_dir():
                raise WorkspaceError(f"{path} is a symlink, and what is written below would land elsewhere. Put the "
                                     f"folder itself there, or name its path in clickscape.toml.")  # fmt: skip
        folders[:] = [name for name in folders if deep and not name.startswith(_TEMPORARY)]


def _remove_dead(path: Path) -> None:
    """Remove a temporary file or folder unless its writer lives."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # gone by now, or a symlink, which is none of ours
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(path)
    except OSError:
        return
    finally:
        os.close(lock)


def _remove(path: Path) -> None:
    """Remove a folder with all that it holds, or a file, or a symlink itself."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _recover(replaced: Path) -> None:
    """Finish or undo an atomic_folder that was killed between its two renames."""
    target = replaced.with_name(replaced.name.removeprefix(_REPLACED))
    if os.path.lexists(replaced) and not os.path.lexists(target):
        os.rename(replaced, target)
    _remove(replaced)


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
    if isinstance(value, date):  # or a time
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
