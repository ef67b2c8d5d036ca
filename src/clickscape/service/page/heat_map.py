"""The heat map of an ad on *Review*: drawn by the worker when somebody asks for it, then shown over the ad."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response

from clickscape.errors import WorkspaceError
from clickscape.files import file_name
from clickscape.json_files import read_json
from clickscape.regular_files import inside
from clickscape.service import jobs
from clickscape.service.api.making import start
from clickscape.service.jobs import Job
from clickscape.service.page import store, words
from clickscape.service.page.templates import page
from clickscape.service.page.visit import TurnedAwayError, change, text_of, visitor_of

if TYPE_CHECKING:
    from clickscape.service.app import Service

router = APIRouter(include_in_schema=False)
_MAPS = "explanations/maps"  # stages.heat_map.MAPS: what answers imports no stage
_MOST = 4  # regions that the words name


@dataclass(frozen=True, slots=True)
class _Region:
    place: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class _Record:
    regions: tuple[_Region, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """How an ad is looked at: without a map, while it is drawn, with it, or why there is none.

    said: what the map says in words, a line each, or why there is none.
    """

    state: Literal["none", "drawing", "shown", "impossible"]
    said: Sequence[str] = ()
    job_id: str = ""


def look(workspace: Path, creative_id: str) -> Look:
    """Return the heat map of an ad if it was drawn and no reward model was trained since."""
    try:
        record = inside(workspace, f"{_MAPS}/{file_name(creative_id)}.json")
        model = inside(workspace, "models/reward")
        if record.stat().st_mtime_ns < model.stat().st_mtime_ns:
            return Look("none")
        return Look("shown", in_words(read_json(record, _Record).regions))
    except (OSError, WorkspaceError):
        return Look("none")


def in_words(regions: Sequence[_Region]) -> list[str]:
    """Return how often the ad wins against itself with a region hidden, for the strongest that are no chance."""
    ordered = sorted(regions, key=lambda one: -abs(one.value))
    if any(one.low is None for one in regions):
        return [*(f"{_effect(one)}." for one in ordered[:_MOST]), "This reward model cannot say how sure it is."]
    sure = [
        f"{_effect(one)} (95 %: {_wins(one.low)} to {_wins(one.high)})."
        for one in ordered
        if one.low is not None and one.high is not None and not one.low <= 0 <= one.high
    ]
    return [*sure[:_MOST], "Elsewhere: not enough evidence." if sure else "Not enough evidence: no region stands out."]


def _effect(region: _Region) -> str:
    said = "Helps" if region.value > 0 else "Hurts"
    return f"{said}: {region.place}. With it the ad beats itself without it {_wins(region.value)} of 100 times"


def _wins(log_odds: float) -> str:
    return f"{50 + 50 * math.tanh(log_odds / 2):.0f}"


@router.post("/page/heat-map")
async def ask(request: Request) -> Response:
    """Have the heat map of an ad drawn."""
    service: Service = request.app.state.service
    async with change(request, "read") as (_, form):
        creative_id = text_of(form, "creative")
        await _known(service, creative_id)
        job = await start(service, "heat_map", {"creative_id": creative_id})
        return await _answer(request, creative_id, Look("drawing", job_id=job.job_id))


@router.get("/page/heat-map")
async def progress(request: Request) -> Response:
    """Show the heat map of an ad once it is drawn, why there is none, or that it is being drawn."""
    service: Service = request.app.state.service
    await visitor_of(request)
    creative_id = text_of(request.query_params, "creative")
    await _known(service, creative_id)
    job = await asyncio.to_thread(jobs.find, service.engine, text_of(request.query_params, "job"))
    return await _answer(request, creative_id, await asyncio.to_thread(_after, service.workspace, creative_id, job))


@router.get("/page/heat-map/picture")
async def picture(request: Request) -> Response:
    """Send the heat map of an ad."""
    service: Service = request.app.state.service
    await visitor_of(request)
    try:
        path = inside(service.workspace, f"{_MAPS}/{file_name(text_of(request.query_params, 'creative'))}.webp")
    except WorkspaceError:
        path = None
    if path is None or not path.is_file():
        raise TurnedAwayError(404, "There is no such heat map.")
    return FileResponse(path, headers={"cache-control": "private, no-cache"})


def _after(workspace: Path, creative_id: str, job: Job | None) -> Look:
    """What a job has come to."""
    if job is None:
        return Look("none")
    if job.status in ("queued", "running"):
        return Look("drawing", job_id=job.job_id)
    if reason := job.message if job.status == "failed" else (job.result or {}).get("reason", ""):
        return Look("impossible", [words.sentence(reason).rstrip(".") + "."])
    return look(workspace, creative_id)


async def _known(service: Service, creative_id: str) -> None:
    if await asyncio.to_thread(store.picture, service.engine, creative_id=creative_id) is None:
        raise TurnedAwayError(404, "There is no such ad.")


async def _answer(request: Request, creative_id: str, found: Look) -> Response:
    service: Service = request.app.state.service
    description = await asyncio.to_thread(store.description, service.engine, creative_id)
    return page(
        request, "look.html.j2", visitor=await visitor_of(request), look=found, creative_id=creative_id,
        description=description, is_asked=True,
    )  # fmt: skip
