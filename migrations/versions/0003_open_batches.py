"""A lane's open batches are told by their own index alone."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("lanes", schema=None) as batch_op:
        batch_op.drop_column("unknown_batch_id")


def downgrade() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    with op.batch_alter_table("lanes", schema=None) as batch_op:
        batch_op.add_column(sa.Column("unknown_batch_id", big, nullable=True))
    op.execute(
        "UPDATE lanes SET unknown_batch_id = "
        "(SELECT min(id) FROM batches WHERE lane_id = lanes.id AND outcome = 'unknown')"
    )
