"""Sign in with an API key, and out again; and the page's own files."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, RedirectResponse, Response

from clickscape.service.page import sessions
from clickscape.service.page.templates import STATIC, page
from clickscape.service.page.visit import COOKIE, TurnedAwayError, change, text_of, who

if TYPE_CHECKING:
    from clickscape.service.app import Service

router = APIRouter(include_in_schema=False)
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_LONG = "public, max-age=31536000, immutable"


@router.get("/")
async def begin(request: Request) -> Response:
    """Lead to where one works."""
    visitor = await who(request)
    if visitor is None:
        return RedirectResponse("/sign-in", 303)
    return RedirectResponse("/create" if visitor.key.may("approve") else "/catalog", 303)


@router.get("/sign-in")
async def ask(request: Request) -> Response:
    """Ask for a key."""
    return page(request, "sign_in.html.j2", visitor=None, said="", then=_local(request.query_params.get("then", "")))


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Begin a session, or say in one line that the key is wrong."""
    service: Service = request.app.state.service
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise TurnedAwayError(403, "Sign in on this page, not from another site.")
    address = request.client.host if request.client else ""
    async with request.form(max_files=0, max_fields=3) as form:
        text, then = text_of(form, "key"), _local(text_of(form, "then", most=2_000))
    if service.wrong_keys.too_many(address):
        said = "Too many wrong keys came from your address. Wait five minutes."
        wait = {"retry-after": "300"}
        return page(request, "sign_in.html.j2", visitor=None, status=429, headers=wait, said=said, then=then)
    key = await asyncio.to_thread(service.keys.check, text)
    if key is None or not (key.may("read") or key.may("approve")):
        service.wrong_keys.add(address)
        said = (
            "This key is unknown or revoked."
            if key is None
            else "This key may not see the page: it lacks the role read."
        )
        return page(request, "sign_in.html.j2", visitor=None, status=403, said=said, then=then)
    hours = service.config.session_hours
    name = await asyncio.to_thread(sessions.begin, service.engine, key, hours=hours, now=service.now())
    answer = RedirectResponse(then, 303)
    answer.set_cookie(
        COOKIE,
        name,
        max_age=round(3_600 * hours),
        httponly=True,
        samesite="strict",
        secure=_is_https(request),
        path="/",
    )
    return answer


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """End the session."""
    service: Service = request.app.state.service
    async with change(request, "read"):
        await asyncio.to_thread(sessions.end, service.engine, request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
    return answer


@router.get("/page/static/{name}")
async def static(name: str) -> Response:
    """Send one of the page's own files."""
    if name not in STATIC:
        raise TurnedAwayError(404, "There is no such file.")
    path = STATIC[name]
    return FileResponse(path, media_type=_TYPES[path.suffix], headers={"cache-control": _LONG})


def _local(then: str) -> str:
    """A path of this site, whatever was asked for."""
    is_local = then.startswith("/") and not then.startswith(("//", "/\\")) and then.isprintable()
    return then if is_local else "/"


def _is_https(request: Request) -> bool:
    """Whether the browser speaks HTTPS, to us or to the proxy before us."""
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", ""))
