"""Alembic's entry: it always runs on the connection that ``Database.migrate`` hands over."""

from alembic import context

from annotation_ui.store import service_tables  # noqa: F401  # they belong to the metadata
from annotation_ui.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
