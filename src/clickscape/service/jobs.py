"""A queue of jobs in the store: what takes seconds runs in a worker process, and survives a kill of it.

A worker claims the oldest job, tells that it lives while it works, and notes the result. A job whose worker has been
silent for a minute is claimed again; what a job does must therefore be safe to do twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from clickscape.service import schema

JobKind = Literal[
    "add_product", "generate", "draw", "score", "publish", "pull", "correct", "read", "heat_map", "export",
    "export_labels", "import_labels", "experiments", "predict",
]  # fmt: skip
JobStatus = Literal["queued", "running", "done", "failed"]
KINDS: tuple[JobKind, ...] = get_args(JobKind)
SILENT = 60_000_000  # microseconds without a sign of life, after which another worker takes a job over
ATTEMPTS = 3
_MOST_WAITING = 1_000  # jobs; who asks for more is told to wait
_KEPT = 7 * 86_400_000_000  # microseconds for which a finished job can be looked up


@dataclass(frozen=True, slots=True)
class Job:
    """A job and how far it is: `done` of `total` steps, and what it is at; `result` once it is done."""

    job_id: str
    kind: JobKind
    payload: Mapping[str, Any]
    status: JobStatus
    done: int
    total: int
    message: str
    result: Mapping[str, Any] | None
    attempts: int


class TooManyJobsError(Exception):
    """More jobs wait than may: the caller asks again later."""


def enqueue(connection: Connection, kind: JobKind, payload: Mapping[str, Any], *, now: int) -> str:
    """Add a job and return its id; an equal one that still waits is returned instead. TooManyJobsError."""
    jobs = schema.jobs
    waiting = connection.execute(sa.select(jobs.c.job_id, jobs.c.payload).where(
        jobs.c.kind == kind, jobs.c.status == "queued")).all()  # fmt: skip
    if same := next((job_id for job_id, held in waiting if held == dict(payload)), None):
        return str(same)
    if connection.execute(sa.select(sa.func.count()).where(jobs.c.status == "queued")).scalar_one() >= _MOST_WAITING:
        raise TooManyJobsError
    job_id = secrets.token_hex(16)
    connection.execute(
        sa.insert(jobs).values(
            job_id=job_id, kind=kind, payload=dict(payload), status="queued", done=0, total=0, message="", attempts=0,
            created_at=now, heartbeat_at=now,
        )
    )  # fmt: skip
    return job_id


def find(engine: Engine, job_id: str) -> Job | None:
    """Return a job, None for no such id."""
    with engine.connect() as connection:
        row = connection.execute(sa.select(schema.jobs).where(schema.jobs.c.job_id == job_id)).one_or_none()
    return None if row is None else _job(row)


def claim(engine: Engine, *, now: int) -> Job | None:
    """Return the job to do next, now marked as running, or None; one that failed its worker too often is given up."""
    jobs = schema.jobs
    is_silent = sa.or_(jobs.c.heartbeat_at < now - SILENT, jobs.c.heartbeat_at > now + SILENT)  # a clock was set back
    abandoned = sa.and_(jobs.c.status == "running", is_silent)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(
            sa.update(jobs)
            .where(abandoned, jobs.c.attempts >= ATTEMPTS)
            .values(status="failed", message="its worker ended three times. The service's log says more.")
        )
        connection.execute(
            sa.delete(jobs).where(jobs.c.status.in_(("done", "failed")), jobs.c.created_at < now - _KEPT)
        )
        row = connection.execute(
            sa.select(jobs)
            .where(sa.or_(jobs.c.status == "queued", abandoned))
            .order_by(jobs.c.created_at, jobs.c.job_id)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            return None
        connection.execute(
            sa.update(jobs)
            .where(jobs.c.job_id == row.job_id)
            .values(status="running", attempts=row.attempts + 1, heartbeat_at=now)
        )
    return _job(row)


def tell(engine: Engine, job_id: str, *, now: int, **values: object) -> None:
    """Note that a job's worker lives, and how far it is: any of done, total, message, status and result."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(
            sa.update(schema.jobs).where(schema.jobs.c.job_id == job_id).values(heartbeat_at=now, **values)
        )


def _job(row: Any) -> Job:
    return Job(
        row.job_id, row.kind, row.payload, row.status, row.done, row.total, row.message, row.result, row.attempts
    )
