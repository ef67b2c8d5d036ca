"""Files that were sent: which of them nobody needs any more."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from clickscape.service import schema
from clickscape.service.publishing import UPLOADS

_KEPT = 3_600.0  # seconds for which a file stays whatever names it: its job may not be in the queue yet


def sweep_uploads(engine: Engine, workspace: Path, *, now: float | None = None) -> int:
    """Delete sent files that no product and no unfinished job names; return how many. now: seconds since 1970."""
    folder = workspace / UPLOADS
    if not folder.is_dir():
        return 0
    limit = (time.time() if now is None else now) - _KEPT
    old = [path for path in sorted(folder.iterdir()) if path.is_file() and path.lstat().st_mtime < limit]
    needed = _needed(engine) if old else set()
    spare = [path for path in old if path.name not in needed]
    for path in spare:
        path.unlink(missing_ok=True)
    return len(spare)


def _needed(engine: Engine) -> set[str]:
    jobs, products = schema.jobs, schema.products
    with engine.connect() as connection:
        photos = connection.execute(sa.select(products.c.photo).where(products.c.photo.is_not(None))).scalars().all()
        payloads = connection.execute(
            sa.select(jobs.c.payload).where(jobs.c.status.in_(("queued", "running")))
        ).scalars().all()  # fmt: skip
    return {Path(photo).name for photo in photos} | {text for one in payloads for text in _texts(one)}


def _texts(value: Any) -> list[str]:
    """All texts inside a job's payload."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in _texts(part)]
