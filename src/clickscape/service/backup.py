"""Copy a SQLite store while it is served, and bring such a copy back; PostgreSQL has pg_dump for that."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy.engine import Engine

from clickscape.errors import StoreError
from clickscape.files import atomic_file
from clickscape.service.store import check_release, open_store, serving_lock, shown

_PAGES = 1_000  # copied at a time, so that writers go on in between


def backup(engine: Engine, path: Path) -> int:
    """Write a whole copy of a SQLite store as it is at one moment; returns its bytes.

    StoreError for PostgreSQL, and for a file that is there already.
    """
    source = _file_of(engine)
    if path.exists():
        raise StoreError(f"{path} is there already. Name a new file.")
    with atomic_file(path) as temporary, closing(sqlite3.connect(source)) as held, closing(
        sqlite3.connect(temporary)
    ) as copy:  # fmt: skip
        held.backup(copy, pages=_PAGES)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without its log beside it
        copy.commit()
    return path.stat().st_size


def restore(engine: Engine, path: Path) -> None:
    """Put a copy in the place of the store, which is kept beside it as store.db.before; the service must not run.

    The store itself may be damaged, gone or of a later release: that is what copies are for. StoreError for
    PostgreSQL, a store that is served, and a file that is no such copy, a damaged one or one of a later release; the
    store then stays.
    """
    target = Path(_file_of(engine))
    if not path.is_file():
        raise StoreError(f"{path} is no file. Name a copy that `clickscape backup` wrote.")
    check_release(_version(path), where=str(path))
    engine.dispose()
    before = target.with_name(f"{target.name}.before")
    with serving_lock(engine, alone=True):
        with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(target)) as held:
            held.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with atomic_file(target) as temporary:
            with closing(sqlite3.connect(path)) as copy, closing(sqlite3.connect(temporary)) as new:
                copy.backup(new)
            open_store(f"sqlite:///{temporary}").dispose()  # an older copy is brought to this release
            before.unlink(missing_ok=True)
            before.hardlink_to(target)
        for left in ("-wal", "-shm"):
            target.with_name(target.name + left).unlink(missing_ok=True)


def _version(path: Path) -> str:
    """The revision of a copy's tables; StoreError for what is none."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as copy:
        try:
            sound = copy.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            found = copy.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.DatabaseError:
            sound, found = False, None
    if not sound or found is None:
        raise StoreError(f"{path} is no store, or a damaged one. Name another copy.")
    return str(found[0])


def _file_of(engine: Engine) -> str:
    if engine.dialect.name != "sqlite" or not engine.url.database:
        raise StoreError(f"{shown(engine.url)} is no SQLite store. Use pg_dump and pg_restore.")
    return str(engine.url.database)
