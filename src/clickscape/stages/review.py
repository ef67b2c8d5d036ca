"""Stage `review`: people decide which creatives may be shown."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime

from clickscape.catalog.publishable import SIMULATED
from clickscape.errors import WorkspaceError
from clickscape.render.registry import RENDERERS
from clickscape.reward.labels import Label
from clickscape.stages.labels import keep_labels
from clickscape.types import Creative, CreativeStatus
from clickscape.workspace import Workspace

_APPROVED: CreativeStatus = "approved"
_REJECTED: CreativeStatus = "rejected"
_RETIRED: CreativeStatus = "retired"


def review(
    workspace: Workspace,
    *,
    approve: Sequence[str] = (),
    reject: Sequence[str] = (),
    retire: Sequence[str] = (),
    approve_all: bool = False,
    now: datetime | None = None,
) -> list[Creative]:
    """Approve, reject and retire creatives by id, all or none, and return every creative as it stands then.

    `approve_all` approves what is still a draft, not rejected by name, not simulated and drawn here: own ads are
    approved by id. WorkspaceError for an unknown id, for one that is both approved and rejected, for a simulated one
    that is approved, and for one that is live or retired: where it runs, it is stopped first. `retire` takes approved
    and live ones off the air for good, also in a service that serves this workspace. What is approved or rejected by
    name becomes a label (`reward.labels`), of the time `now` (UTC, the present).
    """
    for first, second, said in ((approve, reject, "approved and rejected"), (approve, retire, "approved and retired"),
                                (reject, retire, "rejected and retired")):  # fmt: skip
        if both := sorted(set(first) & set(second)):
            raise WorkspaceError(f"creative {both[0]!r} is both {said}. Name it once.")
    changes = approve or reject or retire or approve_all
    with workspace.lock() if changes else nullcontext():  # looking needs no right to write
        creatives = workspace.some_creatives()
        status = {creative.creative_id: creative.status for creative in creatives}
        simulated = {creative.creative_id for creative in creatives if creative.is_simulated}
        if named := sorted(simulated & set(approve)):
            raise WorkspaceError(
                f"creative {named[0]!r} is {SIMULATED}; it is never published. Draw ads for shoppers with "
                f"`clickscape generate {workspace.path.name} --out ads/` and approve those."
            )
        wanted: dict[str, CreativeStatus] = {}
        if approve_all:
            drawn_here = (one for one in creatives if not one.is_simulated and one.renderer in RENDERERS)
            wanted |= {one.creative_id: _APPROVED for one in drawn_here if one.status == "draft"}
        wanted |= dict.fromkeys(approve, _APPROVED) | dict.fromkeys(reject, _REJECTED)
        wanted |= dict.fromkeys(retire, _RETIRED)
        for name in (*approve, *reject):
            if status.get(name) in ("live", "retired"):
                raise WorkspaceError(f"creative {name!r} is {status[name]}, expected a draft. Leave it as it is.")
        for name in retire:
            if status.get(name) in ("draft", "rejected"):
                raise WorkspaceError(f"creative {name!r} is {status[name]}, so nobody sees it. Reject it, or leave it.")
        if wanted:
            workspace.mark_creatives(wanted)
        if approve or reject:
            at, product_of = now or datetime.now(UTC), {one.creative_id: one.product_id for one in creatives}
            approved = [Label(name, product_of[name], "approve", created_at=at) for name in approve]
            rejected = [Label(name, product_of[name], "reject", created_at=at) for name in reject]
            keep_labels(workspace, [*approved, *rejected])
        return workspace.creatives()
