"""The application: one process that answers HTTP from a store, and imports neither torch nor a model.

`create` wires the parts together; `clickscape serve` runs it on granian, with a worker process beside it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.engine import Engine
from starlette.exceptions import HTTPException

from clickscape.config import ClicksConfig, ServeConfig
from clickscape.errors import ClickscapeError, StoreError
from clickscape.service.api import access, catalog, experiments, health, making, serving
from clickscape.service.api.parsing import first_problem
from clickscape.service.event_writer import EventWriter, OverloadedError
from clickscape.service.jobs import TooManyJobsError
from clickscape.service.keys import KeyRing
from clickscape.service.limits import LOG, Limits
from clickscape.service.metrics import Metrics
from clickscape.service.page import catalog as catalog_page
from clickscape.service.page import create as create_page
from clickscape.service.page import experiments as experiments_page
from clickscape.service.page import files, heat_map, live, review, sign_in, visit
from clickscape.service.page.sessions import WrongKeys
from clickscape.service.selector import Propensities, Selector
from clickscape.service.store import is_unavailable

RETRY_AFTER = "2"


@dataclass
class Service:
    """What the routes share. `key`: 32 secret bytes that sign decisions and hash users; `now`: microseconds, UTC."""

    workspace: Path
    engine: Engine
    config: ServeConfig
    clicks: ClicksConfig
    key: bytes
    propensities: Propensities
    now: Callable[[], int] = lambda: time.time_ns() // 1_000
    metrics: Metrics = field(default_factory=Metrics)
    wrong_keys: WrongKeys = field(default_factory=WrongKeys)
    spent: dict[str, int] = field(default_factory=dict)  # requests of each key in the second that runs

    def __post_init__(self) -> None:
        self.keys = KeyRing(self.engine)
        self.writer = EventWriter(self.engine)
        self.selector = Selector(
            self.engine, propensities=self.propensities, refresh=self.config.refresh_seconds, now=self.now, key=self.key
        )

    @property
    def attribution_window(self) -> int:
        """Microseconds after a decision for which what comes of it may still be told and counts."""
        return round(3_600_000_000 * (self.clicks.attribution_hours + self.clicks.late_after_hours))

    def close(self) -> None:
        """Commit what waits, and end the threads."""
        self.writer.close()
        self.selector.close()
        self.engine.dispose()


def create(service: Service) -> FastAPI:
    """Return the application of a service; its OpenAPI page is at /docs, its schema at /openapi.json."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(title="clickscape", version="1", lifespan=life, docs_url=None, redoc_url=None)
    app.state.service = service
    app.add_middleware(serving.Fast, failed=_any)
    app.add_middleware(Limits, largest=int(service.config.largest_body_mb * 1_000_000))
    pages = (sign_in, create_page, review, heat_map, files, live, experiments_page, catalog_page)
    for routes in (serving, catalog, making, experiments, health, *pages):
        app.include_router(routes.router)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(access.RefusedError, _refused)
    app.add_exception_handler(visit.TurnedAwayError, visit.turned_away)
    app.add_exception_handler(HTTPException, _not_there)
    app.add_exception_handler(TooManyJobsError, _failed)
    app.add_exception_handler(Exception, _failed)
    app.add_exception_handler(ClickscapeError, _failed)
    app.add_exception_handler(OverloadedError, _failed)
    return app


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    """422 with one line that names the first thing that is wrong, without what was sent."""
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": first_problem(error.errors())}, 422)


async def _any(request: Request, error: Exception) -> Response:
    """Answer what was raised outside of the framework, as it would."""
    if isinstance(error, access.RefusedError):
        return await _refused(request, error)
    return await (_not_there if isinstance(error, HTTPException) else _failed)(request, error)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, access.RefusedError)
    return JSONResponse({"detail": error.detail}, error.status, error.headers)


async def _not_there(request: Request, error: Exception) -> Response:
    """404 and 405 of addresses that nobody serves, and 413, in the form that the caller reads."""
    assert isinstance(error, HTTPException)
    return _answer(request, error.status_code, f"{error.detail}.".replace("..", "."), error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    """503 where trying again may help, 400 for what the caller can mend, 500 with nothing said for the rest."""
    service: Service = request.app.state.service
    if isinstance(error, OverloadedError):
        return _answer(request, 503, "too many events wait. Send them again.", {"retry-after": RETRY_AFTER})
    if isinstance(error, TooManyJobsError):
        return _answer(request, 503, "too many jobs wait. Try again later.", {"retry-after": "60"})
    if is_unavailable(error):
        service.metrics.store_errors.inc()
        return _answer(request, 503, "the store does not answer. Try again.", {"retry-after": RETRY_AFTER})
    if isinstance(error, ClickscapeError) and not isinstance(error, StoreError):
        return _answer(request, 400, str(error))
    LOG.error("failed", exc_info=error, extra={"fields": {"path": request.url.path}})
    return _answer(request, 500, "the service failed. Its log says why.")


def _answer(request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A page for a person, JSON for a program."""
    if visit.is_of_page(request):
        return visit.failed(request, status, detail, headers=dict(headers or {}))
    return JSONResponse({"detail": detail}, status, dict(headers or {}))
