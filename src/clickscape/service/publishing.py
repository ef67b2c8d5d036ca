"""Products and creatives in the store: what the workspace holds is published to it, and people decide about it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from clickscape.service import schema
from clickscape.service.event_writer import insert_new
from clickscape.types import Creative, CreativeStatus, Product

UPLOADS = "service/uploads"
"""Folder of the workspace for pictures that were sent, until a job has read them."""

SERVED: tuple[CreativeStatus, ...] = ("approved", "live")
"""Statuses of creatives that may be shown."""

Decision = Literal["approve", "reject", "retire"]
_MOST = 500  # ids of one statement
_SCORES = ("score", "score_sd", "predicted", "predicted_sd")
_BECOMES: dict[str, CreativeStatus] = {"approve": "approved", "reject": "rejected", "retire": "retired"}
_FROM: dict[str, tuple[str, ...]] = {
    "approve": ("draft", "rejected", "approved"),
    "reject": ("draft", "approved", "rejected"),
    "retire": ("approved", "live", "retired"),
}


class NotAllowedError(Exception):
    """A creative of this status cannot become that one."""


@dataclass(frozen=True, slots=True)
class ProductRow:
    """A product and how many creatives of each status it has."""

    product_id: str
    title: str
    category: tuple[str, ...]
    price: float | None
    currency: str | None
    creatives: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CreativeRow:
    """A creative as the store holds it, with its impressions and clicks of all placements and days.

    score: what a reward model predicts, log CTR against the product's average creative; outdated: there is a newer
    model, which has not come to it yet.
    """

    creative_id: str
    product_id: str
    description: str
    status: CreativeStatus
    reason: str
    score: float | None
    score_sd: float | None
    impressions: int
    clicks: int
    stale: bool | None = None
    outdated: bool = False


def publish(
    connection: Connection,
    products: Sequence[Product],
    creatives: Sequence[Creative],
    *,
    images: Mapping[str, str],
    scores: Mapping[str, tuple[float, float]],
    now: int,
    cutouts: Mapping[str, tuple[str, Sequence[str]]] = MappingProxyType({}),
    stale: Collection[str] = (),
) -> None:
    """Bring the workspace's products and creatives into the store; what people decided there stays.

    images: creative_id → path inside the workspace. scores: creative_id → log CTR against the product's average, sd, of
    creatives that are new to the store.
    cutouts: product_id → path inside the workspace, and what is doubtful about it. stale: ids of creatives whose
    product has changed since.
    """
    rows = [
        {"product_id": one.product_id, "title": one.title, "category": list(one.category), "price": one.price,
         "currency": one.currency, "updated_at": now,
         **dict(zip(("image", "flags"), cutouts.get(one.product_id, (None, None)), strict=True))}
        for one in sorted(products, key=lambda product: product.product_id)
    ]  # fmt: skip
    _upsert(connection, schema.products, rows, key="product_id", keep=())
    known = {one.product_id for one in products}
    made = [
        {"creative_id": one.creative_id, "product_id": one.product_id, "image": images[one.creative_id],
         "description": one.description, "status": one.status, "reason": "", "created_at": now, "changed_at": now,
         "stale": one.creative_id in stale,
         **dict(zip(_SCORES, 2 * scores.get(one.creative_id, (None, None)), strict=True))}
        for one in sorted(creatives, key=lambda creative: creative.creative_id)
        if one.product_id in known and one.creative_id in images and not one.is_simulated
    ]  # fmt: skip
    kept = ("status", "reason", "created_at", "changed_at", *_SCORES)
    _upsert(connection, schema.creatives, made, key="creative_id", keep=kept)


def list_products(engine: Engine, *, after: str = "", limit: int = 50) -> list[ProductRow]:
    """Return products in the order of their ids, those after an id."""
    table, creatives = schema.products, schema.creatives
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(table).where(table.c.product_id > after).order_by(table.c.product_id).limit(limit)
        ).all()
        ids = [row.product_id for row in rows]
        counted = connection.execute(
            sa.select(creatives.c.product_id, creatives.c.status, sa.func.count())
            .where(creatives.c.product_id.in_(ids))
            .group_by(creatives.c.product_id, creatives.c.status)
        ).all()
    numbers: dict[str, dict[str, int]] = {name: {} for name in ids}
    for product_id, status, number in counted:
        numbers[product_id][status] = number
    return [
        ProductRow(row.product_id, row.title, tuple(row.category), row.price, row.currency, numbers[row.product_id])
        for row in rows
    ]


def has_product(engine: Engine, product_id: str) -> bool:
    """Return whether the store has a product."""
    table = schema.products
    with engine.connect() as connection:
        found = connection.execute(sa.select(table.c.product_id).where(table.c.product_id == product_id)).first()
    return found is not None


def list_creatives(engine: Engine, product_id: str) -> list[CreativeRow] | None:
    """Return the creatives of a product, newest first; None for a product that is not there."""
    if not has_product(engine, product_id):
        return None
    table = schema.creatives
    with engine.connect() as connection:
        chosen = _with_counts().where(table.c.product_id == product_id)
        rows = connection.execute(chosen.order_by(table.c.created_at.desc(), table.c.creative_id)).all()
    return [_creative(row) for row in rows]


def decide(
    engine: Engine, creative_id: str, *, decision: Decision, reason: str, key_id: str, now: int
) -> CreativeRow | None:
    """Change a creative's status and keep who decided it and why; None for no such creative, NotAllowedError."""
    table = schema.creatives
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        held = connection.execute(
            sa.select(table.c.status).where(table.c.creative_id == creative_id).with_for_update()
        ).scalar_one_or_none()
        if held is None:
            return None
        if held not in _FROM[decision]:
            raise NotAllowedError(f"a creative that is {held} cannot be {_BECOMES[decision]}.")
        connection.execute(
            sa.update(table)
            .where(table.c.creative_id == creative_id)
            .values(status=_BECOMES[decision], reason=reason, changed_at=now)
        )
        connection.execute(
            sa.insert(schema.reviews).values(
                creative_id=creative_id, decision=decision, reason=reason, key_id=key_id, created_at=now
            )
        )
        return _creative(connection.execute(_with_counts().where(table.c.creative_id == creative_id)).one())


