"""Files out of the page and into it: an ad in the sizes of its placements, and labels for Label Studio and back."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response
from starlette.datastructures import UploadFile

from clickscape.errors import WorkspaceError
from clickscape.files import atomic_file
from clickscape.regular_files import inside
from clickscape.service import jobs
from clickscape.service.api.making import JobOut, start
from clickscape.service.downloads import DOWNLOADS, GROUPS
from clickscape.service.jobs import Job
from clickscape.service.page import store
from clickscape.service.page.templates import page
from clickscape.service.page.visit import TurnedAwayError, change, text_of, visitor_of
from clickscape.service.publishing import SERVED, UPLOADS

if TYPE_CHECKING:
    from clickscape.service.app import Service

router = APIRouter(include_in_schema=False)
_SAID = {"export": "Drawing the ad for its placements", "export_labels": "Collecting labels",
         "import_labels": "Reading labels"}  # fmt: skip


@router.post("/page/export")
async def export(request: Request) -> Response:
    """Have an approved ad drawn for a group of placements."""
    service: Service = request.app.state.service
    async with change(request) as (_, form):
        creative_id, group = text_of(form, "creative"), text_of(form, "group")
        status = await asyncio.to_thread(store.status, service.engine, creative_id)
        if status is None:
            raise TurnedAwayError(404, "There is no such ad.")
        if status not in SERVED:
            raise TurnedAwayError(409, "Only approved ads are downloaded for placements. Approve it first.")
        if group not in GROUPS:
            raise TurnedAwayError(422, "There are no such placements.")
        payload = {"creative_id": creative_id, "group": group, "placements": list(GROUPS[group][1])}
        return await _begun(request, await start(service, "export", payload))


@router.post("/page/labels/export")
async def export_labels(request: Request) -> Response:
    """Have pairs of ads written as tasks for Label Studio."""
    async with change(request):
        return await _begun(request, await start(request.app.state.service, "export_labels", {}))


@router.post("/page/labels/import")
async def import_labels(request: Request) -> Response:
    """Take what people answered in Label Studio."""
    service: Service = request.app.state.service
    async with change(request) as (_, form):
        sent = form.get("file")
        if not isinstance(sent, UploadFile) or not sent.size:
            raise TurnedAwayError(422, "There is no file. Choose what Label Studio exported as JSON.")
        data = await sent.read()
        if not data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
            raise TurnedAwayError(422, "This is no list in JSON. Export the project from Label Studio as JSON.")
        name = f"{secrets.token_hex(16)}.json"
        path = inside(service.workspace, f"{UPLOADS}/{name}")

        def write() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as temporary:
                temporary.write_bytes(data)

        await asyncio.to_thread(write)
        return await _begun(request, await start(service, "import_labels", {"file": name}))


@router.get("/page/work")
async def progress(request: Request) -> Response:
    """Say how far a job is, and where its file is once it is done."""
    service: Service = request.app.state.service
    await visitor_of(request, "approve")
    return await _begun(request, await _job(service, text_of(request.query_params, "job")))


@router.get("/page/download")
async def download(request: Request) -> Response:
    """Send the file that a job made."""
    service: Service = request.app.state.service
    await visitor_of(request, "approve")
    job = await _job(service, text_of(request.query_params, "job"))
    name = str((job.result or {}).get("file", "")) if job.kind in ("export", "export_labels") else ""
    try:
        path = inside(service.workspace, name) if name.startswith(f"{DOWNLOADS}/") else None
    except WorkspaceError:
        path = None
    if path is None or not path.is_file():
        raise TurnedAwayError(404, "There is no such file. Ask for it again.")
    return FileResponse(
        path, filename=f"{path.parent.name}-{path.name}", headers={"cache-control": "private, no-store"}
    )


async def _job(service: Service, job_id: str) -> Job:
    found = await asyncio.to_thread(jobs.find, service.engine, job_id)
    if found is None or found.kind not in _SAID:
        raise TurnedAwayError(404, "There is no such job: finished ones are kept for a week.")
    return found


async def _begun(request: Request, job: Job | JobOut) -> Response:
    return page(
        request, "work.html.j2", visitor=await visitor_of(request), job=job, doing=_SAID[job.kind],
        result=job.result or {},
    )  # fmt: skip
