"""Further kinds of projects: ranking, attributes, rewrite.

Rows stay as they are, byte for byte: columns are added, and three checks allow more values. SQLite cannot change a check
by a statement, and a copy of the table would lose its triggers; the text of the check is replaced in the schema, which
is the way that SQLite's documentation describes for changes that leave stored rows alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
KINDS = "kind IN ('preference', 'safety'"
LABELS = "label IN ('a', 'b', 'tie', 'both_bad', 'safe', 'unsafe', 'skip', 'withdrawn'"
STATES = "state IN ('leased', 'done', 'skipped', 'expired'"
CHECKS = (
    ("projects", "kind", KINDS, "'ranking', 'attributes', 'rewrite'"),
    ("judgements", "label", LABELS, "'ranked', 'rated', 'written', 'accepted', 'returned'"),
    ("assignments", "state", STATES, "'returned'"),
)


def upgrade() -> None:
    op.add_column("guidelines", sa.Column("form", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("judgements", sa.Column("payload", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("assignments", sa.Column("draft", sa.JSON(none_as_null=True), nullable=True))
    for table, name, check, further in CHECKS:
        allow(table, name, f"{check})", f"{check}, {further})")


def allow(table: str, name: str, old: str, new: str) -> None:
    """Put the condition ``new`` in the place of the check ``old`` of a table."""
    bind = op.get_bind()
    if bind.dialect.name != "sqlite":
        op.execute(
            f"ALTER TABLE {table} DROP CONSTRAINT ck_{table}_{name}, ADD CONSTRAINT ck_{table}_{name} CHECK ({new})"
        )
        return
    version = int(bind.exec_driver_sql("PRAGMA schema_version").scalar_one())
    sql = bind.exec_driver_sql("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", (table,)).scalar()
    if sql is None or sql.count(old) != 1:
        raise RuntimeError(f"the table {table} has no check {old}: it is not the schema of revision {down_revision}")
    bind.exec_driver_sql("PRAGMA writable_schema = ON")
    bind.exec_driver_sql(
        "UPDATE sqlite_schema SET sql = ? WHERE type = 'table' AND name = ?", (sql.replace(old, new), table)
    )
    bind.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    bind.exec_driver_sql("PRAGMA writable_schema = OFF")
