"""Between store and workspace: products, creatives and scores go out, events and decisions come back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from clickscape.catalog.cutout_file import flagged
from clickscape.catalog.images import open_image
from clickscape.catalog.publishable import stale
from clickscape.compute.device import best_device
from clickscape.errors import WorkspaceError
from clickscape.experiment.assign import key_id
from clickscape.render.scene import slots_of
from clickscape.reward.explain.scale import Scale
from clickscape.reward.labels import Label
from clickscape.reward.protocol import HALF_WIDTH, PROBIT, Slots
from clickscape.service import publishing, schema
from clickscape.service.experiments import exchange
from clickscape.service.pull import EVENTS, Pulled, pull_events
from clickscape.stages.experiment import all_experiments, keep, read_key
from clickscape.stages.explain import reward_scale
from clickscape.stages.labels import keep_labels
from clickscape.stages.simulate import STAGE as SIMULATE
from clickscape.types import Creative, CreativeStatus, Estimate, Product
from clickscape.workspace import Workspace


def publish(engine: Engine, workspace: Workspace, *, now: int, product_id: str | None = None) -> list[str]:
    """Publish the workspace's products and creatives, of one product or of all; return the ids of the creatives.

    Where the workspace has a reward model, creatives that the store has no score of are scored.
    """
    products = workspace.products() if workspace.products_path.exists() else []
    creatives = [one for one in workspace.creatives() if not one.is_simulated]
    if product_id is not None:
        products = [one for one in products if one.product_id == product_id]
        creatives = [one for one in creatives if one.product_id == product_id]
    images = {one.creative_id: workspace.name_image(one.image) for one in creatives}
    inside = {name for name, image in images.items() if not image.startswith("/")}
    creatives = [one for one in creatives if one.creative_id in inside]
    scores = _scores(engine, workspace, products, creatives)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        publishing.publish(
            connection, products, creatives, images=images, scores=scores, now=now,
            cutouts=_cutouts(workspace, products), stale=stale(creatives, {one.product_id: one for one in products}),
        )  # fmt: skip
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
    flags = {one.product_id: one.flags for one in flagged(products)}
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


def _scores(
    engine: Engine, workspace: Workspace, products: list[Product], creatives: list[Creative]
) -> dict[str, tuple[float, float]]:
    """Log CTR of every creative against its product's mean, and sd, of those products that have one without.

    None of them where held-out clicks do not say what the reward model's logits are in CTR.
    """
    folder = workspace.models / "reward"
    table = schema.creatives
    with engine.connect() as connection:
        rows = connection.execute(sa.select(table.c.creative_id, table.c.score, table.c.score_sd)).all()
    known = {row.creative_id: (row.score, row.score_sd) for row in rows if row.score is not None}
    ids = {product.product_id for product in products}
    if not folder.exists() or all(one.creative_id in known for one in creatives if one.product_id in ids):
        return known
    from clickscape import reward as reward_room

    model = reward_room.load(folder, device=best_device()).with_given_scenes()
    scale = reward_scale(workspace, model)
    if scale is None or not scale.known:
        return known
    for product in products:
        own = [one for one in creatives if one.product_id == product.product_id]
        if all(one.creative_id in known for one in own):
            continue
        images = [open_image(workspace.resolve(one.image))[..., :3] for one in own]
        scenes = [slots_of(one) for one in own]
        ranking = model.rank(product, images, scenes)
        mean = sum(one.score.value for one in ranking) / len(ranking)
        for one in ranking:
            slots = _differing(scenes[one.index], scenes)
            known[own[one.index].creative_id] = _log_ctr(one.score, mean, scale, slots=slots)
    return known


def _log_ctr(score: Estimate, mean: float, scale: Scale, *, slots: float) -> tuple[float, float]:
    """A score in logits as log CTR against the mean, and its sd: of the model, of the scale, and what neither knows."""
    logits, half = score.value - mean, (score.high - score.low) / 2
    own = (
        max((half / HALF_WIDTH) ** 2 - PROBIT**2 / 2, 0.0) if math.isfinite(half) else 0.0
    )  # ranks hold chance as well
    return scale.slope * logits, math.sqrt(scale.slope**2 * own + (scale.error * logits) ** 2 + scale.misfit**2 * slots)


def _differing(scene: Slots | None, others: Sequence[Slots | None]) -> float:
    """In how many slots a scene differs from those of the product's ads, on average, and at least in one."""
    seen = [sum(scene[slot] != other.get(slot) for slot in scene) for other in others if scene and other]
    return max(sum(seen) / max(len(seen), 1), 1.0)
