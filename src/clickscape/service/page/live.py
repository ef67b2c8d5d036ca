"""The page *Live*: what is served, what it earned, who sees it now, and whether choosing beats showing all alike."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from clickscape.service import jobs, publishing
from clickscape.service.page import store, words
from clickscape.service.page.templates import page
from clickscape.service.page.visit import TurnedAwayError, change, text_of, visitor_of
from clickscape.service.publishing import SERVED, CreativeRow
from clickscape.service.selector import NothingToServeError, read_traffic
from clickscape.types import Estimate

if TYPE_CHECKING:
    from clickscape.service.app import Service

router = APIRouter(include_in_schema=False)
_OLD = 60_000_000  # microseconds after which a reading of lift is made anew while somebody looks
_DAY = 86_400_000_000
_BAR = 100.0  # units of a chart's width


@dataclass(frozen=True, slots=True)
class LiveRow:
    """A creative that is or was served: its CTR, None without impressions, and its share of traffic now."""

    creative: CreativeRow
    ctr: Estimate | None
    share: float | None
    bar: tuple[float, float, float] | None  # of the interval and the value in a chart, 0..100


@router.get("/live")
async def live(request: Request) -> Response:
    """Show a product's served creatives; htmx asks for the figures alone every few seconds."""
    service: Service = request.app.state.service
    visitor = await visitor_of(request)
    products = await asyncio.to_thread(store.served, service.engine)
    asked = text_of(request.query_params, "product") or (products[0].product_id if products else "")
    product = await asyncio.to_thread(store.product, service.engine, asked) if asked else None
    if asked and product is None:
        raise TurnedAwayError(404, "There is no such product.")
    values: dict[str, Any] = {"product": product, "rows": (), "placement": "", "lift": None, "made_at": None}
    if product is not None:
        values |= await asyncio.to_thread(_figures, service, asked)
    is_part = request.headers.get("hx-request") == "true"
    return page(
        request, "figures.html.j2" if is_part else "live.html.j2", visitor=visitor, products=products,
        holdback=service.config.holdback, **values,
    )  # fmt: skip


@router.post("/page/ship")
async def ship(request: Request) -> Response:
    """Give all of a product's traffic to one creative: the others that are served are retired."""
    service: Service = request.app.state.service
    async with change(request) as (visitor, form):
        wanted, product_id = text_of(form, "creative"), text_of(form, "product")

        def retire_others() -> None:
            found = publishing.list_creatives(service.engine, product_id) or []
            served = [one for one in found if one.status in SERVED]
            if wanted not in {one.creative_id for one in served}:
                raise TurnedAwayError(409, "This ad is not served any more. Load the page again.")
            for one in served:
                if one.creative_id != wanted:
                    publishing.decide(
                        service.engine, one.creative_id, decision="retire", reason=f"shipped {wanted}",
                        key_id=visitor.key.key_id, now=service.now(),
                    )  # fmt: skip

        await asyncio.to_thread(retire_others)
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
    return page(
        request, "figures.html.j2", visitor=await visitor_of(request), product=product,
        holdback=service.config.holdback, **values,
    )  # fmt: skip


def _figures(service: Service, product_id: str) -> dict[str, Any]:
    """What the templates show of a product; where the reading of its lift is old, the worker is asked for a new one."""
    found = publishing.list_creatives(service.engine, product_id) or []
    placement = store.busiest_placement(service.engine, product_id)
    shares = _shares(service, product_id, placement)
    shown = [one for one in found if one.status in SERVED or (one.status == "retired" and one.impressions)]
    shown.sort(key=lambda one: (one.status not in SERVED, -one.impressions, one.creative_id))
    estimates = {one.creative_id: words.ctr(one.clicks, one.impressions) for one in shown}
    widest = max((one.high for one in estimates.values() if one), default=0.0)
    rows = [
        LiveRow(one, (made := estimates[one.creative_id]), shares.get(one.creative_id), _bar(made, widest))
        for one in shown
    ]
    held = store.reading(service.engine, product_id)
    if any(one.impressions for one in shown) and (held is None or service.now() - held[1] > _OLD):
        with service.engine.connect().execution_options(writes=True) as connection, connection.begin():
            jobs.enqueue(connection, "read", {"product_id": product_id}, now=service.now())
    lift = None if held is None else held[0]
    return {"rows": rows, "placement": placement, "lift": lift, "made_at": None if held is None else held[1]}


def _shares(service: Service, product_id: str, placement: str) -> Mapping[str, float]:
    """The probability with which each creative is chosen now at a placement, for those who are not held back."""
    try:
        with service.engine.connect() as connection:
            traffic = read_traffic(connection, product_id)
    except NothingToServeError:
        return {}
    ids = [one.creative_id for one in traffic.candidates]
    return dict(zip(ids, service.propensities(traffic, placement, service.now() // _DAY), strict=True))


def _bar(made: Estimate | None, widest: float) -> tuple[float, float, float] | None:
    if made is None or widest <= 0:
        return None
    return tuple(round(_BAR * one / widest, 2) for one in (made.low, made.high, made.value))  # type: ignore[return-value]
