"""Where an ad stood, and predictions of the newest reward model beside the scores that choosing starts from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns; what was scored so far is what is predicted, by a model that nobody noted."""
    op.add_column("events", sa.Column("position", sa.Integer))
    for name, kind in (("predicted", sa.Float), ("predicted_sd", sa.Float), ("predicted_by", sa.String(64))):
        op.add_column("creatives", sa.Column(name, kind))
    op.execute("UPDATE creatives SET predicted = score, predicted_sd = score_sd")


def downgrade() -> None:
    """Refuse: what a release before cannot hold would be lost."""
    raise NotImplementedError("restore the backup of before the upgrade")
