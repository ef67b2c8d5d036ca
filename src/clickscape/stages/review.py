"""Stage `review`: people decide which creatives may be shown."""

from __future__ import annotations

from collections.abc import Sequence

from clickscape.errors import WorkspaceError
from clickscape.types import Creative, CreativeStatus
from clickscape.workspace import Workspace

_APPROVED: CreativeStatus = "approved"
_REJECTED: CreativeStatus = "rejected"


def review(
    workspace: Workspace,
    *,
    approve: Sequence[str] = (),
    reject: Sequence[str] = (),
    approve_all: bool = False,
) -> list[Creative]:
    """Approve and reject creatives by id, all or none, and return every creative as it stands then.

    `approve_all` approves what is still a draft and not rejected by name. WorkspaceError for an unknown id, for one
    that is both approved and rejected, and for one that is live or retired: where it runs, it is stopped first.
    """
    if both := sorted(set(approve) & set(reject)):
        raise WorkspaceError(f"creative {both[0]!r} is both approved and rejected. Name it once.")
    with workspace.lock():
        status = {creative.creative_id: creative.status for creative in workspace.some_creatives()}
        wanted: dict[str, CreativeStatus] = {}
        if approve_all:
            wanted |= {name: "approved" for name, now in status.items() if now == "draft"}
        wanted |= dict.fromkeys(approve, _APPROVED) | dict.fromkeys(reject, _REJECTED)
        for name in (*approve, *reject):
            if status.get(name) in ("live", "retired"):
                raise WorkspaceError(f"creative {name!r} is {status[name]}, expected a draft. Leave it as it is.")
        if wanted:
            workspace.mark_creatives(wanted)
        return workspace.creatives()
