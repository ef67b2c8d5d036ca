"""Files that the worker packs for people: the pictures of an ad for its placements, and tasks for Label Studio."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clickscape.files import atomic_file, file_name
from clickscape.regular_files import inside

DOWNLOADS = "service/downloads"
"""Folder of the workspace that holds them."""

GROUPS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "shapes": ("Four shapes for anywhere", ("1x1", "4x5", "1.91x1", "9x16")),
    "meta": ("Meta: feed, stories, reels", ("meta-*",)),
    "google-ads": ("Google Ads: Performance Max, display", ("google-pmax-*", "google-display-*")),
    "merchant": ("Google Merchant Center", ("google-*-image", "google-image-link")),
    "shops": ("Amazon and Shopify", ("amazon-*", "shopify-*")),
}
"""What is downloaded together: name → its words, and the placements of `export`, as names or globs."""

_MADE = (1980, 1, 1, 0, 0, 0)  # the same files give the same bytes


def folder(workspace: Path, name: str, group: str) -> Path:
    """Return the folder that is packed, below `DOWNLOADS`."""
    return inside(workspace, f"{DOWNLOADS}/{file_name(name)}/{group}")


def pack(workspace: Path, files: Sequence[Path], *, below: Path, **told: Any) -> dict[str, Any]:
    """Write files of a folder into a zip beside it, whole or not at all; return the result of the job that did.

    That is its path inside the workspace, its bytes, and what was `told`.
    """
    target = below.with_name(f"{below.name}.zip")
    with atomic_file(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as made:
        for file in files:
            made.writestr(zipfile.ZipInfo(file.relative_to(below).as_posix(), _MADE), file.read_bytes())
    return {"file": target.relative_to(workspace).as_posix(), "bytes": target.stat().st_size, **told}
