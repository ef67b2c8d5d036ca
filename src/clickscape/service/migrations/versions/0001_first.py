"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_COUNTER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "products",
        sa.Column("product_id", sa.String, primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("category", sa.JSON, nullable=False),
        sa.Column("price", sa.Float),
        sa.Column("currency", sa.String),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "creatives",
        sa.Column("creative_id", sa.String, primary_key=True),
        sa.Column("product_id", sa.String, sa.ForeignKey("products.product_id"), nullable=False),
        sa.Column("image", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("reason", sa.Text, nullable=False, default=""),
        sa.Column("score", sa.Float),
        sa.Column("score_sd", sa.Float),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
    )
    op.create_index("creatives_of_product", "creatives", ["product_id", "status"])
    op.create_table(
        "policies",
        sa.Column("policy_id", sa.String(16), primary_key=True),
        sa.Column("product_id", sa.String, nullable=False),
        sa.Column("placement", sa.String, nullable=False),
        sa.Column("candidates", sa.JSON, nullable=False),
        sa.Column("propensities", sa.JSON, nullable=False),
        sa.Column("variants", sa.JSON),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("number", _COUNTER, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.String, nullable=False, unique=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("attribution", sa.String(10), nullable=False),
        sa.Column("decision_id", sa.String, nullable=False),
        sa.Column("creative_id", sa.String),
        sa.Column("product_id", sa.String),
        sa.Column("placement", sa.String),
        sa.Column("user_key", sa.String),
        sa.Column("policy_id", sa.String),
        sa.Column("variant", sa.String),
        sa.Column("ts", sa.BigInteger, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("batch", sa.Integer),
    )
    op.create_index("events_of_user", "events", ["user_key"])
    op.create_index("events_of_batch", "events", ["batch"])
    op.create_table(
        "outcomes",
        sa.Column("decision_id", sa.String(16), primary_key=True),
        sa.Column("kind", sa.String(10), primary_key=True),
    )
    op.create_table(
        "counts",
        sa.Column("product_id", sa.String, primary_key=True),
        sa.Column("creative_id", sa.String, primary_key=True),
        sa.Column("placement", sa.String, primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True),
        sa.Column("impressions", sa.BigInteger, nullable=False),
        sa.Column("clicks", sa.BigInteger, nullable=False),
        sa.Column("conversions", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(16), primary_key=True),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
    )
    op.create_table(
        "sessions",
        sa.Column("session_hash", sa.String(64), primary_key=True),
        sa.Column("key_id", sa.String(16), sa.ForeignKey("api_keys.key_id"), nullable=False),
        sa.Column("csrf", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "reviews",
        sa.Column("number", _COUNTER, primary_key=True, autoincrement=True),
        sa.Column("creative_id", sa.String, nullable=False),
        sa.Column("preferred_to", sa.String),
        sa.Column("decision", sa.String(10), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("reviews_of_creative", "reviews", ["creative_id"])
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.String(32), primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("result", sa.JSON),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger, nullable=False),
    )
    op.create_index("jobs_by_status", "jobs", ["status", "created_at"])
    op.create_table(
        "experiments",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("definition", sa.JSON, nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Refuse: what a release before cannot hold would be lost."""
    raise NotImplementedError("restore the backup of before the upgrade")
