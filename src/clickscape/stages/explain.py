"""Why the clicks of a workspace became these labels: its estimates, and what the stage `clicks` learned of the log."""

from __future__ import annotations

from clickscape import clicks as click_room
from clickscape.clicks import explain as explaining
from clickscape.clicks.ctr import model_from
from clickscape.clicks.explain import Explanation
from clickscape.config import ClicksConfig
from clickscape.workspace import Manifest, Workspace


def explain(workspace: Workspace, made: Manifest, *, product_id: str | None = None, whole: bool = False) -> Explanation:
    """Explain what the run `made` of stage `clicks` kept; see `clicks.explain.explain` for what is shown in full."""
    return explaining.explain(
        click_room.read_estimates(workspace),
        model=model_from(made.result["model"]),
        config=ClicksConfig.model_validate(made.config),
        product_id=product_id,
        whole=whole,
    )
