"""What the page shows beside the first schema: cut-outs, their photos and flags, stale creatives, readings of lift."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add columns that are empty until the workspace is published again, and a table."""
    for column in (sa.Column("image", sa.Text), sa.Column("flags", sa.JSON), sa.Column("photo", sa.Text),
                   sa.Column("points", sa.JSON)):  # fmt: skip
        op.add_column("products", column)
    op.add_column("creatives", sa.Column("stale", sa.Boolean))
    op.create_table(
        "readings",
        sa.Column("product_id", sa.String, primary_key=True),
        sa.Column("reading", sa.JSON, nullable=False),
        sa.Column("made_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Refuse: what a release before cannot hold would be lost."""
    raise NotImplementedError("restore the backup of before the upgrade")
