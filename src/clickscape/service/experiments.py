"""Experiments in the store: the workspace publishes those that it started; they are read where creatives are chosen."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.engine import Connection

from clickscape.experiment.definition import ExperimentDefinition, as_record
from clickscape.service import schema

_DEFINITIONS = TypeAdapter(ExperimentDefinition)


def publish_experiments(connection: Connection, running: Sequence[ExperimentDefinition], *, now: int) -> None:
    """Make the store's running experiments those of the workspace; the others are noted as stopped."""
    table = schema.experiments
    held = {row.name: row for row in connection.execute(sa.select(table)).all()}
    for one in running:
        values = {"definition": as_record(one), "status": "running", "changed_at": now}
        if one.name not in held:
            connection.execute(sa.insert(table).values(name=one.name, **values))
        elif (held[one.name].definition, held[one.name].status) != (values["definition"], "running"):
            connection.execute(sa.update(table).where(table.c.name == one.name).values(values))
    ended = set(held) - {one.name for one in running}
    connection.execute(
        sa.update(table)
        .where(table.c.name.in_(sorted(ended)), table.c.status == "running")
        .values(status="stopped", changed_at=now)
    )


def running_experiments(connection: Connection, product_id: str | None = None) -> tuple[ExperimentDefinition, ...]:
    """Return the experiments that run, by name; with `product_id`, those that compare creatives of this product."""
    table = schema.experiments
    rows = connection.execute(
        sa.select(table.c.definition).where(table.c.status == "running").order_by(table.c.name)
    ).scalars()  # fmt: skip
    found = (_DEFINITIONS.validate_python(row) for row in rows)
    return tuple(one for one in found if product_id is None or product_id in one.products)