def give_all_traffic(
    connection: Connection, winners: Mapping[str, str], *, reason: str, key_id: str, now: int
) -> list[str]:
    """Make one creative of each product live and retire its others that are served, inside a transaction.

    winners: product_id → creative_id; a product whose winner is not served stays as it is. Returns the ids of the
    products that changed; NotAllowedError where there is none.
    """
    table, changed, decided = schema.creatives, [], []
    products = sorted(winners)
    for start in range(0, len(products), _MOST):
        rows = connection.execute(
            sa.select(table.c.creative_id, table.c.product_id)
            .where(table.c.product_id.in_(products[start : start + _MOST]), table.c.status.in_(SERVED))
            .order_by(table.c.creative_id)
            .with_for_update()
        ).all()
        kept = {row.product_id for row in rows if winners[row.product_id] == row.creative_id}
        changed += sorted(kept)
        decided += [(row.creative_id, winners[row.product_id] == row.creative_id)
                    for row in rows if row.product_id in kept]  # fmt: skip
    if not changed:
        raise NotAllowedError("none of the ads that would get all traffic is served any more.")
    outcomes: tuple[tuple[bool, CreativeStatus], ...] = ((True, "live"), (False, "retired"))
    for won, status in outcomes:
        ids = [name for name, has_won in decided if has_won == won]
        for start in range(0, len(ids), _MOST):
            connection.execute(
                sa.update(table)
                .where(table.c.creative_id.in_(ids[start : start + _MOST]))
                .values(status=status, reason=reason, changed_at=now)
            )
    connection.execute(
        sa.insert(schema.reviews),
        [{"creative_id": name, "decision": "ship" if won else "retire", "reason": reason, "key_id": key_id,
          "created_at": now} for name, won in decided],
    )  # fmt: skip
    return changed


def merged_status(of_store: CreativeStatus, of_workspace: CreativeStatus) -> CreativeStatus:
    """Return the status that a creative has on both sides: who retired it did so for good, and a draft is undecided."""
    if "retired" in (of_store, of_workspace):
        return "retired"
    return of_workspace if of_store == "draft" else of_store


def take_statuses(engine: Engine, changes: Mapping[str, tuple[CreativeStatus, CreativeStatus]], *, now: int) -> None:
    """Write creative_id → (old, new) statuses that were decided in the workspace, where the old one still holds."""
    table = schema.creatives
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        for name, (old, new) in sorted(changes.items()):
            connection.execute(
                sa.update(table)
                .where(table.c.creative_id == name, table.c.status == old)
                .values(status=new, changed_at=now)
            )


def note_photo(engine: Engine, product_id: str, *, photo: str, points: Mapping[str, Any] | None) -> None:
    """Keep which photo (a path inside the workspace) a product was cut out of, and the points that corrected it."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        table = schema.products
        connection.execute(sa.update(table).where(table.c.product_id == product_id).values(photo=photo, points=points))


def photo_of(engine: Engine, product_id: str) -> str | None:
    """Return the photo that a product was cut out of, a path inside the workspace; None where none was kept."""
    table = schema.products
    with engine.connect() as connection:
        found: str | None = connection.execute(
            sa.select(table.c.photo).where(table.c.product_id == product_id)
        ).scalar_one_or_none()
    return found


def is_outdated() -> Any:
    """Return a condition on creatives: another reward model than the newest predicted them, or none did."""
    held = schema.readings
    newest = sa.select(held.c.reading["of"].as_string()).where(held.c.about == "model").scalar_subquery()
    return newest.is_not(None) & schema.creatives.c.predicted_by.is_distinct_from(newest)


def _with_counts() -> sa.Select[Any]:
    table, counts = schema.creatives, schema.counts
    summed = (
        sa.select(
            counts.c.creative_id,
            sa.func.sum(counts.c.impressions).label("impressions"),
            sa.func.sum(counts.c.clicks).label("clicks"),
        )
        .group_by(counts.c.creative_id)
        .subquery()
    )
    return sa.select(table, summed.c.impressions, summed.c.clicks, is_outdated().label("outdated")).outerjoin(
        summed, summed.c.creative_id == table.c.creative_id
    )


def _creative(row: Any) -> CreativeRow:
    return CreativeRow(
        row.creative_id, row.product_id, row.description, row.status, row.reason, row.predicted, row.predicted_sd,
        int(row.impressions or 0), int(row.clicks or 0), row.stale, bool(row.outdated),
    )  # fmt: skip


def _upsert(
    connection: Connection, table: sa.Table, rows: Sequence[dict[str, Any]], *, key: str, keep: Sequence[str]
) -> None:
    """Insert new rows; of those that are there, change all columns but the key and those to keep."""
    new = {name for (name,) in insert_new(connection, table, rows, returning=(key,))}
    changed = [row for row in rows if row[key] not in new]
    if changed:
        values: dict[str, Any] = {
            name: sa.bindparam(f"to_{name}") for name in changed[0] if name != key and name not in keep
        }
        statement = sa.update(table).where(table.c[key] == sa.bindparam("of")).values(values)
        connection.execute(
            statement, [{"of": row[key]} | {f"to_{name}": row[name] for name in values} for row in changed]
        )
