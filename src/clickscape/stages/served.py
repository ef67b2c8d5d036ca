"""Which creatives a log can speak of: drafts come and are approved or rejected without making learned models stale."""

from __future__ import annotations

from clickscape.workspace import Workspace, fingerprint

_NEVER_SHOWN = ("draft", "approved", "rejected")


def shown(workspace: Workspace) -> str:
    """Fingerprint of the creatives that are or were live; it changes when one goes live, not when one is made."""
    return fingerprint(
        [
            [one.creative_id, one.product_id, one.description, one.scene]
            for one in workspace.creatives()
            if one.status not in _NEVER_SHOWN
        ]
    )
