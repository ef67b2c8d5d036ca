"""The folder that a shop's data lives in: plain files that ordinary tools open, written so that any kill is survived.

Whatever is written goes to a hidden neighbor first, is flushed to the disk and then renamed, so a reader sees the old
file or the new one and nothing between. One process writes at a time (a lock on `.lock`); any number may read.
"""

from __future__ import annotations

from clickscape.files import atomic_file, atomic_folder, file_name, fingerprint, write_text
from clickscape.workspace.folder import Workspace, save_ad
from clickscape.workspace.ingest import check_catalog, replace_catalog
from clickscape.workspace.runs import Manifest, Run, read_metrics
from clickscape.workspace.tables import COUNTS, CREATIVES, EVENTS, PRODUCTS, RENDITIONS

__all__ = [
    "COUNTS",
    "CREATIVES",
    "EVENTS",
    "PRODUCTS",
    "RENDITIONS",
    "Manifest",
    "Run",
    "Workspace",
    "atomic_file",
    "atomic_folder",
    "check_catalog",
    "file_name",
    "fingerprint",
    "read_metrics",
    "replace_catalog",
    "save_ad",
    "write_text",
]
