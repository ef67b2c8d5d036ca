"""What every request to the page passes: a session, a role, and for changes the session's token."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import FormData, UploadFile

from clickscape.service.keys import Role
from clickscape.service.page import sessions
from clickscape.service.page.sessions import Visitor
from clickscape.service.page.templates import page

if TYPE_CHECKING:
    from clickscape.service.app import Service

COOKIE = "clickscape_session"
_TOKEN = "x-csrf-token"  # noqa: S105  (a header's name)
_MOST_FIELDS = 60


class TurnedAwayError(Exception):
    """A request that the page does not do; status 401 leads to signing in."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status, self.said = status, said


async def visitor_of(request: Request, role: Role = "read") -> Visitor:
    """Return who is signed in, if they have the role; TurnedAwayError with 401 or 403."""
    found = await who(request)
    if found is None:
        raise TurnedAwayError(401, "Sign in first: nobody is, or not any more.")
    if not found.key.may(role) and not (role == "read" and found.key.may("approve")):
        raise TurnedAwayError(403, f"This key may not do that: it lacks the role {role}.")
    return found


async def who(request: Request) -> Visitor | None:
    """Return who is signed in, None for nobody."""
    service: Service = request.app.state.service
    name = request.cookies.get(COOKIE, "")
    return await asyncio.to_thread(sessions.find, service.engine, name, now=service.now()) if name else None


@asynccontextmanager
async def change(request: Request, role: Role = "approve") -> AsyncIterator[tuple[Visitor, FormData]]:
    """Give who wants to change something, and the form; TurnedAwayError without session, role or token."""
    visitor = await visitor_of(request, role)
    async with request.form(max_files=1, max_fields=_MOST_FIELDS) as form:
        given = request.headers.get(_TOKEN) or text_of(form, "csrf")
        if not hmac.compare_digest(given.encode(), visitor.csrf.encode()):
            raise TurnedAwayError(403, "This page is out of date, so nothing was changed. Load it again.")
        yield visitor, form


def text_of(form: FormData | Mapping[str, str], name: str, *, most: int = 500) -> str:
    """Return a field of a form as text, "" for none; TurnedAwayError with 422 for one that is too long."""
    found = form.get(name, "")
    text = "" if isinstance(found, UploadFile) else str(found).replace("\0", "").strip()
    if len(text) > most:
        raise TurnedAwayError(422, f"{name} has {len(text)} characters, and may have {most}. Shorten it.")
    return text


def product_of(request: Request) -> str:
    """Return the product that an address names, as `product` or in the API's words as `product_id`; "" for none."""
    return text_of(request.query_params, "product") or text_of(request.query_params, "product_id")


def no_product(product_id: str) -> TurnedAwayError:
    """Return what is raised for a product that is not there."""
    return TurnedAwayError(404, f"There is no product “{product_id[:80]}”. The catalog lists those that there are.")


async def turned_away(request: Request, error: Exception) -> Response:
    """Answer a TurnedAwayError: lead to signing in, or say in one line what is wrong."""
    assert isinstance(error, TurnedAwayError)
    is_part = request.headers.get("hx-request") == "true"
    if error.status == 401:
        if is_part:
            return Response(status_code=401, headers={"hx-redirect": "/sign-in"})
        path = request.url.path if request.method == "GET" else "/"
        query = f"?{request.url.query}" if request.method == "GET" and request.url.query else ""
        return RedirectResponse(f"/sign-in?then={quote(path + query, safe='')}", 303)
    if is_part:
        return Response(error.said, error.status, media_type="text/plain")
    return page(request, "turned_away.html.j2", visitor=await who(request), status=error.status, said=error.said)


_FOR_PROGRAMS = ("/v1/", "/healthz", "/readyz", "/metrics", "/openapi.json")


def is_of_page(request: Request) -> bool:
    """Return whether a person asked, who wants to read a sentence, not JSON."""
    return not request.url.path.startswith(_FOR_PROGRAMS)


def failed(request: Request, status: int, detail: str, *, headers: dict[str, str] | None = None) -> Response:
    """Answer a request of the page that failed, without asking the store who is signed in."""
    said = detail[:1].upper() + detail[1:]
    if request.headers.get("hx-request") == "true":
        return Response(said, status, media_type="text/plain", headers=headers)
    return page(request, "turned_away.html.j2", visitor=None, status=status, said=said, headers=headers)
