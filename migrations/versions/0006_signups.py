"""Every list that somebody was subscribed to by us is remembered until they left it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# What is known so far: the last one of each connection. While an account is being replaced its links are the old one's
# still, and go with it.
KNOWN = """
INSERT INTO signups (person_id, klaviyo_account_id, list_id, sent_at)
SELECT profile_links.person_id, connections.klaviyo_account_id, coalesce(profile_links.subscribed_list_id, ''),
       max(profile_links.subscribed_at)
FROM profile_links JOIN connections ON connections.id = profile_links.connection_id
WHERE profile_links.subscribed_at IS NOT NULL
  AND (connections.state = 'disconnected' OR NOT EXISTS (
    SELECT 1 FROM tasks
    WHERE tasks.connection_id = connections.id AND tasks.kind = 'settle_rest' AND tasks.state <> 'done'))
GROUP BY 1, 2, 3
"""


def upgrade() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "signups",
        sa.Column("person_id", big, autoincrement=False, nullable=False),
        sa.Column("klaviyo_account_id", sa.String(length=40), nullable=False),
        sa.Column("list_id", sa.String(length=40), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_by", big, nullable=True),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("person_id", "klaviyo_account_id", "list_id", name=op.f("pk_signups")),
    )
    op.execute(KNOWN)


def downgrade() -> None:
    op.drop_table("signups")
