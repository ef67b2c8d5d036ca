"""The creatives that a click log may name: those that were live. Drafts come and go without making models stale."""

from __future__ import annotations

from clickscape.workspace import Workspace, fingerprint

_NEVER_SERVED = ("draft", "approved", "rejected")


def served_fingerprint(workspace: Workspace) -> str:
    """Return the fingerprint of the creatives that are or were live: it changes when one goes live."""
    return fingerprint(
        [
            [one.creative_id, one.product_id, one.description, one.scene]
            for one in workspace.creatives()
            if one.status not in _NEVER_SERVED
        ]
    )
