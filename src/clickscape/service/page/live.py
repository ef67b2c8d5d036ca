"""The page *Live*: what is served, what it earned, who sees it now, and whether choosing beats showing all alike."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from clickscape.report.experiment_page import draw_plots
from clickscape.service import experiments, publishing, readings
from clickscape.service.page import store, words
from clickscape.service.page.templates import page
from clickscape.service.page.visit import TurnedAwayError, change, no_product, product_of, text_of, visitor_of
from clickscape.service.publishing import SERVED, CreativeRow
from clickscape.service.selector import NothingToServeError, read_traffic
from clickscape.types import Estimate

if TYPE_CHECKING:
    from clickscape.service.app import Service

router = APIRouter(include_in_schema=False)
_DAY = 86_400_000_000
_BAR = 100.0  # units of a chart's width


@dataclass(frozen=True, slots=True)
class LiveRow:
    """A creative that is or was served: its CTR, None without impressions, and its share of traffic now.

    worn: why it is to be replaced, as `read_events.of_fatigue` says, None where nothing says so. is_ahead: whether its
    interval lies above those of all other ads that are served.
    """

    creative: CreativeRow
    ctr: Estimate | None
    share: float | None
    worn: Mapping[str, Any] | None
    bar: tuple[float, float, float] | None  # of the interval and the value in a chart, 0..100
    is_ahead: bool


@router.get("/live")
async def live(request: Request) -> Response:
    """Show a product's served creatives; htmx asks for the figures alone every few seconds."""
    service: Service = request.app.state.service
    visitor = await visitor_of(request)
    products = await asyncio.to_thread(store.served, service.engine)
    asked = product_of(request) or (products[0].product_id if products else "")
    product = await asyncio.to_thread(store.product, service.engine, asked) if asked else None
    if asked and product is None:
        raise no_product(asked)
    values: dict[str, Any] = {"product": product}
    if product is not None:
        values |= await asyncio.to_thread(_figures, service, asked)
    is_part = request.headers.get("hx-request") == "true"
    return page(
        request, "figures.html.j2" if is_part else "live.html.j2", visitor=visitor, products=products,
        experiments=await asyncio.to_thread(experiments.list_experiments, service.engine), **values,
    )  # fmt: skip


@router.post("/page/ship")
async def ship(request: Request) -> Response:
    """Give all of a product's traffic to one creative: the others that are served are retired."""
    service: Service = request.app.state.service
    async with change(request) as (visitor, form):
        wanted, product_id = text_of(form, "creative"), text_of(form, "product")

        def give() -> None:
            with service.engine.connect().execution_options(writes=True) as connection, connection.begin():
                publishing.give_all_traffic(
                    connection, {product_id: wanted}, reason=f"shipped {wanted}", key_id=visitor.key.key_id,
                    now=service.now(),
                )  # fmt: skip

        try:
            await asyncio.to_thread(give)
        except publishing.NotAllowedError:
            raise TurnedAwayError(409, "This ad is not served any more. Load the page again.") from None
        return await _changed(request, service, product_id)


@router.post("/page/stop")
async def stop(request: Request) -> Response:
    """Retire a creative: it is shown to nobody from now on."""
    service: Service = request.app.state.service
    async with change(request) as (visitor, form):
        try:
            row = await asyncio.to_thread(
                publishing.decide, service.engine, text_of(form, "creative"), decision="retire", reason="stopped",
                key_id=visitor.key.key_id, now=service.now(),
            )  # fmt: skip
        except publishing.NotAllowedError as error:
            raise TurnedAwayError(409, words.sentence(str(error))) from None
        if row is None:
            raise TurnedAwayError(404, "There is no such ad.")
        return await _changed(request, service, row.product_id)


async def _changed(request: Request, service: Service, product_id: str) -> Response:
    service.selector.forget(product_id)
    product = await asyncio.to_thread(store.product, service.engine, product_id)
    values = await asyncio.to_thread(_figures, service, product_id)
    return page(request, "figures.html.j2", visitor=await visitor_of(request), product=product, **values)


def _figures(service: Service, product_id: str) -> dict[str, Any]:
    """What the templates show of a product; where a reading is old, the worker is asked for a new one."""
    found = publishing.list_creatives(service.engine, product_id) or []
    placement = store.busiest_placement(service.engine, product_id)
    shares = _shares(service, product_id, placement)
    shown = [one for one in found if one.status in SERVED or (one.status == "retired" and one.impressions)]
    shown.sort(key=lambda one: (one.status not in SERVED, -one.impressions, one.creative_id))
    held, fatigue = (_newest(service, shown, *about) for about in (("product", product_id), ("fatigue", "")))
    worn = {} if fatigue is None else fatigue.content["worn"]
    bots = {} if held is None else held.content.get("bots", {})
    shown = [_without(one, bots.get("counts", {})) for one in shown]
    estimates = {one.creative_id: words.ctr(one.clicks, one.impressions) for one in shown}
    widest = max((one.high for one in estimates.values() if one), default=0.0)
    rows = [
        LiveRow(one, (made := estimates[one.creative_id]), shares.get(one.creative_id),
                worn.get(one.creative_id) if one.status in SERVED else None, _bar(made, widest),
                _is_ahead(made, [estimates.get(other) for other in shares if other != one.creative_id]))
        for one in shown
    ]  # fmt: skip
    reading = None if held is None else held.experiment
    course = draw_plots(reading, key="choosing-").courses[0] if reading is not None else None
    return {
        "rows": rows, "placement": placement, "is_read": held is not None, "reading": reading, "course": course,
        "holdback": service.config.holdback, "bots": sum(number for number, _ in bots.get("counts", {}).values()),
        "compared": experiments.list_experiments(service.engine, product_id=product_id),
    }  # fmt: skip


def _without(creative: CreativeRow, bots: Mapping[str, tuple[int, int]]) -> CreativeRow:
    """A creative whose impressions and clicks are those of people."""
    shown, clicked = bots.get(creative.creative_id, (0, 0))
    return replace(
        creative, impressions=max(creative.impressions - shown, 0), clicks=max(creative.clicks - clicked, 0)
    )  # fmt: skip


def _newest(service: Service, shown: Sequence[CreativeRow], about: readings.About, name: str) -> readings.Kept | None:
    held = readings.newest(service.engine, about, name)
    if any(one.impressions for one in shown):
        readings.ask_anew(service.engine, about, name, held=held, now=service.now())
    return held


def _shares(service: Service, product_id: str, placement: str) -> Mapping[str, float]:
    """The probability with which each creative is chosen now at a placement, for those who are not held back."""
    try:
        with service.engine.connect() as connection:
            traffic = read_traffic(connection, product_id, now=service.now())
    except NothingToServeError:
        return {}
    ids = [one.creative_id for one in traffic.candidates]
    return dict(zip(ids, service.propensities(traffic, placement, service.now() // _DAY), strict=True))


def _is_ahead(made: Estimate | None, others: Sequence[Estimate | None]) -> bool:
    """Whether an ad is surely clicked more often than the others; not where one of them has no impression yet."""
    return made is not None and bool(others) and all(one is not None and made.low > one.high for one in others)


def _bar(made: Estimate | None, widest: float) -> tuple[float, float, float] | None:
    if made is None or widest <= 0:
        return None
    return tuple(round(_BAR * one / widest, 2) for one in (made.low, made.high, made.value))  # type: ignore[return-value]
