"""Products and creatives: lists, and what people decide about a creative."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from clickscape.service import pictures, publishing
from clickscape.service.api.access import Needs, RefusedError
from clickscape.service.keys import ApiKey
from clickscape.service.publishing import CreativeRow, ProductRow
from clickscape.types import CreativeStatus

if TYPE_CHECKING:
    from clickscape.service.app import Service

router = APIRouter(prefix="/v1", tags=["catalog"])
_PAGE = 200


class ProductOut(BaseModel):
    """A product that creatives may be made of."""

    product_id: str
    title: str
    category: list[str]
    price: float | None
    currency: str | None
    creatives: dict[str, int] = Field(description="number of creatives by status")


class CreativeOut(BaseModel):
    """A creative, what the reward model expects of it, and what it earned."""

    creative_id: str
    product_id: str
    image: str
    description: str
    status: CreativeStatus
    reason: str
    score: float | None = Field(description="log CTR against the product's average creative; null: not scored")
    score_sd: float | None
    impressions: int
    clicks: int


class Review(BaseModel):
    """What a person decided about a creative; `reason` becomes a label."""

    model_config = ConfigDict(extra="forbid")
    decision: Literal["approve", "reject", "retire"]
    reason: str = Field("", max_length=500)


@router.get("/products")
async def products(
    request: Request,
    _: Annotated[object, Depends(Needs("read"))],
    after: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=_PAGE)] = 50,
) -> list[ProductOut]:
    """List products by id; the next page begins `after` the last one's id."""
    service: Service = request.app.state.service
    rows = await asyncio.to_thread(publishing.list_products, service.engine, after=after, limit=limit)
    return [_product(row) for row in rows]


@router.get("/products/{product_id}/creatives")
async def creatives(
    request: Request, product_id: str, _: Annotated[object, Depends(Needs("read"))]
) -> list[CreativeOut]:
    """List the creatives of a product, newest first."""
    service: Service = request.app.state.service
    rows = await asyncio.to_thread(publishing.list_creatives, service.engine, product_id)
    if rows is None:
        raise RefusedError(404, "no such product.")
    return [_creative(row, base=service.config.image_url) for row in rows]


@router.post("/creatives/{creative_id}/review")
async def review(
    request: Request, creative_id: str, given: Review, key: Annotated[ApiKey, Depends(Needs("approve"))]
) -> CreativeOut:
    """Approve, reject or retire a creative; an approved one is served within seconds, on every instance."""
    service: Service = request.app.state.service
    try:
        row = await asyncio.to_thread(
            publishing.decide, service.engine, creative_id, decision=given.decision, reason=given.reason,
            key_id=key.key_id, now=service.now(),
        )  # fmt: skip
    except publishing.NotAllowedError as error:
        raise RefusedError(409, str(error)) from None
    if row is None:
        raise RefusedError(404, "no such creative.")
    service.selector.forget(row.product_id)
    return _creative(row, base=service.config.image_url)


def _product(row: ProductRow) -> ProductOut:
    return ProductOut(
        product_id=row.product_id, title=row.title, category=list(row.category), price=row.price,
        currency=row.currency, creatives=dict(row.creatives),
    )  # fmt: skip


def _creative(row: CreativeRow, *, base: str) -> CreativeOut:
    return CreativeOut(
        creative_id=row.creative_id, product_id=row.product_id, image=pictures.link(row.creative_id, base=base),
        description=row.description, status=row.status, reason=row.reason, score=row.score, score_sd=row.score_sd,
        impressions=row.impressions, clicks=row.clicks,
    )  # fmt: skip
