"""What takes seconds: adding a product, drawing creatives, scoring pictures. Each answers with a job to look at."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import UploadFile as Uploaded

from clickscape.errors import printable
from clickscape.files import atomic_file
from clickscape.regular_files import inside
from clickscape.service import jobs
from clickscape.service.api.access import Needs, RefusedError
from clickscape.service.jobs import Job, JobKind, JobStatus
from clickscape.service.publishing import UPLOADS, has_product, list_creatives

if TYPE_CHECKING:
    from clickscape.service.app import Service

router = APIRouter(prefix="/v1", tags=["making"])
_PICTURES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp"}
_MOST_SCORED = 20
_WAIT = 30.0  # seconds that a caller waits for scores


class JobOut(BaseModel):
    """A job: how far it is, and its result once it is done; `message` says what it is at, or why it failed."""

    job_id: str
    kind: JobKind
    status: JobStatus
    done: int
    total: int
    message: str
    result: dict[str, Any] | None


class Score(BaseModel):
    """One picture's score: log odds against the other pictures, with its 95 % interval; null where `reason` says why.

    `image` is its place among those that were sent, or `creative_id` its name.
    """

    image: int | None = None
    creative_id: str | None = None
    score: float | None
    low: float | None
    high: float | None
    reason: str
    surely_ahead_of_the_next: bool | None


class ScoreOut(BaseModel):
    """Scores, best first; null while the job is not done, or where `reason` says why there are none."""

    job_id: str
    status: JobStatus
    scores: list[Score] | None
    reason: str


class Generate(BaseModel):
    """How many creatives to make of a product."""

    model_config = ConfigDict(extra="forbid")
    keep: int = Field(4, ge=1, le=16)
    seed: int = Field(0, ge=0, lt=2**31)


class Draw(BaseModel):
    """A description to draw a product by, and the creative that it was edited from, if any."""

    model_config = ConfigDict(extra="forbid")
    description: str = Field(min_length=1, max_length=500)
    parent_id: str | None = Field(None, max_length=200)


@router.post("/products", status_code=202)
async def add_product(
    request: Request,
    _: Annotated[object, Depends(Needs("approve"))],
    photo: Annotated[UploadFile, File(description="PNG, JPEG, WebP, GIF or BMP of one product")],
    title: Annotated[str, Form(min_length=1, max_length=300)],
    product_id: Annotated[str, Form(min_length=1, max_length=200)],
    category: Annotated[str, Form(max_length=300, description="coarse > fine")] = "",
    price: Annotated[float | None, Form(ge=0)] = None,
    currency: Annotated[str | None, Form(max_length=3)] = None,
) -> JobOut:
    """Cut a product out of its photo and add it to the catalog, or put it in the place of the one of its id."""
    service: Service = request.app.state.service
    (name,) = await keep_uploads(service, [photo])
    path = [part.strip() for part in category.split(">") if part.strip()]
    payload = {"product_id": product_id, "title": title, "category": path, "price": price, "currency": currency}
    return await start(service, "add_product", payload | {"photo": name})


@router.post("/products/{product_id}/creatives", status_code=202)
async def generate(
    request: Request, product_id: str, given: Generate, _: Annotated[object, Depends(Needs("approve"))]
) -> JobOut:
    """Write descriptions for a product and draw the best of them as drafts."""
    service: Service = request.app.state.service
    await _require(service, product_id)
    return await start(service, "generate", {"product_id": product_id, "keep": given.keep, "seed": given.seed})


@router.post("/products/{product_id}/draw", status_code=202)
async def draw(
    request: Request, product_id: str, given: Draw, _: Annotated[object, Depends(Needs("approve"))]
) -> JobOut:
    """Draw a product by a description that a person wrote or edited, as a draft."""
    service: Service = request.app.state.service
    await _require(service, product_id)
    payload = {"product_id": product_id, "description": given.description, "parent_id": given.parent_id}
    return await start(service, "draw", payload)


@router.post("/score")
async def score(
    request: Request,
    _: Annotated[object, Depends(Needs("read"))],
    product_id: Annotated[str, Form(min_length=1, max_length=200)],
    images: Annotated[list[UploadFile] | None, File(description="pictures of the product")] = None,
    creatives: Annotated[list[str] | None, Form(description="ids of creatives of the product")] = None,
) -> ScoreOut:
    """Score pictures of a product against each other by the reward model, at most 20: with interval, or why not.

    Waits for at most half a minute; then `status` is still running, and /v1/jobs has the result later.
    """
    service: Service = request.app.state.service
    await _require(service, product_id)
    sent, named = images or [], creatives or []
    if not 1 <= len(sent) + len(named) <= _MOST_SCORED:
        raise RefusedError(422, f"images, creatives: 1 to {_MOST_SCORED} together")
    held = await asyncio.to_thread(list_creatives, service.engine, product_id) if named else None
    known = {one.creative_id for one in held or ()}
    if lost := [name for name in named if name not in known]:
        raise RefusedError(404, f"the product has no creative {printable(lost[0])[:80]!r}.")
    names = await keep_uploads(service, sent)
    job = await start(service, "score", {"product_id": product_id, "images": names, "creatives": named})
    until = time.monotonic() + _WAIT
    while job.status in ("queued", "running") and time.monotonic() < until:
        await asyncio.sleep(0.1)
        job = await look(service, job.job_id)
    result = job.result or {"scores": None, "reason": job.message if job.status == "failed" else ""}
    return ScoreOut(job_id=job.job_id, status=job.status, **result)


@router.get("/jobs/{job_id}")
async def job(request: Request, job_id: str, _: Annotated[object, Depends(Needs("read"))]) -> JobOut:
    """Look at a job."""
    service: Service = request.app.state.service
    return await look(service, job_id)


async def start(service: Service, kind: JobKind, payload: dict[str, Any]) -> JobOut:
    """Add a job to the queue and return it."""

    def add() -> str:
        with service.engine.connect().execution_options(writes=True) as connection, connection.begin():
            return jobs.enqueue(connection, kind, payload, now=service.now())

    return await look(service, await asyncio.to_thread(add))


async def look(service: Service, job_id: str) -> JobOut:
    """Return a job as it is now; RefusedError with 404 for none."""
    found = await asyncio.to_thread(jobs.find, service.engine, job_id)
    if found is None:
        raise RefusedError(404, "no such job; finished ones are kept for a week.")
    return _out(found)


async def keep_uploads(service: Service, files: Sequence[Uploaded]) -> list[str]:
    """Write uploads under names of ours and return those; RefusedError with 422 for what is no picture.

    Only the first bytes are looked at here; pictures are opened in a process with limits.
    """
    names = []
    for file in files:
        data = await file.read()
        ending = next((ending for begin, ending in _PICTURES.items() if data.startswith(begin)), None)
        if ending is None:
            raise RefusedError(422, "a picture is no PNG, JPEG, WebP, GIF or BMP. Convert it.")
        name = secrets.token_hex(16) + ending
        await asyncio.to_thread(_write, inside(service.workspace, f"{UPLOADS}/{name}"), data)
        names.append(name)
    return names


async def _require(service: Service, product_id: str) -> None:
    if not await asyncio.to_thread(has_product, service.engine, product_id):
        raise RefusedError(404, "no such product.")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def _out(found: Job) -> JobOut:
    return JobOut(
        job_id=found.job_id, kind=found.kind, status=found.status, done=found.done, total=found.total,
        message=found.message, result=None if found.result is None else dict(found.result),
    )  # fmt: skip
