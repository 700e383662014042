"""An index for lists of items in the order of their import: without it every page sorts all items of the project."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index("ix_items_order", "items", ["project_id", "id"])
