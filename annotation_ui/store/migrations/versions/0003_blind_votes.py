"""Votes stay blind unless a project shows scores; failed log-ins are kept no longer.

The table of failed log-ins and their events go: they held typed names, among them passwords typed into the wrong field,
and addresses, for ever. Failures are counted in memory now.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    if sqlite:
        op.execute("PRAGMA secure_delete = ON")  # overwrites what is deleted
    op.add_column("projects", sa.Column("show_scores", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("assignments", sa.Column("revealed", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.drop_table("login_failures")
    if sqlite:
        op.execute("DROP TRIGGER events_no_delete")
        op.execute("DELETE FROM events WHERE kind = 'log-in failed'")
        op.execute(
            "CREATE TRIGGER events_no_delete BEFORE DELETE ON events "
            "BEGIN SELECT RAISE(ABORT, 'events is append-only'); END"
        )
    else:
        op.execute("ALTER TABLE events DISABLE TRIGGER events_append_only")
        op.execute("DELETE FROM events WHERE kind = 'log-in failed'")
        op.execute("ALTER TABLE events ENABLE TRIGGER events_append_only")
