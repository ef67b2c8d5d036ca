"""A new workspace, a creative, and what lies in a folder."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from clickscape.types import Creative
from clickscape.workspace import Workspace

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "shop")


def creative(name: str, **other: object) -> Creative:
    values = {
        "image": "creatives/images/x.webp",
        "description": "oak",
        "scene": {"props": ["palm"]},
        "renderer": "studio",
    }
    return Creative(**{"creative_id": name, "product_id": "p", "model_id": "tiny", "seed": 7, **values, **other})


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }
