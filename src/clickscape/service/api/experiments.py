"""Experiments: start one on creatives that are served, see what it shows on any day, stop it or ship a variant."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from clickscape.experiment.assign import key_id
from clickscape.experiment.definition import ExperimentDefinition, PlannedSample, Variant
from clickscape.experiment.reading import ExperimentReading
from clickscape.service import experiments, readings
from clickscape.service.api.access import Needs, RefusedError
from clickscape.service.experiments import Status, StoredExperiment
from clickscape.service.keys import ApiKey
from clickscape.service.publishing import NotAllowedError

if TYPE_CHECKING:
    from clickscape.service.app import Service

router = APIRouter(prefix="/v1", tags=["experiments"])


class VariantIn(BaseModel):
    """What a variant shows: product_id → creative_id, to its share of the users."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=64)
    share: float | None = Field(None, gt=0, lt=1, description="null in all variants: equal shares")
    creatives: dict[str, str] = Field(min_length=1, max_length=100_000)


class Start(BaseModel):
    """An experiment to begin now; fields as of `clickscape experiment start`, users are held back as of the service."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=64)
    variants: list[VariantIn] | None = Field(
        None,
        min_length=2,
        max_length=20,
        description="null: `control` shows each product's live creative or, where none is live, the approved one with "
        "most impressions, and `new` the approved one, the newest of several",
    )
    products: list[str] | None = Field(
        None, min_length=1, max_length=100_000, description="without variants: only these; null: all with two ads"
    )  # fmt: skip
    control: str = Field("control", description="variant that the others are compared with")
    layer: str = Field("default", description="experiments of one layer share its users; layers are independent")
    layer_from: float = Field(0.0, ge=0, lt=1, description="where its part of the layer begins")
    traffic: float = Field(1.0, gt=0, le=1, description="share of the layer's users")
    level: float = Field(0.95, gt=0, lt=1, description="confidence level of all comparisons together")
    planned: PlannedSample | None = Field(None, description="`sample` of what `clickscape experiment plan` writes")


class Ship(BaseModel):
    """The variant that is to get all traffic."""

    model_config = ConfigDict(extra="forbid")
    variant: str = Field(min_length=1, max_length=64)


class ExperimentOut(BaseModel):
    """An experiment; shares are of its users by variant, `shipped` is the variant that got all traffic at its end."""

    name: str
    status: Status
    shipped: str | None
    control: str
    shares: dict[str, float]
    products: int
    start: datetime
    end: datetime | None
    layer: str
    layer_from: float
    traffic: float
    holdback: float
    level: float
    planned: PlannedSample | None


class ExperimentRead(ExperimentOut):
    """An experiment, what it shows, and what its newest reading says.

    In a reading `always_valid` is the lift with the interval that holds on all days at once, `sample_ratio` whether
    users were shared out as planned, `guardrail` whether conversions hold.
    """

    creatives: dict[str, dict[str, str]] = Field(description="variant → product_id → creative_id")
    reading: ExperimentReading | None = Field(description="null until every variant was seen and the worker read it")
    read_at: datetime | None


@router.get("/experiments")
async def list_all(request: Request, _: Annotated[object, Depends(Needs("read"))]) -> list[ExperimentOut]:
    """List experiments, those that run first, then the newest."""
    service: Service = request.app.state.service
    return [_out(one) for one in await asyncio.to_thread(experiments.list_experiments, service.engine)]


@router.get("/experiments/{name}")
async def read(request: Request, name: str, _: Annotated[object, Depends(Needs("read"))]) -> ExperimentRead:
    """Read an experiment: lifts with their confidence sequence, shares, guardrails, decision.

    The worker makes a new reading, at most one a minute, while somebody asks.
    """
    service: Service = request.app.state.service
    found = await asyncio.to_thread(experiments.find_experiment, service.engine, name)
    if found is None:
        raise RefusedError(404, "no such experiment.")
    held = await asyncio.to_thread(
        readings.of_stored, service.engine, found, window=service.attribution_window, now=service.now()
    )
    return ExperimentRead(
        **_out(found).model_dump(exclude={"planned"}),
        planned=found.definition.planned,
        creatives={one.name: dict(one.creatives) for one in found.definition.variants},
        reading=None if held is None else held.experiment,
        read_at=None if held is None else datetime.fromtimestamp(held.made_at / 1e6, UTC),
    )


@router.post("/experiments", status_code=201)
async def start(
    request: Request, given: Start, _: Annotated[object, Depends(Needs("approve"))]
) -> ExperimentOut:  # fmt: skip
    """Start an experiment now; the same start again changes nothing."""
    service: Service = request.app.state.service
    now = service.now()
    variants: Sequence[Variant]
    if given.variants is None:
        held = await asyncio.to_thread(experiments.find_experiment, service.engine, given.name)
        variants = (
            held.definition.variants
            if held
            else await asyncio.to_thread(experiments.default_of_store, service.engine, product_ids=given.products or ())
        )  # of the same start again: counts have grown since
    else:
        variants = _named(given.variants)
    made = _definition(service, given, variants, now=now)
    try:
        found = await asyncio.to_thread(experiments.start_experiment, service.engine, made, now=now)
    except NotAllowedError as error:
        raise RefusedError(409, str(error)) from None
    return _changed(service, found)


@router.post("/experiments/{name}/stop")
async def stop(request: Request, name: str, _: Annotated[object, Depends(Needs("approve"))]) -> ExperimentOut:
    """End an experiment: its users are served by the bandit again, and its reading is final once late clicks are in."""
    service: Service = request.app.state.service
    found = await asyncio.to_thread(experiments.stop_experiment, service.engine, name, now=service.now())
    if found is None:
        raise RefusedError(404, "no such experiment.")
    return _changed(service, found)


@router.post("/experiments/{name}/ship")
async def ship(
    request: Request, name: str, given: Ship, key: Annotated[ApiKey, Depends(Needs("approve"))]
) -> ExperimentOut:
    """End an experiment and give all traffic of its products to a variant: others that are served are retired."""
    service: Service = request.app.state.service
    try:
        found = await asyncio.to_thread(
            experiments.ship, service.engine, name, given.variant, key_id=key.key_id, now=service.now()
        )
    except NotAllowedError as error:
        raise RefusedError(409, str(error)) from None
    if found is None:
        raise RefusedError(404, "no such experiment.")
    return _changed(service, found)


def _named(given: Sequence[VariantIn]) -> list[Variant]:
    shares = [one.share for one in given]
    if any(one is None for one in shares) and any(one is not None for one in shares):
        raise RefusedError(422, "variants: give a share to all of them, or to none.")
    return [Variant(one.name, one.share or 1 / len(shares), one.creatives) for one in given]


def _definition(service: Service, given: Start, variants: Sequence[Variant], *, now: int) -> ExperimentDefinition:
    return ExperimentDefinition(
        name=given.name,
        variants=tuple(variants),
        control=given.control,
        start=datetime.fromtimestamp(now / 1e6, UTC),
        key_id=key_id(service.key),
        salt=given.name,
        layer=given.layer,
        layer_from=given.layer_from,
        traffic=given.traffic,
        holdback=service.config.holdback,
        level=given.level,
        planned=given.planned,
    )  # fmt: skip


def _changed(service: Service, found: StoredExperiment) -> ExperimentOut:
    for product_id in found.definition.products:
        service.selector.forget(product_id)
    return _out(found)


def _out(found: StoredExperiment) -> ExperimentOut:
    one = found.definition
    return ExperimentOut(
        name=one.name, status=found.status, shipped=found.shipped, control=one.control, shares=one.shares,
        products=len(one.products), start=one.start, end=one.end, layer=one.layer, layer_from=one.layer_from,
        traffic=one.traffic, holdback=one.holdback, level=one.level, planned=one.planned,
    )  # fmt: skip
