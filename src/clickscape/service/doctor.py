"""What is wrong with a workspace and its service, each with its remedy: for whoever is called at night."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from clickscape.catalog.publishable import stale
from clickscape.errors import ClickscapeError, first_line
from clickscape.service import jobs, schema
from clickscape.service.store import shown
from clickscape.service.workspace_sync import simulated_log
from clickscape.stages.experiment import KEY_FILE
from clickscape.workspace import Workspace

_UNKNOWN = 0.01
"""Share of events without a decision above which a client is thought to send wrong ones."""

_WAITS = 120_000_000  # microseconds that a job may wait before its worker is thought to be gone


def problems(workspace: Workspace, engine: Engine, *, now: int | None = None) -> Iterator[str]:
    """Yield one line for each thing that is wrong: what, and what to do. Nothing is changed."""
    moment = time.time_ns() // 1_000 if now is None else now
    yield from _of_workspace(workspace)
    yield from _of_store(workspace, engine, now=moment)


def _of_workspace(workspace: Workspace) -> Iterator[str]:
    products = []
    try:
        _ = workspace.settings
        products = workspace.products() if workspace.products_path.exists() else []
        creatives = workspace.creatives()
    except ClickscapeError as error:
        yield str(error)
        return
    if not products:
        yield f"no products. Run `clickscape ingest {workspace.path.name} my-catalog.csv`."
    if lost := [one.product_id for one in products if not Path(one.image).is_file()]:
        yield f"{len(lost)} products lack their cut-out, {lost[0]!r} first. Ingest the catalog again."
    shown_ones = [one for one in creatives if one.status in ("approved", "live")]
    if lost := [one.creative_id for one in shown_ones if not Path(one.image).is_file()]:
        yield f"{len(lost)} creatives that may be served lack their picture, {lost[0]!r} first. Retire or draw them."
    if (invented := simulated_log(workspace)) is not None:
        yield f"{invented} holds clicks of simulated users, so events are not pulled beside it. Move it out."
    if old := stale(shown_ones, {one.product_id: one for one in products}):
        yield f"{len(old)} creatives are of products that have changed. Run `clickscape refresh {workspace.path.name}`."
    key = workspace.path / "experiments" / KEY_FILE
    if key.is_file() and stat.S_IMODE(key.stat().st_mode) & 0o077:
        yield f"{key} can be read by other users. Run `chmod 600 {key}`."


def _of_store(workspace: Workspace, engine: Engine, *, now: int) -> Iterator[str]:
    name = workspace.path.name
    try:
        with engine.connect() as connection:
            keys, held, queue = schema.api_keys, schema.creatives, schema.jobs
            if not connection.execute(sa.select(sa.func.count()).where(keys.c.revoked_at.is_(None))).scalar_one():
                yield f"no API key is in use. Run `clickscape keys add {name} --role admin`."
            failed = connection.execute(
                sa.select(queue.c.kind, queue.c.message).where(queue.c.status == "failed").order_by(
                    queue.c.created_at.desc())
            ).all()  # fmt: skip
            if failed:
                yield f"{len(failed)} jobs failed this week, last {failed[0].kind}: {failed[0].message}"
            waiting = sa.and_(queue.c.status == "queued", queue.c.created_at < now - _WAITS)
            silent = sa.and_(queue.c.status == "running", queue.c.heartbeat_at < now - jobs.SILENT)
            if connection.execute(sa.select(queue.c.job_id).where(sa.or_(waiting, silent))).first():
                yield f"jobs wait and nobody does them. Is `clickscape serve {name}` running?"
            served = held.c.status.in_(("approved", "live"))
            if not connection.execute(sa.select(held.c.creative_id).where(served)).first():
                yield "no creative is approved, so nothing can be served. Approve some on the page, or with `review`."
            events = schema.events
            rows = connection.execute(sa.select(events.c.attribution, sa.func.count()).group_by(events.c.attribution))
            counted: dict[str, int] = {attribution: number for attribution, number in rows}  # noqa: C416
            total, unknown = sum(counted.values()), counted.get("unknown", 0)
            if total and unknown > _UNKNOWN * total:
                yield f"{unknown:,} of {total:,} events name decisions that nobody made. Look at what clients send."
    except sa.exc.DBAPIError as error:
        yield f"{shown(engine.url)}: does not answer ({first_line(error.orig or error)}). Check that it runs."
