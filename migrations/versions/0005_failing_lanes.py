"""The few lanes that Klaviyo did not take from last are found without looking at all of them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

FAILING = sa.text("failures > 0")


def upgrade() -> None:
    with op.batch_alter_table("lanes", schema=None) as batch_op:
        batch_op.create_index(
            "ix_lanes_failing", ["workspace_id"], unique=False, sqlite_where=FAILING, postgresql_where=FAILING
        )


def downgrade() -> None:
    with op.batch_alter_table("lanes", schema=None) as batch_op:
        batch_op.drop_index("ix_lanes_failing")
