"""The service as one would write it in an afternoon: FastAPI, a random choice, and one commit per request."""

from __future__ import annotations

import os
import random
import secrets

import sqlalchemy as sa
from fastapi import FastAPI
from pydantic import BaseModel

metadata = sa.MetaData()
creatives = sa.Table(
    "naive_creatives",
    metadata,
    sa.Column("creative_id", sa.String, primary_key=True),
    sa.Column("product_id", sa.String),
)
events = sa.Table(
    "naive_events",
    metadata,
    sa.Column("event_id", sa.String, primary_key=True),
    sa.Column("kind", sa.String),
    sa.Column("decision_id", sa.String),
)


class EventIn(BaseModel):
    """One event."""

    event_id: str
    kind: str
    decision_id: str


class Batch(BaseModel):
    """Events of a request."""

    events: list[EventIn]


def application() -> FastAPI:
    """Return the application on the store that the environment names."""
    engine = sa.create_engine(os.environ["NAIVE_STORE"])
    if engine.dialect.name == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def _prepare(connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")

    metadata.create_all(engine)
    with engine.begin() as connection:
        if not connection.execute(sa.select(creatives)).first():
            rows = [{"creative_id": f"c{number}", "product_id": "p0"} for number in range(8)]
            connection.execute(sa.insert(creatives), rows)
    app = FastAPI()

    @app.get("/v1/choose")
    def choose(product_id: str, user_key: str, placement: str = "default") -> dict[str, object]:  # noqa: ARG001
        with engine.connect() as connection:
            found = connection.execute(sa.select(creatives).where(creatives.c.product_id == product_id)).all()
        return {
            "creative_id": random.choice(found).creative_id,
            "decision_id": secrets.token_hex(16),
            "propensity": 1 / len(found),
        }

    @app.post("/v1/events")
    def store(batch: Batch) -> dict[str, int]:
        with engine.begin() as connection:
            for one in batch.events:
                connection.execute(sa.insert(events).values(one.model_dump()))
        return {"stored": len(batch.events)}

    return app
