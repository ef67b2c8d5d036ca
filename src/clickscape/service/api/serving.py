"""What a shop's pages call: which creative to show, its picture, and what came of it.

The first two are called thousands of times a second, so they parse and answer by pydantic, and `Fast` hands them their
requests past the framework, whose routing and handling of parameters takes as long as all the rest. The schema
describes them all the same.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from clickscape.experiment.assign import assign, is_held_back
from clickscape.service import decisions, pictures
from clickscape.service.api.access import RefusedError, authorized
from clickscape.service.api.parsing import body_of, parameters_of, parsed
from clickscape.service.decisions import Decision
from clickscape.service.event_writer import Attribution, Event, OverloadedError
from clickscape.service.selector import NothingToServeError, Policy, Served, TooManyPlacementsError

if TYPE_CHECKING:
    from clickscape.service.app import Service

router = APIRouter(prefix="/v1", tags=["serving"])
MOST_EVENTS = 1_000
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND


class Asked(BaseModel):
    """Whose choice it is: a product, a user (any text that names one), and where the creative will stand."""

    model_config = ConfigDict(extra="forbid")
    product_id: str = Field(min_length=1, max_length=200)
    user_key: str = Field(min_length=1, max_length=200)
    placement: str = Field("default", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    position: int | None = Field(
        None, ge=1, le=decisions.MOST_POSITIONS, description="where on the page it will stand, from 1, if you know"
    )


class Choice(BaseModel):
    """A creative to show, where its picture is, and the id to send back with what came of it."""

    creative_id: str
    image: str
    decision_id: str
    propensity: float = Field(description="probability with which this user's group is shown this creative")
    policy_id: str
    group: Literal["bandit", "holdback", "experiment"]
    variant: str | None = Field(description="of the experiment that chose; null where none did")
    stale: bool = Field(description="the store did not answer; the last known policy chose")


class EventIn(BaseModel):
    """What a user did. `ts`: when, with its zone; without it, the moment of receipt."""

    model_config = ConfigDict(extra="forbid")
    event_id: str = Field(min_length=1, max_length=64, pattern=r"^[\x21-\x7e]+$")
    kind: Literal["impression", "click", "conversion"]
    decision_id: str = Field(min_length=1, max_length=100, pattern=r"^[\x21-\x7e]+$")
    ts: AwareDatetime | None = None


class Batch(BaseModel):
    """Events to be counted, at most 1,000; one whose id was sent before changes nothing."""

    model_config = ConfigDict(extra="forbid")
    events: list[EventIn] = Field(min_length=1, max_length=MOST_EVENTS)


class Receipt(BaseModel):
    """What became of a batch, after its commit; `late` and `unknown` events are stored and count for no creative."""

    stored: int
    repeated: int
    attributed: int
    late: int
    unknown: int


@router.get("/choose", response_model=Choice, openapi_extra={"parameters": parameters_of(Asked)})
async def choose(request: Request) -> Response:
    """Choose the creative of a product that a user sees at a placement; the same user keeps seeing the same one."""
    service: Service = request.app.state.service
    await authorized(request, "serve")
    asked = parsed(Asked, dict(request.query_params))
    found = service.selector.known(asked.product_id, asked.placement)
    if found is None:
        try:
            found = await asyncio.wrap_future(service.selector.load(asked.product_id, asked.placement))
        except NothingToServeError:
            raise RefusedError(404, "no approved creative of this product. Approve one, or check the id.") from None
        except TooManyPlacementsError:
            raise RefusedError(422, "placement: the product is asked for at too many different placements") from None
    user = decisions.hashed_user(asked.user_key, service.key)
    holdback = is_held_back(user, share=service.config.holdback, key=service.key)
    policy, place = _choose(service, found, user, holdback=holdback)
    decision = Decision(
        secrets.randbits(64), user, policy.policy_id, service.now() // _SECOND, place, holdback=holdback,
        stale=found.stale, position=asked.position,
    )  # fmt: skip
    group: Literal["bandit", "holdback", "experiment"] = "experiment" if policy.variants else "bandit"
    group = "holdback" if holdback else group
    service.metrics.choices.labels(group).inc()
    if found.stale:
        service.metrics.stale_choices.inc()
    creative = policy.candidates[place]
    choice = Choice(
        creative_id=creative,
        image=pictures.link(creative, base=service.config.image_url),
        decision_id=decisions.sign(decision, service.key),
        propensity=policy.propensities[place],
        policy_id=policy.policy_id,
        group=group,
        variant=policy.variants[place] if policy.variants else None,
        stale=found.stale,
    )
    return Response(choice.model_dump_json(), media_type="application/json")


@router.post("/events", response_model=Receipt, openapi_extra={"requestBody": body_of(Batch)})
async def events(request: Request) -> Response:
    """Store events; answered after their commit, so what was acknowledged is never lost and never counted twice."""
    service: Service = request.app.state.service
    await authorized(request, "serve")
    batch = parsed(Batch, await request.body())
    received = service.now()
    made = [await _event(service, one, received=received) for one in batch.events]
    with service.metrics.commit_seconds.time():
        try:
            written = await asyncio.wrap_future(service.writer.write(made))
        except Exception as error:
            why = "overloaded" if isinstance(error, OverloadedError) else "store"
            service.metrics.refused_events.labels(why).inc(len(made))
            raise
    attributions = [one.attribution for one in made]
    for one in made:
        service.metrics.events.labels(one.kind, one.attribution).inc()
    if written.repeated:
        service.metrics.repeated_events.inc(written.repeated)
    receipt = Receipt(
        stored=written.stored,
        repeated=written.repeated,
        attributed=attributions.count("attributed"),
        late=attributions.count("late"),
        unknown=attributions.count("unknown"),
    )
    return Response(receipt.model_dump_json(), media_type="application/json")


@router.get("/images/{creative_id}")
async def image(request: Request, creative_id: str) -> FileResponse:
    """Send the picture of a creative that is approved or live; it never changes under its id."""
    service: Service = request.app.state.service
    path = await asyncio.to_thread(pictures.path_of, service.engine, service.workspace, creative_id)
    if path is None:
        raise RefusedError(404, "no such picture is published.")
    return FileResponse(path, headers={"cache-control": "public, max-age=31536000, immutable"})


def _choose(service: Service, served: Served, user: str, *, holdback: bool) -> tuple[Policy, int]:
    """The policy that chooses for a user, and the candidate: even, by the first experiment that has him, or learned."""
    if not holdback:
        for definition, policy in served.experiments:
            variant = assign(user, definition=definition, key=service.key)
            if policy.variants is not None and variant in policy.variants:
                return policy, policy.variants.index(variant)
    policy = served.even if holdback else served.learned
    return policy, service.selector.choose(policy, user)


class Fast:
    """ASGI middleware: answers the two busy routes and passes all others on; `failed` answers what was raised."""

    def __init__(self, app: ASGIApp, *, failed: Callable[[Request, Exception], Awaitable[Response]]) -> None:
        self._app, self._failed = app, failed
        self._routes = {("GET", "/v1/choose"): choose, ("POST", "/v1/events"): events}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            answer = await route(request)
        except ClientDisconnect:
            return
        except Exception as error:
            answer = await self._failed(request, error)
        await answer(scope, receive, send)


async def _event(service: Service, given: EventIn, *, received: int) -> Event:
    """The event as it is stored: attributed to its decision, or late, or unknown."""
    decision = decisions.verify(given.decision_id, service.key)
    policy: Policy | None = None
    if decision is not None:
        policy = service.selector.known_policy(decision.policy)
        if policy is None:
            policy = await asyncio.to_thread(service.selector.policy, decision.policy)
    ts = received if given.ts is None else round(given.ts.timestamp() * _SECOND)
    if decision is None or policy is None or decision.candidate >= len(policy.candidates):
        name = "?" + (given.decision_id if decision is None else decision.name)  # a signed id holds the user
        return Event(given.event_id, given.kind, "unknown", name, None, None, None, None, None, None, ts, received)
    decided = decision.second * _SECOND
    ts = _plausible(service, ts, decided=decided, received=received)
    return Event(
        given.event_id,
        given.kind,
        _attribution(service, decided=decided, ts=ts, received=received),
        decision.name,
        policy.candidates[decision.candidate],
        policy.product_id,
        policy.placement,
        decision.user,
        policy.policy_id,
        policy.variants[decision.candidate] if policy.variants else "holdback" if decision.holdback else "bandit",
        ts,
        received,
        decided,
        policy.experiment,
        decision.position,
    )


def _plausible(service: Service, ts: int, *, decided: int, received: int) -> int:
    """The time of an event as it is kept, so that one wrong clock never makes a log of all events unreadable.

    More than a day before the decision: the clock says nothing, and the receipt's time stands for it. After the receipt
    by more than the window and a day: late by just that.
    """
    if ts < min(decided, received) - _DAY:
        return received
    return min(ts, max(decided, received) + round(service.clicks.attribution_hours * 3_600 * _SECOND) + _DAY)


def _attribution(service: Service, *, decided: int, ts: int, received: int) -> Attribution:
    """By the rules of click logs: within the window after the decision, and received not too long after it happened.

    Clocks may differ by a skew, and a server's may be set back; what seems to come before its decision counts, because
    the decision's signature proves that it was made.
    """
    hours = 3_600 * _SECOND
    too_old = ts - decided > service.clicks.attribution_hours * hours
    too_late = received - max(ts, decided) > service.clicks.late_after_hours * hours
    return "late" if too_old or too_late else "attributed"
