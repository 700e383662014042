"""Known answers of every kind, a training round, a bound on the accuracy of annotators, and an hourly rate."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("items", sa.Column("answer", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("assignments", sa.Column("training", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("projects", sa.Column("training_items", sa.Integer(), nullable=False, server_default="0"))
    for name in ("pause_below", "hourly_rate"):
        op.add_column("projects", sa.Column(name, sa.Double(), nullable=False, server_default="0"))
    op.create_table(
        "clearances",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("after", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_clearances_project_id_projects"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_clearances_user_id_users"),
        sa.PrimaryKeyConstraint("project_id", "user_id", name="pk_clearances"),
    )
