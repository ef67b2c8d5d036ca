"""What the workspace's reward model says of creatives: kept in the store, and made anew when the model is another.

A creative has two such figures. `predicted` is of the newest model, for people. `score` is what choosing starts from;
it stays as it is once the creative was shown, because a later model has learned from those clicks, which would then
count twice: as counts and inside the score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from clickscape.catalog.images import open_image
from clickscape.compute.device import best_device
from clickscape.errors import ClickscapeError
from clickscape.files import fingerprint
from clickscape.render.scene import slots_of
from clickscape.reward.explain.scale import Scale
from clickscape.reward.protocol import HALF_WIDTH, PROBIT, RewardModel, Slots
from clickscape.service import jobs, publishing, readings, schema
from clickscape.service.limits import LOG
from clickscape.stages.clicks import estimates_path
from clickscape.stages.explain import reward_scale
from clickscape.types import Creative, Estimate, Product
from clickscape.workspace import Workspace

PRODUCTS = 20
"""Products of one job: people's own jobs come in between."""

_ENDED = ("rejected", "retired")


@dataclass(frozen=True, slots=True)
class Predictions:
    """Log CTR of creatives against their product's mean, and its sd; none of those whose clicks say too little.

    model: as `newest_model` names it.
    """

    model: str
    of: Mapping[str, tuple[float, float]]


def signature(workspace: Workspace) -> tuple[tuple[str, int, int], ...]:
    """Return what changes with the files of the reward model and its clicks, without reading them."""
    files = (estimates_path(workspace), *sorted(_folder(workspace).rglob("*")))
    found = [(path.name, path.stat()) for path in files if path.exists()]
    return tuple((name, one.st_mtime_ns, one.st_size) for name, one in found)


def newest_model(workspace: Workspace) -> str | None:
    """Return a fingerprint of the reward model and of the clicks that say what its logits are; None for no model."""
    if not _folder(workspace).exists():
        return None
    clicks = estimates_path(workspace)
    return fingerprint([fingerprint(_folder(workspace)), fingerprint(clicks) if clicks.exists() else ""])


def notice_model(engine: Engine, workspace: Workspace, *, now: int) -> None:
    """Note which reward model the workspace has; where it is another, give the worker all predictions to make anew."""
    model, held = newest_model(workspace), readings.newest(engine, "model")
    if model is None or (held is not None and held.content["of"] == model):
        return
    readings.keep(engine, "model", "", {"of": model}, now=now)
    ask_anew(engine, now=now)


def ask_anew(engine: Engine, *, now: int) -> None:
    """Give the worker the job of predicting what another model predicted."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        jobs.enqueue(connection, "predict", {}, now=now)


def outdated(engine: Engine) -> list[str]:
    """Return the ids of products with creatives that the newest model has not come to, but for those that ended."""
    table = schema.creatives
    with engine.connect() as connection:
        found = connection.execute(
            sa.select(table.c.product_id)
            .where(publishing.is_outdated(), table.c.status.not_in(_ENDED))
            .distinct().order_by(table.c.product_id)
        ).scalars()  # fmt: skip
        return list(found)


def predict(workspace: Workspace, products: Sequence[Product], creatives: Sequence[Creative]) -> Predictions | None:
    """Return predictions of all creatives of these products; None without a reward model."""
    name = newest_model(workspace)
    if name is None:
        return None
    from clickscape import reward as reward_room

    model = reward_room.load(_folder(workspace), device=best_device()).with_given_scenes()
    scale = reward_scale(workspace, model)
    made: dict[str, tuple[float, float]] = {}
    for product in products:
        own = [one for one in creatives if one.product_id == product.product_id]
        if own and scale is not None and scale.known:
            images = [workspace.resolve(one.image) for one in own]
            try:
                found = _of_product(model, product, own, images, scale)
            except ClickscapeError as error:  # one picture that is gone leaves no other product without
                LOG.warning("not predicted", extra={"fields": {"product": product.product_id, "why": str(error)}})
            else:
                made |= dict(zip((one.creative_id for one in own), found, strict=True))
    return Predictions(name, made)


def keep(connection: Connection, made: Predictions, products: Sequence[str]) -> None:
    """Write predictions of all creatives of these products into the store, and the scores of those never shown."""
    table, counts = schema.creatives, schema.counts
    shown = sa.select(counts.c.creative_id).where(counts.c.creative_id == table.c.creative_id, counts.c.impressions > 0)
    held = connection.execute(
        sa.select(table.c.creative_id, table.c.product_id, table.c.score, shown.exists().label("shown"))
        .where(table.c.product_id.in_(products))
    ).all()  # fmt: skip
    apart: dict[str, list[float]] = {}
    for row in held:  # by how much the shown creatives' scores, which stay, are from what is said of them now
        if row.shown and row.score is not None and (now := made.of.get(row.creative_id)) is not None:
            apart.setdefault(row.product_id, []).append(row.score - now[0])
    for row in held:
        value, sd = made.of.get(row.creative_id, (None, None))
        values: dict[str, Any] = {"predicted": value, "predicted_sd": sd, "predicted_by": made.model}
        if not row.shown:
            moved = None if value is None else value + float(np.mean(apart.get(row.product_id, [0.0])))
            values |= {"score": moved, "score_sd": sd}
        connection.execute(sa.update(table).where(table.c.creative_id == row.creative_id).values(values))


def _folder(workspace: Workspace) -> Path:
    return workspace.models / "reward"


def _of_product(
    model: RewardModel, product: Product, own: Sequence[Creative], images: Sequence[Path], scale: Scale
) -> list[tuple[float, float]]:
    """The figures of a product's creatives, in their order."""
    scenes = [slots_of(one) for one in own]
    ranking = model.rank(product, [open_image(path)[..., :3] for path in images], scenes)
    mean = sum(one.score.value for one in ranking) / len(ranking)
    return [
        _log_ctr(one.score, mean, scale, slots=_differing(scenes[one.index], scenes))
        for one in sorted(ranking, key=lambda one: one.index)
    ]


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
