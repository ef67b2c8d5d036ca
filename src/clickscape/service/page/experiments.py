"""The page of an experiment: what it compares, what it shows today, and the buttons that end it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from clickscape.report.experiment_page import draw_plots, headline
from clickscape.service import experiments, readings
from clickscape.service.experiments import StoredExperiment
from clickscape.service.page import words
from clickscape.service.page.templates import page
from clickscape.service.page.visit import TurnedAwayError, change, text_of, visitor_of
from clickscape.service.publishing import NotAllowedError

if TYPE_CHECKING:
    from clickscape.service.app import Service

router = APIRouter(include_in_schema=False)
_MOST_PRODUCTS = 12  # whose ads are shown


@router.get("/live/experiment")
async def experiment(request: Request) -> Response:
    """Show an experiment; htmx asks for the figures alone every few seconds."""
    service: Service = request.app.state.service
    visitor = await visitor_of(request)
    name = text_of(request.query_params, "name")
    found = await asyncio.to_thread(experiments.find_experiment, service.engine, name)
    if found is None:
        raise TurnedAwayError(404, "There is no such experiment.")
    is_part = request.headers.get("hx-request") == "true"
    return page(
        request, "experiment_figures.html.j2" if is_part else "experiment.html.j2", visitor=visitor,
        **await asyncio.to_thread(_values, service, found),
    )  # fmt: skip


@router.post("/page/experiment/stop")
async def stop(request: Request) -> Response:
    """End an experiment: the bandit chooses for its users again."""
    service: Service = request.app.state.service
    async with change(request) as (_, form):
        found = await asyncio.to_thread(
            experiments.stop_experiment, service.engine, text_of(form, "name"), now=service.now()
        )
        return await _changed(request, service, found)


@router.post("/page/experiment/ship")
async def ship(request: Request) -> Response:
    """End an experiment and give all traffic of its products to one variant."""
    service: Service = request.app.state.service
    async with change(request) as (visitor, form):
        try:
            found = await asyncio.to_thread(
                experiments.ship, service.engine, text_of(form, "name"), text_of(form, "variant"),
                key_id=visitor.key.key_id, now=service.now(),
            )  # fmt: skip
        except NotAllowedError as error:
            raise TurnedAwayError(409, words.sentence(str(error))) from None
        return await _changed(request, service, found)


async def _changed(request: Request, service: Service, found: StoredExperiment | None) -> Response:
    if found is None:
        raise TurnedAwayError(404, "There is no such experiment.")
    for product_id in found.definition.products:
        service.selector.forget(product_id)
    values = await asyncio.to_thread(_values, service, found)
    return page(request, "experiment_figures.html.j2", visitor=await visitor_of(request), **values)


def _values(service: Service, found: StoredExperiment) -> dict[str, Any]:
    held = readings.of_stored(service.engine, found, window=service.attribution_window, now=service.now())
    reading = None if held is None else held.experiment
    definition = found.definition
    return {
        "experiment": found, "one": definition, "is_read": held is not None, "reading": reading,
        "plots": None if reading is None else draw_plots(reading),
        "headlines": [] if reading is None else [headline(one, reading) for one in reading.variants if one.decision],
        "shown": definition.products[:_MOST_PRODUCTS], "of_variant": {one.name: one for one in definition.variants},
        "bots": 0 if held is None else held.content.get("bots", {}).get("users", 0),
        "read_of": {} if reading is None else {one.name: one for one in reading.variants},
    }  # fmt: skip
