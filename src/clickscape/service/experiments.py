"""Experiments in the store: started, stopped and shipped here or in the workspace, read where creatives are chosen.

While the service runs the store has the truth, as it has for the statuses of creatives: what is decided here is in
force once it is committed, and the worker writes it into the workspace; what the command line starts or stops there
comes in by the same exchange. Definitions, and the rules of what may run beside what, are those of the room
`experiment`.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.engine import Connection, Engine

from clickscape.errors import ExperimentError
from clickscape.experiment.default_variants import Ad, default_variants
from clickscape.experiment.definition import ExperimentDefinition, Variant, as_record, check_beside
from clickscape.service import jobs, publishing, schema
from clickscape.service.publishing import SERVED, NotAllowedError

Status = Literal["running", "stopped", "shipped"]
STATUSES: tuple[Status, ...] = get_args(Status)
Known = MutableMapping[tuple[str, int], ExperimentDefinition]
_DEFINITIONS = TypeAdapter(ExperimentDefinition)
_MOST = 500  # ids of one statement


@dataclass(frozen=True, slots=True)
class StoredExperiment:
    """An experiment and what became of it; shipped: the variant that got all traffic, None where none did."""

    definition: ExperimentDefinition
    status: Status
    shipped: str | None


def list_experiments(engine: Engine, *, product_id: str | None = None) -> list[StoredExperiment]:
    """Return the experiments, those that run first, then the newest; with `product_id`, those of this product."""
    with engine.connect() as connection:
        found = [_stored(row) for row in connection.execute(sa.select(schema.experiments)).all()]
    if product_id is not None:
        found = [one for one in found if product_id in one.definition.products]
    found.sort(key=lambda one: one.definition.name)
    found.sort(key=lambda one: (one.status == "running", one.definition.start), reverse=True)
    return found


def find_experiment(engine: Engine, name: str) -> StoredExperiment | None:
    """Return an experiment, None for none of this name."""
    with engine.connect() as connection:
        row = connection.execute(_named(name)).one_or_none()
    return None if row is None else _stored(row)


def start_experiment(engine: Engine, made: ExperimentDefinition, *, now: int) -> StoredExperiment:
    """Start an experiment; the same start again changes nothing.

    NotAllowedError for a name that is taken and for creatives that are not served; ExperimentError beside another
    experiment that shows the same products to the same users.
    """
    with _writing(engine) as connection, connection.begin():
        _alone(connection)
        if row := connection.execute(_named(made.name)).one_or_none():
            old = _stored(row)
            if replace(made, start=old.definition.start, end=old.definition.end) == old.definition:
                return old
            raise NotAllowedError(f"there is an experiment {made.name!r}, and none is changed after its start. "
                                  f"Start another under a new name.")  # fmt: skip
        _check_creatives(connection, made)
        for other in running_experiments(connection):
            check_beside(made, other)
        _insert(connection, made, status="running", now=now)
        jobs.enqueue(connection, "experiments", {}, now=now)
    return StoredExperiment(made, "running", None)


def stop_experiment(engine: Engine, name: str, *, now: int) -> StoredExperiment | None:
    """End an experiment, which frees its users and products; None for none of this name. It is not started again."""
    with _writing(engine) as connection, connection.begin():
        return _end(connection, name, now=now)


def ship(engine: Engine, name: str, variant: str, *, key_id: str, now: int) -> StoredExperiment | None:
    """End an experiment and give all traffic of its products to one variant's creatives, in one transaction.

    They become live and the other creatives that are served are retired, each with a review; a product whose winner is
    served no longer stays as it is. None for no such experiment; NotAllowedError for no such variant, for one whose
    creatives are all gone, and for an experiment that was shipped already.
    """
    with _writing(engine) as connection, connection.begin():
        _alone(connection)
        ended = _end(connection, name, now=now)
        if ended is None:
            return None
        if ended.status == "shipped":
            raise NotAllowedError(f"experiment {name!r} was shipped already: {ended.shipped} has all traffic.")
        shown = {one.name: one.creatives for one in ended.definition.variants}.get(variant)
        if shown is None:
            raise NotAllowedError(f"experiment {name!r} has no variant {variant!r}.")
        publishing.give_all_traffic(connection, shown, reason=f"shipped {variant} of {name}", key_id=key_id, now=now)
        table = schema.experiments
        connection.execute(sa.update(table).where(table.c.name == name).values(status="shipped", shipped=variant))
    return StoredExperiment(ended.definition, "shipped", variant)


def default_of_store(engine: Engine, *, product_ids: Sequence[str] = ()) -> list[Variant]:
    """Return the variants of `default_variants` for the creatives that are served; ExperimentError."""
    table, counts = schema.creatives, schema.counts
    shown = (
        sa.select(counts.c.creative_id, sa.func.sum(counts.c.impressions).label("shown"))
        .group_by(counts.c.creative_id).subquery()
    )  # fmt: skip
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(table.c.creative_id, table.c.product_id, table.c.status, sa.func.coalesce(shown.c.shown, 0))
            .outerjoin(shown, shown.c.creative_id == table.c.creative_id)
            .where(table.c.status.in_(SERVED))
            .order_by(table.c.created_at, table.c.creative_id)
        ).all()
    ads = [Ad(name, product_id, status, int(number)) for name, product_id, status, number in rows]
    return default_variants(ads, product_ids=product_ids)


def running_experiments(
    connection: Connection, product_id: str | None = None, *, now: int | None = None, known: Known | None = None
) -> tuple[ExperimentDefinition, ...]:
    """Return the experiments that run, by name.

    product_id: those that compare creatives of this product. now: those that have begun by then, in microseconds.
    known: definitions that were read before, by name and change; new ones are added.
    """
    table = schema.experiments
    rows = connection.execute(
        sa.select(table.c.name, table.c.changed_at).where(table.c.status == "running").order_by(table.c.name)
    ).all()
    held: Known = {} if known is None else known
    if missing := [row.name for row in rows if (row.name, row.changed_at) not in held]:
        for row in connection.execute(sa.select(table).where(table.c.name.in_(missing))).all():
            held[row.name, row.changed_at] = _DEFINITIONS.validate_python(row.definition)
    for old in set(held) - {(row.name, row.changed_at) for row in rows}:
        held.pop(old, None)
    found = (held[row.name, row.changed_at] for row in rows)
    return tuple(
        one
        for one in found
        if (product_id is None or product_id in one.variants[0].creatives) and (now is None or one.start <= _time(now))
    )


def exchange(
    connection: Connection, of_workspace: Sequence[ExperimentDefinition], *, now: int
) -> list[ExperimentDefinition]:
    """Bring the workspace's experiments into the store; return those that the workspace lacks, or has without an end.

    ExperimentError where both have one of a name and say otherwise, and where one of the workspace may not run beside
    one of the store.
    """
    _alone(connection)
    held = {row.name: _stored(row) for row in connection.execute(sa.select(schema.experiments)).all()}
    theirs = {one.name: one for one in of_workspace}
    for name, one in theirs.items():
        ended = one.end is not None and one.end <= _time(now)
        if name not in held:
            for other in () if ended else running_experiments(connection):
                check_beside(one, other)
            _insert(connection, one, status="stopped" if ended else "running", now=now)
        elif replace(one, end=None) != replace(held[name].definition, end=None):
            raise ExperimentError(f"experiment {name!r} of the workspace is not the one of the service. Rename or "
                                  f"remove its folder in experiments/.")  # fmt: skip
        elif ended and held[name].status == "running":
            _write_end(connection, one, now=now)
    return [
        one.definition
        for name, one in sorted(held.items())
        if name not in theirs or (one.definition.end is not None and theirs[name].end is None)
    ]


def _end(connection: Connection, name: str, *, now: int) -> StoredExperiment | None:
    row = connection.execute(_named(name).with_for_update()).one_or_none()
    if row is None:
        return None
    held = _stored(row)
    if held.status != "running":
        return held
    ended = replace(held.definition, end=max(_time(now), held.definition.start))
    _write_end(connection, ended, now=now)
    jobs.enqueue(connection, "experiments", {}, now=now)
    return StoredExperiment(ended, "stopped", None)


def _write_end(connection: Connection, ended: ExperimentDefinition, *, now: int) -> None:
    table = schema.experiments
    connection.execute(
        sa.update(table)
        .where(table.c.name == ended.name)
        .values(definition=as_record(ended), status="stopped", changed_at=now)
    )


def _insert(connection: Connection, made: ExperimentDefinition, *, status: Status, now: int) -> None:
    values = {"name": made.name, "definition": as_record(made), "status": status, "changed_at": now}
    connection.execute(sa.insert(schema.experiments).values(values))


def _check_creatives(connection: Connection, made: ExperimentDefinition) -> None:
    """Refuse creatives that are unknown, of another product, or not served."""
    table = schema.creatives
    wanted = sorted({name for one in made.variants for name in one.creatives.values()})
    found: dict[str, Any] = {}
    for start in range(0, len(wanted), _MOST):
        rows = connection.execute(
            sa.select(table.c.creative_id, table.c.product_id, table.c.status).where(
                table.c.creative_id.in_(wanted[start : start + _MOST])
            )
        ).all()
        found |= {row.creative_id: row for row in rows}
    for one in made.variants:
        for product_id, name in sorted(one.creatives.items()):
            row = found.get(name)
            if row is None or row.product_id != product_id:
                raise NotAllowedError(f"product {product_id!r} has no creative {name!r}, which variant {one.name!r} "
                                      f"shall show. Correct the id.")  # fmt: skip
            if row.status not in SERVED:
                raise NotAllowedError(f"creative {name!r} of variant {one.name!r} is {row.status}. Approve it first.")


def _alone(connection: Connection) -> None:
    """Let no other instance start an experiment meanwhile; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE experiments IN SHARE ROW EXCLUSIVE MODE"))


def _writing(engine: Engine) -> Connection:
    return engine.connect().execution_options(writes=True)


def _named(name: str) -> sa.Select[Any]:
    return sa.select(schema.experiments).where(schema.experiments.c.name == name)


def _stored(row: Any) -> StoredExperiment:
    return StoredExperiment(_DEFINITIONS.validate_python(row.definition), row.status, row.shipped)


def _time(now: int) -> datetime:
    return datetime.fromtimestamp(now / 1e6, UTC)
