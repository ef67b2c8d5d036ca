"""Pictures of creatives: their links, and their files inside the workspace."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from clickscape.regular_files import inside
from clickscape.service import schema
from clickscape.service.publishing import SERVED


def link(creative_id: str, *, base: str) -> str:
    """Return the address of a creative's picture: below `base`, such as a CDN's, or the service's own."""
    return f"{base.rstrip('/')}/v1/images/{quote(creative_id, safe='')}"


def path_of(engine: Engine, workspace: Path, creative_id: str, *, published_only: bool = True) -> Path | None:
    """Return the file of a creative's picture, None where there is none that may be shown; WorkspaceError outside."""
    table = schema.creatives
    with engine.connect() as connection:
        row = connection.execute(
            sa.select(table.c.image, table.c.status).where(table.c.creative_id == creative_id)
        ).one_or_none()
    if row is None or (published_only and row.status not in SERVED):
        return None
    path = inside(workspace, row.image)
    return path if path.is_file() else None
