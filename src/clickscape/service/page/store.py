"""What the pages show, read from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from clickscape.service import schema
from clickscape.service.publishing import SERVED

Show = Literal["all", "unapproved", "stale", "flagged"]
SHOWS: tuple[Show, ...] = get_args(Show)
PAGE = 40


@dataclass(frozen=True, slots=True)
class PageProduct:
    """A product as the pages show it; `stale`: number of its creatives that show it as it was."""

    product_id: str
    title: str
    category: tuple[str, ...]
    creatives: Mapping[str, int]
    stale: int
    flags: tuple[str, ...]
    has_image: bool
    has_photo: bool
    points: Mapping[str, Any]

    @property
    def approved(self) -> int:
        """Number of creatives that are served."""
        return sum(self.creatives.get(status, 0) for status in SERVED)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A product in a list to work through: how many of its creatives wait for a decision, or are served."""

    product_id: str
    title: str
    number: int


def product(engine: Engine, product_id: str) -> PageProduct | None:
    """Return a product, None for none of this id."""
    found = products(engine, only=product_id)
    return found[0] if found else None


def products(
    engine: Engine, *, search: str = "", show: Show = "all", after: str = "", only: str | None = None, most: int = PAGE
) -> list[PageProduct]:
    """Return products by id after another: those whose title or id has the words, and that `show` asks for."""
    table, creatives = schema.products, schema.creatives
    chosen = sa.select(table).where(table.c.product_id > after).order_by(table.c.product_id).limit(most)
    if only is not None:
        chosen = chosen.where(table.c.product_id == only)
    for word in search.split():
        chosen = chosen.where(
            table.c.title.icontains(word, autoescape=True) | table.c.product_id.icontains(word, autoescape=True)
        )
    if show != "all":
        chosen = chosen.where(_asked_for(show))
    is_old = creatives.c.stale.is_(True) & creatives.c.status.not_in(_ENDED)
    with engine.connect() as connection:
        rows = connection.execute(chosen).all()
        counted = connection.execute(
            sa.select(creatives.c.product_id, creatives.c.status, sa.func.count(),
                      sa.func.sum(sa.case((is_old, 1), else_=0)))
            .where(creatives.c.product_id.in_([row.product_id for row in rows]))
            .group_by(creatives.c.product_id, creatives.c.status)
        ).all()  # fmt: skip
    numbers: dict[str, dict[str, int]] = {}
    old: dict[str, int] = {}
    for product_id, status, number, stale in counted:
        numbers.setdefault(product_id, {})[status] = number
        old[product_id] = old.get(product_id, 0) + int(stale or 0)
    return [
        PageProduct(
            row.product_id, row.title, tuple(row.category), numbers.get(row.product_id, {}), old.get(row.product_id, 0),
            tuple(row.flags or ()), bool(row.image), bool(row.photo), row.points or {},
        )
        for row in rows
    ]  # fmt: skip


def totals(engine: Engine) -> dict[Show, int]:
    """Return how many products each view of the catalog has."""
    table = schema.products
    with engine.connect() as connection:
        return {
            show: connection.execute(
                sa.select(sa.func.count()).select_from(table).where(sa.true() if show == "all" else _asked_for(show))
            ).scalar_one()
            for show in SHOWS
        }


def with_drafts(engine: Engine, *, most: int = 100) -> list[Waiting]:
    """Return products with drafts, those that have waited longest first."""
    return _with_status(engine, ("draft",), most=most)


def served(engine: Engine, *, most: int = 100) -> list[Waiting]:
    """Return products with creatives that are served."""
    return _with_status(engine, SERVED, most=most)


def picture(
    engine: Engine, *, creative_id: str | None = None, product_id: str | None = None, photo: bool = False
) -> str | None:
    """Return the path inside the workspace of a creative's picture, a product's cut-out or its photo, None for none."""
    if creative_id is not None:
        chosen = sa.select(schema.creatives.c.image).where(schema.creatives.c.creative_id == creative_id)
    else:
        column = schema.products.c.photo if photo else schema.products.c.image
        chosen = sa.select(column).where(schema.products.c.product_id == product_id)
    with engine.connect() as connection:
        found: str | None = connection.execute(chosen).scalar_one_or_none()
    return found


def description(engine: Engine, creative_id: str) -> str:
    """Return what an ad shows, "" for none of this id."""
    return _of_creative(engine, creative_id, schema.creatives.c.description) or ""


def status(engine: Engine, creative_id: str) -> str | None:
    """Return the status of an ad, None for none of this id."""
    return _of_creative(engine, creative_id, schema.creatives.c.status)


def reading(engine: Engine, product_id: str) -> tuple[Mapping[str, Any], int] | None:
    """Return what the worker read from a product's events and when, in microseconds; None before the first time."""
    table = schema.readings
    with engine.connect() as connection:
        row = connection.execute(sa.select(table).where(table.c.product_id == product_id)).one_or_none()
    return None if row is None else (row.reading, row.made_at)


def busiest_placement(engine: Engine, product_id: str) -> str:
    """Return the placement at which most impressions of a product were counted, "default" before the first."""
    table = schema.counts
    with engine.connect() as connection:
        found = connection.execute(
            sa.select(table.c.placement).where(table.c.product_id == product_id).group_by(table.c.placement)
            .order_by(sa.func.sum(table.c.impressions).desc(), table.c.placement).limit(1)
        ).scalar_one_or_none()  # fmt: skip
    return found or "default"


def _of_creative(engine: Engine, creative_id: str, column: sa.Column[str]) -> str | None:
    with engine.connect() as connection:
        return connection.execute(sa.select(column).where(schema.creatives.c.creative_id == creative_id)).scalar()


_ENDED = ("rejected", "retired")


def _asked_for(show: Show) -> Any:
    table, creatives = schema.products, schema.creatives
    own = sa.select(creatives.c.creative_id).where(creatives.c.product_id == table.c.product_id)
    if show == "unapproved":
        return ~own.where(creatives.c.status.in_(SERVED)).exists()
    if show == "stale":
        return own.where(creatives.c.stale.is_(True), creatives.c.status.not_in(_ENDED)).exists()
    return sa.cast(table.c.flags, sa.Text).not_in(("[]", "null")) & table.c.flags.is_not(None)


def _with_status(engine: Engine, statuses: Sequence[str], *, most: int) -> list[Waiting]:
    table, creatives = schema.products, schema.creatives
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(table.c.product_id, table.c.title, sa.func.count().label("number"))
            .join(creatives, creatives.c.product_id == table.c.product_id)
            .where(creatives.c.status.in_(statuses))
            .group_by(table.c.product_id, table.c.title)
            .order_by(sa.func.min(creatives.c.created_at), table.c.product_id)
            .limit(most)
        ).all()
    return [Waiting(*row) for row in rows]
