"""Every acknowledged event is stored once and counted once, whatever is sent again, in which order, by how many."""

from __future__ import annotations

import asyncio
import random
import threading
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from tests.service.conftest import NOW, counted, rows

from clickscape.service import event_writer, schema
from clickscape.service.event_writer import Event, EventWriter, OverloadedError, Written
from clickscape.service.store import is_unavailable, open_store

DAY = 86_400_000_000
COUNTS = schema.counts


def event(number: int, kind: str = "impression", **changes: object) -> Event:
    made = Event(
        f"{kind}-{number}", kind, "attributed", f"{number:016x}", "a", "mug", "feed", "0" * 16, "f" * 16, "bandit",  # type: ignore[arg-type]
        NOW, NOW, NOW,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def written(engine: Engine, *batches: list[Event]) -> list[Written]:
    writer = EventWriter(engine)
    futures = [writer.write(batch) for batch in batches]
    writer.close()
    return [future.result() for future in futures]


def test_events_are_stored_and_counted_by_product_creative_placement_and_day(engine: Engine) -> None:
    tomorrow = event(3, creative_id="b", decided_at=NOW + DAY)
    assert written(engine, [event(1), event(2), event(2, "click"), event(2, "conversion"), tomorrow]) == [Written(5, 0)]
    found = [(row.creative_id, row.day, row.impressions, row.clicks, row.conversions) for row in rows(engine, COUNTS)]
    assert found == [("a", NOW // DAY, 2, 1, 1), ("b", NOW // DAY + 1, 1, 0, 0)]
    assert len(rows(engine, schema.events)) == 5


def test_a_batch_that_is_sent_again_changes_nothing(engine: Engine) -> None:
    batch = [event(1), event(1, "click")]
    assert written(engine, batch, batch) == [Written(2, 0), Written(0, 2)]
    assert written(engine, batch) == [Written(0, 2)]
    assert counted(engine) == (1, 1, 0)


def test_an_id_twice_in_one_batch_is_one_event(engine: Engine) -> None:
    assert written(engine, [event(1), event(1)]) == [Written(1, 1)]
    assert counted(engine) == (1, 0, 0)


def test_a_decision_counts_one_impression_and_one_click_however_often_it_is_told(engine: Engine) -> None:
    told = [event(1, event_id=f"e{number}") for number in range(3)]
    told += [event(1, "click", event_id=f"c{number}") for number in range(3)]
    assert written(engine, told[:4], told[4:]) == [Written(4, 0), Written(2, 0)]
    assert counted(engine) == (1, 1, 0)
    assert len(rows(engine, schema.events)) == 6


@pytest.mark.parametrize("order", [("impression", "click"), ("click", "impression"), ("click",)])
def test_a_click_counts_its_impression_whichever_comes_first(engine: Engine, order: tuple[str, ...]) -> None:
    for kind in order:
        written(engine, [event(1, kind)])
    assert counted(engine) == (1, 1, 0)


def test_late_and_unknown_events_are_stored_and_count_for_no_creative(engine: Engine) -> None:
    unknown = Event("x", "click", "unknown", "?made-up", None, None, None, None, None, None, NOW, NOW)
    assert written(engine, [event(1, "click", attribution="late"), unknown]) == [Written(2, 0)]
    assert counted(engine) == (0, 0, 0)
    assert [row.attribution for row in rows(engine, schema.events)] == ["late", "unknown"]


def test_many_senders_with_repeats_are_counted_once(engine: Engine) -> None:
    rng = random.Random(0)
    sent = [event(number) for number in range(300)] + [event(number, "click") for number in range(0, 300, 3)]
    writers = [EventWriter(engine), EventWriter(engine)]  # two instances on one store

    def send(seed: int) -> None:
        mixed = random.Random(seed).sample(sent, len(sent))
        futures = [writers[seed % 2].write(mixed[start : start + 7]) for start in range(0, len(mixed), 7)]
        wait(futures)
        for future in futures:
            future.result()

    threads = [threading.Thread(target=send, args=(rng.randrange(2**30) * 2 + turn,)) for turn in (0, 1, 0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for writer in writers:
        writer.close()
    assert counted(engine) == (300, 100, 0)
    assert len(rows(engine, schema.events)) == 400


def test_nothing_is_acknowledged_that_the_store_refused(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE counts"))
    writer = EventWriter(engine)
    future = writer.write([event(1)])
    with pytest.raises(sa.exc.DBAPIError):
        future.result()
    writer.close()
    assert rows(engine, schema.events) == []
    assert rows(engine, schema.outcomes) == []


def test_more_than_may_wait_is_refused_at_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_writer, "_WAITING", 2)
    writer = EventWriter(engine)
    with pytest.raises(OverloadedError):
        writer.write([event(1), event(2), event(3)])
    assert writer.write([event(1), event(2)]).result() == Written(2, 0)
    assert writer.write([event(3)]).result() == Written(1, 0)
    writer.close()


def test_events_of_a_full_disk_are_refused_and_taken_once_there_is_room(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    limit = {"pages": 0}

    @sa.event.listens_for(engine, "begin")
    def _full(connection: sa.Connection) -> None:
        if limit["pages"]:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {limit['pages']}")

    with engine.connect() as connection:
        limit["pages"] = connection.exec_driver_sql("PRAGMA page_count").scalar_one() + 2
    writer = EventWriter(engine)
    batch = [event(number) for number in range(500)]
    with pytest.raises(sa.exc.OperationalError, match="full"):
        writer.write(batch).result()
    limit["pages"] = 1_000_000
    assert writer.write(batch).result() == Written(500, 0)
    writer.close()
    assert counted(engine) == (500, 0, 0)
    engine.dispose()


def test_a_database_that_ends_its_connections_under_load_loses_and_repeats_nothing(postgres: str) -> None:
    engine, other = open_store(postgres), open_store(postgres)
    with engine.begin() as connection:
        for table in ("events", "outcomes", "counts"):
            connection.execute(sa.text(f"TRUNCATE {table}"))
    end_all = sa.text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()"
    )
    stop, ended = threading.Event(), 0

    def end_connections() -> None:
        nonlocal ended
        while not stop.wait(0.02):
            with other.connect() as connection:
                ended += connection.execute(end_all).scalar_one()

    ending = threading.Thread(target=end_connections)
    ending.start()
    writer, refused = EventWriter(engine), 0
    for start in range(0, 600, 10):
        batch = [event(number) for number in range(start, start + 10)]
        while True:
            try:
                writer.write(batch).result()
                break
            except sa.exc.DBAPIError as error:  # a client sends again what was not acknowledged
                if not is_unavailable(error):
                    raise
                refused += 1
    stop.set()
    ending.join()
    writer.close()
    assert ended > 10
    assert refused > 0
    assert counted(engine) == (600, 0, 0)
    assert len(rows(engine, schema.events)) == 600
    engine.dispose()
    other.dispose()


def test_a_client_that_hangs_up_stops_nobody_elses_events(engine: Engine) -> None:
    writer = EventWriter(engine)

    async def hang_up() -> None:
        waiting = asyncio.ensure_future(asyncio.wrap_future(writer.write([event(1)])))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(hang_up())
    assert writer.write([event(2)]).result(timeout=30) == Written(1, 0)
    writer.close()
    assert counted(engine) == (2, 0, 0)
