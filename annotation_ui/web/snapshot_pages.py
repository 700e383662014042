"""The page of a snapshot: its rows to download, and the command that trains on them."""

from __future__ import annotations

from annotation_ui.actions.snapshots import file_name, snapshot_info
from annotation_ui.labelling.session import layout
from annotation_ui.web.context import Action, Context, Reply, Said, Show
from annotation_ui.web.form_fields import fields_of

# Of the rows of a snapshot, by what they hold.
ROWS = {"labels": "Rows to train on", "pairs": "Pairs, of the comparisons", "turns": "Verdicts on single turns"}


def snapshot_actions(show: Show) -> dict[str, Action]:
    """The action of the page; ``show`` renders it."""

    def open_snapshot(context: Context, asked: Said) -> Reply:
        layout(context.database, context.who)  # without an account nothing is said of the form
        name = fields_of(asked).get("snapshot", "")
        found = snapshot_info(context.database, context.who, context.project, name)
        return show(context, "snapshot", info=found, titles=ROWS, file_name=file_name, now=context.now)

    return {"open snapshot": open_snapshot}
