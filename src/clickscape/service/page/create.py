"""The page *Create*: a photo and a title become a product; points correct its cut-out, and ads are made of it."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile

from clickscape.service import jobs, publishing
from clickscape.service.api.access import RefusedError
from clickscape.service.api.making import keep_uploads, start
from clickscape.service.downloads import GROUPS
from clickscape.service.jobs import Job, JobKind
from clickscape.service.page import store, words
from clickscape.service.page.review import predicted
from clickscape.service.page.templates import page
from clickscape.service.page.visit import TurnedAwayError, change, no_product, product_of, text_of, visitor_of

if TYPE_CHECKING:
    from clickscape.service.app import Service

router = APIRouter(include_in_schema=False)
_ADS = 4
_SAID: dict[str, str] = {"add_product": "Cutting the product out", "correct": "Correcting the cut-out",
                         "generate": "Making ads", "draw": "Drawing the ad"}  # fmt: skip
_Point = tuple[Annotated[int, Field(ge=0, lt=100_000)], Annotated[int, Field(ge=0, lt=100_000)]]


class Points(BaseModel):
    """Pixels of the photo that belong to the product, and that do not."""

    model_config = ConfigDict(extra="ignore")
    keep: list[_Point] = Field(max_length=50)
    drop: list[_Point] = Field(max_length=50)


@router.get("/create")
async def create(request: Request) -> Response:
    """Ask for a photo; or show a product's cut-out and ads, and the job that is at it."""
    service: Service = request.app.state.service
    visitor = await visitor_of(request, "approve")
    asked, job_id = product_of(request), text_of(request.query_params, "job")
    product = await asyncio.to_thread(store.product, service.engine, asked) if asked else None
    job = await asyncio.to_thread(jobs.find, service.engine, job_id) if job_id else None
    if asked and product is None and job is None:
        raise no_product(asked)
    creatives = await asyncio.to_thread(publishing.list_creatives, service.engine, asked) if asked else None
    shown = [one for one in creatives or [] if one.status != "retired"]
    given_title = job.payload.get("title") if job is not None else None
    points = {"keep": [], "drop": [], **(product.points if product else {})}
    return page(
        request, "create.html.j2", visitor=visitor, product=product, creatives=shown, predicted=predicted,
        asked=asked, given_title=given_title, points=json.dumps(points), groups=GROUPS, **_progress(job),
    )  # fmt: skip


@router.get("/page/job")
async def progress(request: Request) -> Response:
    """Say how far a job is; once it is done, the browser loads the page anew."""
    service: Service = request.app.state.service
    visitor = await visitor_of(request, "approve")
    asked = product_of(request)
    job = await asyncio.to_thread(jobs.find, service.engine, text_of(request.query_params, "job"))
    done = job is not None and job.status == "done"
    headers = {"hx-redirect": "/create?" + urlencode({"product": asked})} if done else None
    return page(request, "job.html.j2", visitor=visitor, headers=headers, asked=asked, **_progress(job))


@router.post("/page/add")
async def add(request: Request) -> Response:
    """Take a photo and a title, and have the product cut out."""
    service: Service = request.app.state.service
    async with change(request) as (_, form):
        title, photo = text_of(form, "title", most=300), form.get("photo")
        product_id = text_of(form, "product_id", most=200) or _named_after(title)
        if not title:
            raise TurnedAwayError(422, "The product has no title. Give it one.")
        if not isinstance(photo, UploadFile) or not photo.size:
            raise TurnedAwayError(422, "There is no photo. Choose one.")
        try:
            (name,) = await keep_uploads(service, [photo])
        except RefusedError as error:
            raise TurnedAwayError(error.status, words.sentence(error.detail)) from None
        category = [part.strip() for part in text_of(form, "category", most=300).split(">") if part.strip()]
        payload = {"product_id": product_id, "title": title, "category": category, "photo": name}
        return await _begun(service, "add_product", payload)


@router.post("/page/correct")
async def correct(request: Request) -> Response:
    """Cut a product out again, by points that a person set on its photo."""
    service: Service = request.app.state.service
    async with change(request) as (_, form):
        try:
            points = Points.model_validate_json(text_of(form, "points", most=5_000))
        except ValidationError:
            raise TurnedAwayError(422, "These points cannot be read. Load the page again.") from None
        product = await _product(service, text_of(form, "product"))
        if not product.has_photo:
            raise TurnedAwayError(409, "The photo of this product was not kept. Add it again.")
        return await _begun(service, "correct", {"product_id": product.product_id, **points.model_dump(mode="json")})


@router.post("/page/generate")
async def generate(request: Request) -> Response:
    """Have four ads made of a product; each time others."""
    service: Service = request.app.state.service
    async with change(request) as (_, form):
        product = await _product(service, text_of(form, "product"))
        made = sum(product.creatives.values())
        return await _begun(service, "generate", {"product_id": product.product_id, "keep": _ADS, "seed": made})


@router.post("/page/draw")
async def draw(request: Request) -> Response:
    """Have an ad drawn by a description that a person edited."""
    service: Service = request.app.state.service
    async with change(request) as (_, form):
        product = await _product(service, text_of(form, "product"))
        description = text_of(form, "description")
        if not description:
            raise TurnedAwayError(422, "The description is empty. Say what the picture shows.")
        payload = {"product_id": product.product_id, "description": description}
        return await _begun(service, "draw", payload | {"parent_id": text_of(form, "parent") or None})


async def _begun(service: Service, kind: JobKind, payload: dict[str, Any]) -> Response:
    job = await start(service, kind, payload)
    return RedirectResponse("/create?" + urlencode({"product": payload["product_id"], "job": job.job_id}), 303)


async def _product(service: Service, product_id: str) -> store.PageProduct:
    found = await asyncio.to_thread(store.product, service.engine, product_id)
    if found is None:
        raise no_product(product_id)
    return found


def _progress(job: Job | None) -> dict[str, Any]:
    return {"job": job, "doing": _SAID.get(job.kind, "Working") if job else ""}


def _named_after(title: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60]
    return f"{words or 'product'}-{secrets.token_hex(2)}"
