"""API keys: who may do what. A key is 32 random bytes; the store keeps its SHA-256, which needs no salt for those."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from clickscape.errors import StoreError
from clickscape.service import schema
from clickscape.service.store import is_unavailable

Role = Literal["read", "serve", "approve", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
_PREFIX = "csk"
_KNOWN_FOR = 10.0  # seconds after which a key is looked up again, so that a revoked one ends soon
_MOST_KNOWN = 10_000


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that was checked: its id, its label, and what it may do; `admin` may do everything."""

    key_id: str
    label: str
    roles: frozenset[Role]

    def may(self, role: Role) -> bool:
        """Return whether the key has a role."""
        return role in self.roles or "admin" in self.roles


def create_key(connection: Connection, *, roles: Collection[Role], label: str, now: int) -> str:
    """Store a new key's hash and return the key, which nobody can read again; StoreError for a role that is none."""
    if unknown := sorted(set(roles) - set(ROLES)):
        raise StoreError(f"no role is called {unknown[0]!r}. Give any of {', '.join(ROLES)}.")
    if not roles:
        raise StoreError(f"a key without a role opens nothing. Give any of {', '.join(ROLES)}.")
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    row = {"key_id": key_id, "secret_hash": _hash(secret), "roles": sorted(roles), "label": label, "created_at": now}
    connection.execute(sa.insert(schema.api_keys).values(row))
    return f"{_PREFIX}_{key_id}_{secret}"


def in_use(connection: Connection) -> list[ApiKey]:
    """Return the keys that are not revoked, oldest first."""
    table = schema.api_keys
    rows = connection.execute(sa.select(table).where(table.c.revoked_at.is_(None)).order_by(table.c.created_at)).all()
    return [ApiKey(row.key_id, row.label, frozenset(row.roles)) for row in rows]


def revoke_key(connection: Connection, key_id: str, *, now: int) -> None:
    """Revoke a key; StoreError when there is none of this id."""
    table = schema.api_keys
    made = connection.execute(
        sa.update(table).where(table.c.key_id == key_id, table.c.revoked_at.is_(None)).values(revoked_at=now)
    )
    connection.execute(sa.delete(schema.sessions).where(schema.sessions.c.key_id == key_id))
    if not made.rowcount:
        raise StoreError(f"no key {key_id!r} is in use. `clickscape keys WORKSPACE` lists them.")


class KeyRing:
    """Checks keys; remembers the last answers for seconds, and for longer while the store does not answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, tuple[float, ApiKey | None]] = {}
        self._guard = threading.Lock()

    def known(self, text: str) -> ApiKey | None:
        """Return a key that was checked a moment ago, without asking the store; None: ask `check`."""
        found = self._known.get(_hash(text))
        return found[1] if found and time.monotonic() - found[0] < _KNOWN_FOR else None

    def check(self, text: str) -> ApiKey | None:
        """Return the key, None for one that is unknown or revoked; the store's error when it never answered."""
        name = _hash(text)
        found = self._known.get(name)
        if found and time.monotonic() - found[0] < _KNOWN_FOR:
            return found[1]
        try:
            key = self._look_up(text)
        except Exception as error:
            if found and is_unavailable(error):
                return found[1]
            raise
        with self._guard:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[name] = (time.monotonic(), key)
        return key

    def _look_up(self, text: str) -> ApiKey | None:
        prefix, _, rest = text.partition("_")
        key_id, _, secret = rest.partition("_")
        if prefix != _PREFIX or len(key_id) != 16 or not secret or not text.isascii():
            return None
        table = schema.api_keys
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(table).where(table.c.key_id == key_id)).one_or_none()
        right = hmac.compare_digest(row.secret_hash if row else "0" * 64, _hash(secret))
        if row is None or not right or row.revoked_at is not None:
            return None
        return ApiKey(row.key_id, row.label, frozenset(row.roles))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
