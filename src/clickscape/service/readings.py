"""Readings in the store: a worker makes them from events (`read_events`), and whoever looks finds the newest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.engine import Connection, Engine

from clickscape.experiment.prior import ScorePrior
from clickscape.experiment.reading import ExperimentReading
from clickscape.service import jobs, schema
from clickscape.service.event_writer import insert_new
from clickscape.service.experiments import StoredExperiment

About = Literal["product", "experiment", "fatigue", "scores", "model", "bots"]
BANDIT, EVEN = "bandit", "even"
"""Variants of what choosing earns: users of whom the bandit chooses, and held-back users, who see every ad alike."""

_OLD: Mapping[About, int] = {"product": 60_000_000, "experiment": 60_000_000, "fatigue": 6 * 3_600_000_000}
"""Microseconds after which a reading is made anew while somebody looks."""

BOTS_OLD = 600_000_000
"""Microseconds after which users who are no people are looked for anew."""

_READINGS = TypeAdapter(ExperimentReading)
_PRIORS = TypeAdapter(ScorePrior)


@dataclass(frozen=True, slots=True)
class Kept:
    """A reading as the store keeps it, and when it was made, in microseconds."""

    content: Mapping[str, Any]
    made_at: int

    @property
    def experiment(self) -> ExperimentReading | None:
        """The reading of an experiment or of choosing, None where nobody has seen all of its variants yet."""
        found = self.content.get("reading")
        return None if found is None else _READINGS.validate_python(found)


def as_content(
    reading: ExperimentReading | None, *, bots: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:  # fmt: skip
    """Return a reading as the store keeps it; bots: what is said of the users who were left out."""
    return {"reading": None if reading is None else _READINGS.dump_python(reading, mode="json"), "bots": dict(bots)}


def keep(engine: Engine, about: About, name: str, content: Mapping[str, Any], *, now: int) -> None:
    """Store a reading in the place of the one before."""
    table = schema.readings
    values = {"reading": dict(content), "made_at": now}
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if not insert_new(connection, table, [{"about": about, "name": name, **values}], returning=("name",)):
            connection.execute(sa.update(table).where(table.c.about == about, table.c.name == name).values(values))


def newest(engine: Engine, about: About, name: str = "") -> Kept | None:
    """Return the newest reading, None before the first."""
    table = schema.readings
    with engine.connect() as connection:
        row = connection.execute(sa.select(table).where(table.c.about == about, table.c.name == name)).one_or_none()
    return None if row is None else Kept(row.reading, row.made_at)


def keep_prior(engine: Engine, prior: ScorePrior, *, now: int) -> None:
    """Store what scores say of CTRs, which every choice starts from."""
    keep(engine, "scores", "", _PRIORS.dump_python(prior, mode="json"), now=now)


def newest_prior(connection: Connection) -> ScorePrior:
    """Return what scores say of CTRs; that they say nothing before anything was learned."""
    table = schema.readings
    asked = sa.select(table.c.reading).where(table.c.about == "scores", table.c.name == "")
    found = connection.execute(asked).scalar_one_or_none()
    return ScorePrior() if found is None else _PRIORS.validate_python(found)


def ask_anew(engine: Engine, about: About, name: str = "", *, held: Kept | None, now: int) -> None:
    """Give the worker a reading to make where there is none, or an old one."""
    if held is None or now - held.made_at > _OLD[about] or held.made_at > now:  # the last: a clock was set back
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            jobs.enqueue(connection, "read", {"about": about, "name": name}, now=now)


def of_stored(engine: Engine, one: StoredExperiment, *, window: int, now: int) -> Kept | None:
    """Return the newest reading of an experiment, and have it made anew while its events come in.

    window: microseconds after its end for which events still may.
    """
    held = newest(engine, "experiment", one.definition.name)
    end = one.definition.end
    last = None if end is None else round(end.timestamp() * 1_000_000) + window
    if held is None or last is None or held.made_at < last:
        ask_anew(engine, "experiment", one.definition.name, held=held, now=now)
    return held
