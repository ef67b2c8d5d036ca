"""The store opens on both databases, is migrated from the first schema on, and says what is wrong in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Engine

from clickscape.errors import StoreError
from clickscape.service import schema, store
from clickscape.service.store import open_store, schema_version, shown


def test_migrations_make_the_tables_that_the_code_expects(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
        assert schema_version(connection) is not None


def test_a_store_of_the_first_schema_keeps_what_it_holds_and_names_its_experiments(address: str) -> None:
    engine = sa.create_engine(address.replace("postgresql:", "postgresql+psycopg:"))
    config = Config()
    config.set_main_option("script_location", str(Path(store.__file__).parent / "migrations"))
    shown = {"control": {"mug": "a"}, "new": {"mug": "b"}}
    definition = {"start": "2026-09-01T00:00:00+00:00", "variants": [
        {"name": name, "share": 0.5, "creatives": creatives} for name, creatives in shown.items()]}  # fmt: skip
    begun = 1_788_220_800_000_000  # microseconds: the same start
    told = [("mug", "new", begun), ("mug", "new", begun - 1), ("mug", "bandit", begun), ("pot", "new", begun)]
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        old = sa.MetaData()
        old.reflect(connection)
        product = {"product_id": "mug", "title": "Mug", "category": [], "updated_at": 1}
        connection.execute(sa.insert(old.tables["products"]).values(product))
        ad = {"creative_id": "a", "product_id": "mug", "image": "a.webp", "description": "", "status": "draft",
              "reason": "", "score": 0.5, "score_sd": 0.1, "created_at": 1, "changed_at": 1}  # fmt: skip
        connection.execute(sa.insert(old.tables["creatives"]).values(ad))
        connection.execute(
            sa.insert(schema.experiments).values(name="autumn", definition=definition, status="running", changed_at=1)
        )
        connection.execute(sa.insert(old.tables["events"]), [
            {"event_id": str(number), "kind": "click", "attribution": "attributed", "decision_id": str(number),
             "product_id": product, "variant": variant, "ts": at, "received_at": at}
            for number, (product, variant, at) in enumerate(told)
        ])  # fmt: skip
    engine.dispose()
    opened = open_store(address)
    with opened.connect() as connection:
        assert connection.execute(sa.select(schema.products.c.title)).scalar_one() == "Mug"
        found = connection.execute(sa.select(schema.events.c.experiment).order_by(schema.events.c.number)).scalars()
        assert list(found) == ["autumn", None, None, None]
        table = schema.creatives
        kept = connection.execute(sa.select(table.c.score, table.c.predicted, table.c.predicted_sd)).one()
        assert (kept, schema_version(connection)) == ((0.5, 0.5, 0.1), "0004")
        names = {one["name"] for one in sa.inspect(connection).get_indexes("events")}
    assert {"events_of_product", "events_of_experiment"} <= names
    opened.dispose()


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
