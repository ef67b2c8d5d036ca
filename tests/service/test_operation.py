"""What an operator relies on: a copy of the store comes back whole, and the doctor names what is wrong."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from tests.factory import clickscape
from tests.service.conftest import NOW, counted, creative, fill, rows
from tests.service.test_event_writer import event

from clickscape.errors import StoreError
from clickscape.service import jobs, schema
from clickscape.service.backup import backup, restore
from clickscape.service.doctor import problems
from clickscape.service.event_writer import Event, EventWriter
from clickscape.service.keys import create_key
from clickscape.service.store import open_store, serving_lock
from clickscape.stages.experiment import KEY_FILE
from clickscape.workspace import Workspace


@pytest.fixture
def store(tmp_path: Path) -> Engine:
    return open_store(f"sqlite:///{tmp_path / 'shop' / 'service' / 'store.db'}")


def write(engine: Engine, *events: Event) -> None:
    writer = EventWriter(engine)
    writer.write(events).result()
    writer.close()


def test_a_copy_made_while_events_come_is_whole_and_comes_back(store: Engine, tmp_path: Path) -> None:
    write(store, *(event(number) for number in range(300)))
    writer = EventWriter(store)
    futures = [writer.write([event(number)]) for number in range(300, 600)]
    assert backup(store, tmp_path / "copy.db") > 0
    for future in futures:
        future.result()
    writer.close()
    copy = open_store(f"sqlite:///{tmp_path / 'copy.db'}")
    held = counted(copy)[0]
    with copy.connect() as connection:
        stored = connection.execute(sa.select(sa.func.count()).select_from(schema.events)).scalar_one()
    copy.dispose()
    assert 300 <= held == stored <= 600  # events and counts of one moment
    restore(store, tmp_path / "copy.db")
    assert counted(store)[0] == held
    before = open_store(f"sqlite:///{tmp_path / 'shop' / 'service' / 'store.db.before'}")
    assert counted(before)[0] == 600
    before.dispose()
    store.dispose()


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"x" * 4_096])
def test_what_is_no_copy_is_refused_and_the_store_stays(store: Engine, tmp_path: Path, content: bytes) -> None:
    write(store, event(1))
    (tmp_path / "copy.db").write_bytes(content)
    with pytest.raises(StoreError, match="no store, or a damaged one"):
        restore(store, tmp_path / "copy.db")
    assert counted(store) == (1, 0, 0)
    store.dispose()


def test_a_database_of_something_else_is_refused(store: Engine, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(StoreError, match="no store"):
        restore(store, tmp_path / "other.db")
    store.dispose()


def test_a_backup_overwrites_nothing(store: Engine, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("mine")
    with pytest.raises(StoreError, match="is there already"):
        backup(store, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"
    store.dispose()


def test_postgresql_has_its_own_tools(postgres: str, tmp_path: Path) -> None:
    engine = open_store(postgres)
    for what in (backup, restore):
        with pytest.raises(StoreError, match="pg_dump"):
            what(engine, tmp_path / "copy.db")
    engine.dispose()


def test_the_doctor_names_what_is_wrong_with_its_remedy(tmp_path: Path) -> None:
    shop = Workspace.create(tmp_path / "my-shop")
    engine = open_store(f"sqlite:///{shop.path / 'service' / 'store.db'}")
    (shop.path / "experiments").mkdir()
    (shop.path / "experiments" / KEY_FILE).write_text("0" * 64)
    (shop.path / "experiments" / KEY_FILE).chmod(0o644)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        name = jobs.enqueue(connection, "draw", {}, now=NOW)
        jobs.enqueue(connection, "pull", {}, now=NOW)
    jobs.tell(engine, name, now=NOW, status="failed", message="no picture passed")
    write(engine, event(1), Event("x", "click", "unknown", "?d", None, None, None, None, None, None, NOW, NOW))
    found = list(problems(shop, engine, now=NOW + 300_000_000))
    for part in ("no products", "chmod 600", "no API key", "1 jobs failed this week, last draw: no picture passed",
                 "nobody does them", "no creative is approved", "1 of 2 events name decisions"):  # fmt: skip
        assert sum(part in line for line in found) == 1, (part, found)
    assert len(found) == 7
    engine.dispose()


def test_the_doctor_is_content_with_a_sound_shop(tmp_path: Path, command: Callable[..., str]) -> None:
    shop = Workspace.create(tmp_path / "my-shop")
    done = clickscape("doctor", str(shop.path))
    assert (done.code, "no products" in done.out) == (1, True)
    from clickscape.types import Product

    (shop.catalog / "cutouts").mkdir()
    shop.cutout_path("mug").write_bytes(b"picture")
    shop.image_path("a").parent.mkdir(parents=True, exist_ok=True)
    shop.image_path("a").write_bytes(b"picture")
    shop.write_products([Product("mug", "Mug", image=str(shop.cutout_path("mug")))])
    shop.write_creatives([creative("a")])
    engine = open_store(f"sqlite:///{shop.path / 'service' / 'store.db'}")
    fill(engine, [creative("a")])
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        create_key(connection, roles=["admin"], label="", now=NOW)
    engine.dispose()
    assert command("doctor", str(shop.path)) == "nothing is wrong\n"


def test_serving_begins_a_shop_where_nothing_is_and_takes_no_other_folder_for_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])  # so that it ends before it serves
        done = clickscape("serve", str(tmp_path / "my-shop"), "--port", port)
        assert (done.code, done.out.split("\n")[0]) == (2, f"made {tmp_path / 'my-shop' / 'clickscape.toml'}")
        assert Workspace.open(tmp_path / "my-shop").products_path.parent.parent == tmp_path / "my-shop"
        (tmp_path / "pictures").mkdir()
        for name in ("pictures", "gone/my-shop"):
            refused = clickscape("serve", str(tmp_path / name), "--port", port)
            assert refused.code == 2
            assert "is not a workspace" in refused.err
    assert not (tmp_path / "gone").exists()


def test_a_port_that_is_taken_is_said_and_no_key_is_made(tmp_path: Path) -> None:
    shop = Workspace.create(tmp_path / "my-shop")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = clickscape("serve", str(shop.path), "--port", str(port))
    assert done.code == 2
    assert f"127.0.0.1:{port} cannot be listened on" in done.err
    assert "csk_" not in done.out
    engine = open_store(f"sqlite:///{shop.path / 'service' / 'store.db'}")
    assert rows(engine, schema.api_keys) == []
    engine.dispose()


def test_a_store_that_is_served_is_not_replaced(store: Engine, tmp_path: Path) -> None:
    """Its server would go on writing into the file that was there, and acknowledge what is lost."""
    write(store, event(1))
    backup(store, tmp_path / "copy.db")
    with serving_lock(store), serving_lock(store), pytest.raises(StoreError, match="is served now"):
        restore(store, tmp_path / "copy.db")
    restore(store, tmp_path / "copy.db")
    store.dispose()


@pytest.mark.parametrize("version", ["0099", None])
def test_a_copy_of_a_later_release_is_refused_and_the_store_stays(
    store: Engine, tmp_path: Path, version: str | None
) -> None:
    write(store, event(1))
    backup(store, tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        copy.execute("DELETE FROM alembic_version")
        if version:
            copy.execute("INSERT INTO alembic_version VALUES (?)", (version,))
        copy.commit()
    with pytest.raises(StoreError, match=r"copy.db is (of a later release \(schema 0099\)|no store)"):
        restore(store, tmp_path / "copy.db")
    assert counted(store) == (1, 0, 0)
    store.dispose()


def test_a_copy_replaces_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    shop = Workspace.create(tmp_path / "my-shop")
    store = open_store(f"sqlite:///{shop.path / 'service' / 'store.db'}")
    write(store, event(1))
    backup(store, tmp_path / "copy.db")
    store.dispose()
    (shop.path / "service" / "store.db").write_bytes(b"SQLite format 3\0" + b"x" * 4_096)
    assert clickscape("restore", str(shop.path), str(tmp_path / "copy.db")).code == 0
    brought = open_store(f"sqlite:///{shop.path / 'service' / 'store.db'}")
    assert counted(brought) == (1, 0, 0)
    brought.dispose()
