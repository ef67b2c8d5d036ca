"""The page *Review*: a product's candidates side by side, each approved or rejected by one key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import Response

from clickscape.service import publishing
from clickscape.service.page import store, words
from clickscape.service.page.heat_map import Look, look
from clickscape.service.page.templates import page
from clickscape.service.page.visit import TurnedAwayError, change, no_product, product_of, text_of, visitor_of
from clickscape.service.publishing import CreativeRow, Decision

if TYPE_CHECKING:
    from clickscape.service.app import Service

router = APIRouter(include_in_schema=False)
_DECISIONS: dict[str, Decision] = {"approve": "approve", "reject": "reject", "retire": "retire"}
_ORDER = {"draft": 0, "approved": 1, "live": 1, "rejected": 2, "retired": 3}


@router.get("/review")
async def review(request: Request) -> Response:
    """Show the candidates of a product, or of the one that has waited longest."""
    service: Service = request.app.state.service
    visitor = await visitor_of(request)
    waiting = await asyncio.to_thread(store.with_drafts, service.engine)
    asked = product_of(request) or (waiting[0].product_id if waiting else "")
    product = await asyncio.to_thread(store.product, service.engine, asked) if asked else None
    if asked and product is None:
        raise no_product(asked)
    found = await asyncio.to_thread(publishing.list_creatives, service.engine, asked) if asked else []
    creatives = sorted(found or [], key=lambda one: _ORDER[one.status])
    looks = await asyncio.to_thread(_looks, service, creatives)
    following = next((one.product_id for one in waiting if one.product_id != asked), None)
    return page(
        request, "review.html.j2", visitor=visitor, waiting=waiting, product=product, creatives=creatives,
        following=following, predicted=predicted, looks=looks,
    )  # fmt: skip


@router.post("/page/decide")
async def decide(request: Request) -> Response:
    """Approve, reject or retire a creative and send its card anew; the decision is kept as a row of `reviews`."""
    service: Service = request.app.state.service
    async with change(request) as (visitor, form):
        decision = _DECISIONS.get(text_of(form, "decision"))
        if decision is None:
            raise TurnedAwayError(422, "One can approve, reject or retire an ad.")
        try:
            row = await asyncio.to_thread(
                publishing.decide, service.engine, text_of(form, "creative"), decision=decision,
                reason=text_of(form, "reason"), key_id=visitor.key.key_id, now=service.now(),
            )  # fmt: skip
        except publishing.NotAllowedError as error:
            raise TurnedAwayError(409, words.sentence(str(error))) from None
        if row is None:
            raise TurnedAwayError(404, "There is no such ad.")
        service.selector.forget(row.product_id)
        looks = await asyncio.to_thread(_looks, service, [row])
        return page(
            request, "card.html.j2", visitor=visitor, creative=row, predicted=predicted, looks=looks, is_answer=True
        )


def _looks(service: Service, creatives: Sequence[CreativeRow]) -> dict[str, Look]:
    """The heat map of each ad, as far as it was drawn."""
    return {one.creative_id: look(service.workspace, one.creative_id) for one in creatives}


def predicted(creative: CreativeRow) -> object:
    """Return the predicted lift of a creative with its interval, None for no prediction yet."""
    return words.predicted(creative.score, creative.score_sd)
