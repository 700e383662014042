"""Membership and archiving of projects, tokens of the API, webhooks, and an index of the words of items.

An event is put into the outbox (``deliveries``) by a trigger, in the transaction that writes the event: a server that
is killed loses none, and no way of writing an event can forget it.
"""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from annotation_ui.store.search import insert_words

revision = "0004"
down_revision = "0003"

BATCH = 500
_DUE = (
    "INSERT INTO deliveries (webhook_id, event_id, attempts, due, problem) "
    "SELECT webhooks.id, NEW.id, 0, NEW.at, '' FROM webhooks WHERE webhooks.active "
    "AND (webhooks.project IS NULL OR webhooks.project = NEW.project) AND {named}"
)


def upgrade() -> None:
    op.add_column("projects", sa.Column("members_only", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("projects", sa.Column("archived", sa.Double(), nullable=True))
    op.add_column("items", sa.Column("length", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("ix_items_length", "items", ["project_id", "length", "id"])
    op.create_index("ix_items_source", "items", ["project_id", "source", "id"])
    _access()
    _webhooks()
    _search()


def _access() -> None:
    op.create_table(
        "members",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_members_project_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_members_user_id")),
        sa.PrimaryKeyConstraint("project_id", "user_id", name=op.f("pk_members")),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("token_hash", sa.String(), nullable=False),
        sa.Column("scopes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.Column("revoked", sa.Double(), nullable=True),
        sa.Column("used", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_api_tokens_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_tokens_token_hash")),
    )
    op.create_index("ix_api_tokens_user_id", "api_tokens", ["user_id"])
    op.create_table(
        "import_keys",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("answer", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_import_keys_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_keys")),
        sa.UniqueConstraint("user_id", "key", name=op.f("uq_import_keys_user_id_key")),
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_secrets")),
    )


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project", sa.String(), nullable=True),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("secret", sa.String(), nullable=False),
        sa.Column("events", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("webhook_id", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due", sa.Double(), nullable=True),
        sa.Column("sent", sa.Double(), nullable=True),
        sa.Column("problem", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_deliveries_event_id")),
        sa.ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], name=op.f("fk_deliveries_webhook_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    op.create_index("ix_deliveries_due", "deliveries", ["due"])
    op.create_index("ix_deliveries_webhook", "deliveries", ["webhook_id", "id"])
    if op.get_bind().dialect.name == "sqlite":
        insert = _DUE.format(named="""instr(webhooks.events, '"' || NEW.kind || '"') > 0""")
        op.execute(f"CREATE TRIGGER events_announced AFTER INSERT ON events BEGIN {insert}; END")
        return
    insert = _DUE.format(named="""position('"' || NEW.kind || '"' IN webhooks.events::text) > 0""")
    op.execute(
        f"CREATE FUNCTION announce_event() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {insert}; RETURN NULL; END $$"
    )
    op.execute("CREATE TRIGGER events_announced AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION announce_event()")


def _search() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        # Only the words are indexed, not kept; every byte beyond ASCII belongs to a word, as in our list of them.
        op.execute("CREATE VIRTUAL TABLE item_words USING fts5(words, content='', detail=none, tokenize='ascii')")
    else:
        op.execute(
            "CREATE TABLE item_words (item_id integer PRIMARY KEY REFERENCES items (id), words tsvector NOT NULL)"
        )
        op.execute("CREATE INDEX ix_item_words_words ON item_words USING gin (words)")
    last = 0
    while rows := _after(connection, last):
        messages = {item_id: _read(prompt) for item_id, prompt in rows}
        first, last = rows[0][0], rows[-1][0]
        responses = sa.text("SELECT item_id, messages FROM responses WHERE item_id BETWEEN :first AND :last")
        for item_id, stored in connection.execute(responses, {"first": first, "last": last}).all():
            messages[item_id] = messages[item_id] + _read(stored)
        for item_id, found in messages.items():
            insert_words(connection, item_id, found)
            length = sum(len(message["content"]) for message in found)
            changed = sa.text("UPDATE items SET length = :length WHERE id = :item")
            connection.execute(changed, {"length": length, "item": item_id})


def _after(connection: sa.Connection, last: int) -> Sequence[sa.Row]:
    wanted = sa.text("SELECT id, prompt FROM items WHERE id > :last ORDER BY id LIMIT :batch")
    return connection.execute(wanted, {"last": last, "batch": BATCH}).all()


def _read(stored: Any) -> list[dict[str, Any]]:
    """JSON, which SQLite hands over as text."""
    found: list[dict[str, Any]] = json.loads(stored) if isinstance(stored, str) else stored
    return found
