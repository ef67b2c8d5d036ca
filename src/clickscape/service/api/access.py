"""Who may call a route: the API key in `Authorization: Bearer …`, its roles, and how many requests it has left."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from fastapi import Request

from clickscape.service.keys import ApiKey, Role

if TYPE_CHECKING:
    from clickscape.service.app import Service

_SCHEME = "bearer "


class RefusedError(Exception):
    """A request that is answered with a status and one line."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


class Needs:
    """Dependency that returns the caller's key, if it has the role and has not called too often."""

    def __init__(self, role: Role) -> None:
        self._role = role

    async def __call__(self, request: Request) -> ApiKey:
        """Return the key; RefusedError with 401, 403 or 429."""
        return await authorized(request, self._role)


async def authorized(request: Request, role: Role) -> ApiKey:
    """Return the key of a request that may be made with this role; RefusedError with 401, 403 or 429."""
    service: Service = request.app.state.service
    given = request.headers.get("authorization", "")
    if given[: len(_SCHEME)].lower() != _SCHEME:
        raise RefusedError(401, "no API key. Send Authorization: Bearer KEY.", {"www-authenticate": "Bearer"})
    text = given[len(_SCHEME) :].strip()
    key = service.keys.known(text) or await asyncio.to_thread(service.keys.check, text)
    if key is None:
        raise RefusedError(401, "the API key is unknown or revoked.", {"www-authenticate": "Bearer"})
    if not key.may(role):
        raise RefusedError(403, f"the API key lacks the role {role}.")
    _spend(service, key)
    return key


def _spend(service: Service, key: ApiKey) -> None:
    """Take one request of a key's second, or refuse; each instance counts for itself."""
    second = int(time.monotonic())
    spent = service.spent
    if spent.get("second") != second:
        spent.clear()
        spent["second"] = second
    spent[key.key_id] = spent.get(key.key_id, 0) + 1
    if spent[key.key_id] > service.config.requests_per_second:
        raise RefusedError(429, "too many requests. Wait a second.", {"retry-after": "1"})
