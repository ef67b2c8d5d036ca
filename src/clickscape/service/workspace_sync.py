"""Between store and workspace: products, creatives and scores go out, events and decisions come back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from clickscape.catalog.cutout_file import flagged
from clickscape.catalog.publishable import stale
from clickscape.errors import WorkspaceError
from clickscape.experiment.assign import key_id
from clickscape.reward.labels import Label
from clickscape.service import predictions, publishing, schema
from clickscape.service.experiments import exchange
from clickscape.service.pull import EVENTS, Pulled, pull_events
from clickscape.stages.experiment import all_experiments, keep, read_key
from clickscape.stages.labels import keep_labels
from clickscape.stages.simulate import STAGE as SIMULATE
from clickscape.types import CreativeStatus, Product
from clickscape.workspace import Workspace


def publish(engine: Engine, workspace: Workspace, *, now: int, product_id: str | None = None) -> list[str]:
    """Publish the workspace's products and creatives, of one product or of all; return the ids of the creatives.

    Where the workspace has a reward model, it predicts the clicks of one product's creatives at once, and the worker is
    asked to have it predict those of all.
    """
    products = workspace.products() if workspace.products_path.exists() else []
    creatives = [one for one in workspace.creatives() if not one.is_simulated]
    if product_id is not None:
        products = [one for one in products if one.product_id == product_id]
        creatives = [one for one in creatives if one.product_id == product_id]
    images = {one.creative_id: workspace.name_image(one.image) for one in creatives}
    inside = {name for name, image in images.items() if not image.startswith("/")}
    creatives = [one for one in creatives if one.creative_id in inside]
    made = predictions.predict(workspace, products, creatives) if product_id is not None else None
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        publishing.publish(
            connection, products, creatives, images=images, scores={}, now=now,
            cutouts=_cutouts(workspace, products), stale=stale(creatives, {one.product_id: one for one in products}),
        )  # fmt: skip
        if made is not None:
            predictions.keep(connection, made, [one.product_id for one in products])
    predictions.notice_model(engine, workspace, now=now)
    if predictions.outdated(engine):
        predictions.ask_anew(engine, now=now)
    pull_decisions(engine, workspace, now=now)
    exchange_experiments(engine, workspace, now=now)
    return [one.creative_id for one in creatives]


def exchange_experiments(engine: Engine, workspace: Workspace, *, now: int) -> None:
    """Bring experiments that the workspace started or stopped into the store, and those of the store back."""
    ours = key_id(read_key(workspace))  # an experiment of another key would move every unit: it is not served
    with workspace.lock():
        found = all_experiments(workspace)
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            changed = exchange(connection, [one for one in found if one.key_id == ours], now=now)
        for one in changed:
            keep(workspace, one)


def _cutouts(workspace: Workspace, products: list[Product]) -> dict[str, tuple[str, Sequence[str]]]:
    """Paths of the products' cut-outs inside the workspace, and their flags; one outside is not shown."""
    flags = {one.product_id: one.flags for one in flagged([one for one in products if one.image])}
    named = {one.product_id: workspace.name_image(one.image) for one in products if one.image}
    return {name: (image, list(flags.get(name, ()))) for name, image in named.items() if not image.startswith("/")}


def pull(engine: Engine, workspace: Workspace, *, now: int) -> Pulled:
    """Bring events and decisions into the workspace, where `clicks`, `reward` and `optimize` find them.

    WorkspaceError for events where simulated users' are: one log of both would be neither. Decisions are brought all
    the same.
    """
    pull_decisions(engine, workspace, now=now)
    exchange_experiments(engine, workspace, now=now)
    with workspace.lock():
        if (invented := simulated_log(workspace)) is not None:
            raise WorkspaceError(f"{invented} holds clicks of simulated users, and real ones would be counted with "
                                 f"them. Move it out of the workspace, then pull again.")  # fmt: skip
        return pull_events(engine, workspace.events_folder)


def simulated_log(workspace: Workspace) -> Path | None:
    """Return a log of simulated users that the workspace holds, None for none."""
    if workspace.newest(SIMULATE) is None:
        return None
    own = (*sorted(workspace.events_folder.glob("*")), workspace.counts_path)
    logs = (path for path in own if path.exists() and not path.name.startswith(EVENTS))
    return next((path for path in logs if workspace.made_by(SIMULATE, path)), None)


def pull_decisions(engine: Engine, workspace: Workspace, *, now: int) -> None:
    """Bring what people decided into the workspace: the status of creatives, and labels.

    What was retired in the workspace, or decided there while the store held a draft, comes into the store.
    """
    creatives, reviews = schema.creatives, schema.reviews
    with engine.connect() as connection:
        held = connection.execute(sa.select(creatives.c.creative_id, creatives.c.status)).all()
        said = connection.execute(
            sa.select(reviews, creatives.c.product_id)
            .join(creatives, creatives.c.creative_id == reviews.c.creative_id)
            .where(reviews.c.decision.in_(("approve", "reject")))
            .order_by(reviews.c.number)
        ).all()
    decided: dict[str, CreativeStatus] = {row.creative_id: row.status for row in held}
    with workspace.lock():
        ours = {one.creative_id: one.status for one in workspace.creatives() if one.creative_id in decided}
        merged = {name: publishing.merged_status(decided[name], status) for name, status in ours.items()}
        publishing.take_statuses(
            engine, {name: (decided[name], new) for name, new in merged.items() if new != decided[name]}, now=now
        )
        changed = {name: new for name, new in merged.items() if new != ours[name]}
        if changed:
            workspace.mark_creatives(changed)
        if said:
            keep_labels(workspace, [
                Label(row.creative_id, row.product_id, row.decision, reason=row.reason, reviewer=row.key_id,
                      created_at=datetime.fromtimestamp(row.created_at / 1e6, UTC))
                for row in said
            ])  # fmt: skip
