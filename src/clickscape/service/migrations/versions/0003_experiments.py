"""Which experiment an event is of, indexes by which a product's or an experiment's are read, and readings by kind."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
_MOST = 500  # products of one statement


def upgrade() -> None:
    """Add what is missing, and name the experiment of events that came before; readings are made anew."""
    for table in ("events", "policies"):
        op.add_column(table, sa.Column("experiment", sa.String))
    op.add_column("experiments", sa.Column("shipped", sa.String))
    is_of_one = sa.text("experiment IS NOT NULL")
    op.create_index("events_of_product", "events", ["product_id"])
    _name_experiments(op.get_bind())
    op.create_index(
        "events_of_experiment", "events", ["experiment"], sqlite_where=is_of_one, postgresql_where=is_of_one
    )
    op.drop_table("readings")
    op.create_table(
        "readings",
        sa.Column("about", sa.String(10), primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("reading", sa.JSON, nullable=False),
        sa.Column("made_at", sa.BigInteger, nullable=False),
    )


def _name_experiments(connection: sa.Connection) -> None:
    """An event of a variant is of the newest experiment that has the variant and the product and had begun by then."""
    events = sa.table("events", *map(sa.column, ("experiment", "variant", "product_id", "received_at")))
    held = sa.table("experiments", sa.column("name"), sa.column("definition", sa.JSON))
    found = connection.execute(sa.select(held.c.name, held.c.definition)).all()
    for name, definition in sorted(found, key=lambda row: datetime.fromisoformat(row[1]["start"]), reverse=True):
        begun = round(datetime.fromisoformat(definition["start"]).timestamp() * 1_000_000)
        variants = [one["name"] for one in definition["variants"] if one["name"] != "bandit"]
        products = sorted(definition["variants"][0]["creatives"])
        for start in range(0, len(products), _MOST):
            connection.execute(
                sa.update(events)
                .where(
                    events.c.product_id.in_(products[start : start + _MOST]), events.c.experiment.is_(None),
                    events.c.variant.in_(variants), events.c.received_at >= begun,
                )
                .values(experiment=name)
            )  # fmt: skip


def downgrade() -> None:
    """Refuse: what a release before cannot hold would be lost."""
    raise NotImplementedError("restore the backup of before the upgrade")
