"""Who is signed in: an API key opens a session, whose random name lies hashed in the store and plain in a cookie alone.

A session ends after hours, when somebody signs out, or with its key. Each has a token that every change must send: a
page of another site can send the cookie along, but cannot read the token.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import deque
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from clickscape.service import schema
from clickscape.service.keys import ApiKey

_ATTEMPTS, _WITHIN = 10, 300.0  # wrong keys from one address within seconds, after which it waits
_MOST_ADDRESSES = 10_000
_HOUR = 3_600_000_000  # microseconds


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is signed in: the key, what it may do, and the token that each of their changes must send."""

    key: ApiKey
    csrf: str


@dataclass
class WrongKeys:
    """Counts wrong keys per address, so that nobody tries many; each instance counts for itself."""

    _seen: dict[str, deque[float]] = field(default_factory=dict)

    def too_many(self, address: str) -> bool:
        """Return whether an address has to wait."""
        recent = self._seen.get(address)
        while recent and time.monotonic() - recent[0] > _WITHIN:
            recent.popleft()
        return bool(recent) and len(recent or ()) >= _ATTEMPTS

    def add(self, address: str) -> None:
        """Note a wrong key."""
        if address not in self._seen and len(self._seen) >= _MOST_ADDRESSES:
            self._seen.pop(next(iter(self._seen)))
        self._seen.setdefault(address, deque(maxlen=_ATTEMPTS)).append(time.monotonic())


def begin(engine: Engine, key: ApiKey, *, hours: float, now: int) -> str:
    """Store a session of a key and return its name, for the cookie; sessions that have expired are removed."""
    name, table = secrets.token_urlsafe(32), schema.sessions
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(sa.delete(table).where(table.c.expires_at < now))
        connection.execute(
            sa.insert(table).values(
                session_hash=_hash(name), key_id=key.key_id, csrf=secrets.token_urlsafe(32),
                expires_at=now + round(hours * _HOUR),
            )
        )  # fmt: skip
    return name


def find(engine: Engine, name: str, *, now: int) -> Visitor | None:
    """Return whose session this is; None for one that is unknown or has expired, and where its key was revoked."""
    sessions, keys = schema.sessions, schema.api_keys
    with engine.connect() as connection:
        row = connection.execute(
            sa.select(sessions.c.csrf, keys.c.key_id, keys.c.label, keys.c.roles)
            .join(keys, keys.c.key_id == sessions.c.key_id)
            .where(sessions.c.session_hash == _hash(name), sessions.c.expires_at > now, keys.c.revoked_at.is_(None))
        ).one_or_none()
    return None if row is None else Visitor(ApiKey(row.key_id, row.label, frozenset(row.roles)), row.csrf)


def end(engine: Engine, name: str) -> None:
    """Remove a session."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(sa.delete(schema.sessions).where(schema.sessions.c.session_hash == _hash(name)))


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
