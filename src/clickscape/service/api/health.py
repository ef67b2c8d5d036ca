"""Whether the process lives, whether it can serve, and what it counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response

from clickscape.service import schema

if TYPE_CHECKING:
    from clickscape.service.app import Service

router = APIRouter(tags=["operation"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that the process lives."""
    return {"status": "alive"}


@router.get("/readyz")
async def readyz(request: Request) -> dict[str, str]:
    """Say that the store answers; 503 where it does not."""
    service: Service = request.app.state.service
    await asyncio.to_thread(_ask, service)
    return {"status": "ready"}


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Return counters and times in Prometheus' text format; put it behind your network, it needs no key."""
    service: Service = request.app.state.service
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _ask(service: Service) -> None:
    with service.engine.connect() as connection:
        jobs = schema.jobs
        counted = connection.execute(sa.select(jobs.c.status, sa.func.count()).group_by(jobs.c.status)).all()
    numbers: dict[str, int] = {status: count for status, count in counted}  # noqa: C416  (a Row is no pair to mypy)
    for status in ("queued", "running", "failed"):
        service.metrics.jobs.labels(status).set(numbers.get(status, 0))
