"""Open the service's store: SQLite in the workspace by default, PostgreSQL by its URL, migrated to this release."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from clickscape.errors import StoreError, first_line

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x636C69636B  # of PostgreSQL, so that of several instances that start one migrates
_BUSY = 10.0  # seconds that a writer of SQLite waits for another


def open_store(address: str, *, migrate: bool = True) -> Engine:
    """Return an engine for a URL such as ``sqlite:///shop/service/store.db`` or ``postgresql://user@host/shop``.

    The tables are made, or brought to this release, unless `migrate` is False.  StoreError for an address of another
    kind, a database that does not answer, and a store of a later release.
    """
    url = _url(address)
    try:
        engine = _sqlite(url) if url.get_backend_name() == "sqlite" else sa.create_engine(url, pool_pre_ping=True)
        try:
            if migrate:
                _migrate(engine)
        except BaseException:
            engine.dispose()
            raise
    except (DBAPIError, OSError, ModuleNotFoundError) as error:
        told = first_line(getattr(error, "orig", None) or error)
        if isinstance(error, ModuleNotFoundError):
            told = "psycopg is missing: pip install 'clickscape[postgres]'"
        raise StoreError(f"{shown(url)}: cannot be opened ({told}). Check the address and that it runs.") from None
    return engine


def shown(url: URL | str) -> str:
    """Return a store's address without user and password, for messages."""
    parts = make_url(url)
    backend = parts.get_backend_name()
    return URL.create(backend, host=parts.host, port=parts.port, database=parts.database).render_as_string()


def is_unavailable(error: BaseException) -> bool:
    """Return whether the store did not answer, or could not write: what a later attempt may repair."""
    return isinstance(error, (DBAPIError, sa.exc.TimeoutError))


def schema_version(connection: Connection) -> str | None:
    """Return the revision that the store's tables are of, None for a new one."""
    return MigrationContext.configure(connection).get_current_revision()


def check_release(version: str | None, *, where: str, script: ScriptDirectory | None = None) -> None:
    """Raise StoreError for a revision that this release does not know."""
    known = script or ScriptDirectory.from_config(_config())
    if version is not None and version not in {one.revision for one in known.walk_revisions()}:
        raise StoreError(f"{where} is of a later release (schema {version}). Upgrade clickscape or restore a backup.")


@contextmanager
def serving_lock(engine: Engine, *, alone: bool = False) -> Iterator[None]:
    """Hold the lock by which processes that serve a SQLite store and one that replaces it (`alone`) keep apart.

    Whoever would go on writing into a file that was replaced would acknowledge events that are lost. StoreError where
    the other side holds it; PostgreSQL needs none.
    """
    if engine.dialect.name != "sqlite" or not engine.url.database:
        yield
        return
    lock = Path(f"{engine.url.database}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as held:
        try:
            fcntl.flock(held, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            doing = "is served now. End `clickscape serve` first" if alone else "is being restored. Start again then"
            raise StoreError(f"{engine.url.database} {doing}.") from None
        yield


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def _url(address: str) -> URL:
    try:
        url = make_url(address)
        backend = url.get_backend_name()
    except (ArgumentError, NoSuchModuleError):
        raise StoreError("the store's address is no URL. Give sqlite:///FILE or postgresql://USER@HOST/NAME.") from None
    if backend not in ("sqlite", "postgresql"):
        raise StoreError(f"a store on {backend} is not supported. Give sqlite:///FILE or postgresql://USER@HOST/NAME.")
    return url.set(drivername="postgresql+psycopg") if backend == "postgresql" else url


def _sqlite(url: URL) -> Engine:
    """An engine whose transactions begin as they should: Python's driver would begin them late, and never for reads."""
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY, "check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {setting}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _migrate(engine: Engine) -> None:
    config = _config()
    script = ScriptDirectory.from_config(config)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        version = schema_version(connection)
        if version == script.get_current_head():
            return
        check_release(version, where=shown(engine.url), script=script)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
