"""The store opens on both databases, is migrated from the first schema on, and says what is wrong in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Engine

from clickscape.errors import StoreError
from clickscape.service import schema
from clickscape.service.store import open_store, schema_version, shown


def test_migrations_make_the_tables_that_the_code_expects(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
        assert schema_version(connection) is not None


def test_opening_again_keeps_what_is_there(address: str, engine: Engine) -> None:
    row = {"product_id": "mug", "title": "Mug", "category": [], "updated_at": 1}
    with engine.begin() as connection:
        connection.execute(sa.insert(schema.products).values(row))
    again = open_store(address)
    with again.connect() as connection:
        assert connection.execute(sa.select(schema.products.c.title)).scalar_one() == "Mug"
    again.dispose()


def test_a_store_of_a_later_release_is_refused(address: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"later release \(schema 9999\)"):
        open_store(address)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("no url", "is no URL"),
        ("mysql://user@host/shop", "a store on mysql is not supported"),
        ("postgresql://user:secret@127.0.0.1:1/shop", "cannot be opened"),
        ("sqlite:////proc/nowhere/store.db", "cannot be opened|cannot be made"),
    ],
)
def test_a_wrong_address_is_one_line_without_password(address: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as error:
        open_store(address)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_addresses_are_shown_without_user_and_password() -> None:
    assert shown("postgresql://me:secret@db.example/shop?sslmode=require") == "postgresql://db.example/shop"


def test_sqlite_waits_for_the_disk_before_it_says_that_a_commit_is_done(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    with engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar_one() == 2
    engine.dispose()
