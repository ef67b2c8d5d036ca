"""Where a click log is stored: files of one format below a folder, or a table of a database.

Every file of a log is read or named: what a folder holds besides the log is listed in `unread`, so that no impression
is left out in silence. Only what Spark and Hive write for themselves, and hidden files, are passed over. An address is
never shown with what may be a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from clickscape.config import ClicksConfig
from clickscape.errors import LogError

_KINDS = {".parquet": "Parquet", ".csv": "CSV", ".tsv": "CSV", ".jsonl": "JSON Lines", ".ndjson": "JSON Lines"}
ENDINGS = tuple(_KINDS)
"""Endings of the files that a log may have, in small or capital letters."""

LOG_FILES = f"Files of a log are not empty and end in {', '.join(ENDINGS)}"

MOST_FILES = 200_000
"""Files that a log may have, and files beside them."""

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_BOOKKEEPING = re.compile(r"\.|_(SUCCESS|committed|started|metadata|common_metadata|temporary)")
_PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".lz4", ".snappy")
_OURS = ("estimates.parquet", "pairs.parquet", "audiences.parquet")  # what is made of a log, and stands beside it
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class LogLocation:
    """Where a log is stored: `files`, or else the `table` of a database at `url` (as the settings name it).

    `root`: the folder below which a folder called `device=phone` gives its files a column. `unread`: files there that
    are no log. `shown`: how messages call it.
    """

    files: tuple[Path, ...] = ()
    url: str = ""
    table: str = ""
    root: Path | None = None
    unread: tuple[Path, ...] = ()
    shown: Path | None = None

    def __str__(self) -> str:
        if not self.files:
            return f"{redact(self.url)}, table {self.table}" if self.url else f"table {self.table}"
        return str(self.shown or self.files[0])

    def name(self, file: Path) -> str:
        """Return how a file is called below the root."""
        return file.relative_to(self.root).as_posix() if self.root and file.is_relative_to(self.root) else str(file)

    def folder_columns(self, file: Path) -> Mapping[str, str | None]:
        """Return the columns that folders between the root and the file give it, as Hive and Spark name them."""
        if not self.root or not file.is_relative_to(self.root):
            return {}
        found = (part.partition("=") for part in file.relative_to(self.root).parts[:-1])
        return {unquote(name): None if value == _NO_VALUE else unquote(value) for name, sign, value in found if sign}


def locate(folder: Path, config: ClicksConfig) -> LogLocation:
    """Find the log that `config.source` names, else the files below events/, or a table of counts, in `folder`.

    A source is a file, a folder, a glob of both (looked for beside `folder`) or an address. LogError where there is no
    log, or two.
    """
    if is_address(config.source):
        if not config.table:
            raise LogError(f"{redact(config.source)} is a database without a table. Name one with --table or `table`.")
        return LogLocation(url=config.source, table=config.table)
    if config.source:
        named = folder.parent / Path(config.source).expanduser()
        root = next(place for place in (named, *named.parents) if os.path.exists(place))
        if root == named:
            return _files([named], root=named if named.is_dir() else named.parent, shown=named)
        try:  # pathlib's globs follow no link to a folder, which may lead back to where it was
            found = sorted(_not_too_many(root.glob(str(named.relative_to(root))), named))
        except (ValueError, NotImplementedError) as error:
            raise LogError(f"{named}: no glob that is understood ({error}). Name a folder.") from None
        if not found:
            raise LogError(f"{named}: no such file. Correct the path; quote a glob, so that the shell keeps it.")
        return _files([path for path in found if _is_log(path.relative_to(root))], root=root, shown=named)
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    counts = [path for path in there if path.stem.lower() == "counts" and path.suffix.lower() in ENDINGS]
    beside = [
        path for path in there if path.suffix.lower() in ENDINGS and path.name not in _OURS and path not in counts
    ]
    events = folder / "events"
    if not events.is_dir() or not (holds := list(_not_too_many(_below(events), events))):
        if not counts:
            found_instead = f" It holds {beside[0].name!r}." if beside else ""
            remedy = "Put Parquet files into events/, or a counts.parquet; or name a log elsewhere with --log"
            raise LogError(f"{folder} has no click log.{found_instead} {remedy}.")
        return _files(counts, root=counts[0] if counts[0].is_dir() else folder, shown=counts[0])
    if counts:
        both = f"both events/ and {counts[0].name} would count every click twice"
        raise LogError(f"{folder}: {both}. Delete one of them.")
    location = _files(holds, root=events, shown=events)
    return replace(location, unread=(*location.unread, *beside))


def is_address(source: str) -> bool:
    """Return whether a source is the connection URL of a database rather than a file."""
    return _URL.match(source) is not None


def redact(address: str) -> str:
    """Return an address without user, password and parameters; only its scheme when it is ambiguous."""
    scheme = address.split("://", maxsplit=1)[0]
    try:
        parts = urlsplit(address)
        if "@" in parts.path + parts.query + parts.fragment:
            return f"{scheme}://…"
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return f"{scheme}://…"
    return f"{scheme}://{parts.hostname or ''}{port}{parts.path}"


def _files(paths: Iterable[Path], *, root: Path, shown: Path) -> LogLocation:
    """The files among `paths` and below the folders among them; a file that two names lead to is taken once."""
    files: dict[tuple[int, int], Path] = {}
    unread = set()
    below = {file for path in paths for file in (_not_too_many(_below(path), path) if path.is_dir() else [path])}
    for path in sorted(below):
        if not _is_unicode(path):
            raise LogError(f"{path.as_posix()!r}: a name that is not Unicode. Rename it.")
        # writers leave empty parts, but a Parquet file without a byte is a torn one
        if (
            path.is_file()
            and path.suffix.lower() in ENDINGS
            and (path.stat().st_size or path.suffix.lower() == ENDINGS[0])
        ):
            found = path.stat()
            files.setdefault((found.st_dev, found.st_ino), path)
        else:
            unread.add(path)
    if not files:
        found_instead = f" It holds {min(unread).name!r}." if unread else ""
        unpack = " Unpack it first." if any(path.suffix.lower() in _PACKED for path in unread) else ""
        raise LogError(f"{shown}: no file of a log.{found_instead}{unpack} {LOG_FILES}.")
    kinds = {_KINDS[path.suffix.lower()] for path in files.values()}
    if len(kinds) > 1:
        other = next(path for path in files.values() if _KINDS[path.suffix.lower()] != min(kinds))
        raise LogError(
            f"{root}: files of several kinds ({', '.join(sorted(kinds))}), such as {other.name!r}. Name one kind."
        )
    return LogLocation(tuple(files.values()), root=root, unread=tuple(sorted(unread)), shown=shown)


def _is_unicode(path: Path) -> bool:
    try:
        return bool(str(path).encode())
    except UnicodeEncodeError:
        return False


def _is_log(path: Path) -> bool:
    return not any(map(_BOOKKEEPING.match, path.parts))


def _not_too_many(paths: Iterable[Path], where: Path) -> Iterator[Path]:
    for number, path in enumerate(paths):
        if number == MOST_FILES:
            raise LogError(f"{where}: over {MOST_FILES:,} files. Name a smaller folder.")
        yield path


def _below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, links followed once, but those that writers keep for themselves."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        if "_delta_log" in folders:
            raise LogError(
                f"{place}: a Delta Lake table keeps the files of deleted rows. Export it as Parquet, or name a table."
            )
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else [name for name in folders if not _BOOKKEEPING.match(name)]
        if real not in seen:
            yield from (Path(place, name) for name in files if not _BOOKKEEPING.match(name))
        seen.add(real)


def _raise(error: OSError) -> None:
    raise LogError(f"{error.filename}: cannot be read ({error.strerror}). Allow reading it, or name another folder.")
