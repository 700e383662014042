"""The pages of the training round, and of annotators who are paused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from annotation_ui.actions.pauses import let_go_on
from annotation_ui.actions.review import COUNTS, Dashboard
from annotation_ui.labelling.gold import NEAR, GoldRecord
from annotation_ui.labelling.screens import Feedback
from annotation_ui.labelling.session import layout
from annotation_ui.store.verdicts import STRENGTHS
from annotation_ui.web.context import Context, Reply, Said
from annotation_ui.web.form_fields import fields_of
from annotation_ui.web.wording import NAMES

PAUSED = (
    "Paused",
    "Too many of your answers on items with a known answer were wrong. A reviewer of this project can let you go on.",
)


def feedback_page(show: Callable[..., Reply], context: Context, found: Feedback) -> Reply:
    """The known answer beside the verdict that was just given."""
    return show(context, "feedback", task=found, names=NAMES, strengths=STRENGTHS, near=NEAR) | {"note": "Saved"}


def parts(found: Dashboard) -> dict[str, Any]:
    """Values of the dashboard: forecast, who is held back, the time of the figures, and which of a job's are counts."""
    made = found.figures_made
    return {"forecast": found.forecast, "held_back": found.held_back, "made": made, "counts": COUNTS}


def is_paused(record: GoldRecord | None) -> bool:
    return record is not None and record.paused


def resume_action(dashboard: Callable[[Context, Said], Reply]) -> Callable[[Context, Said], Reply]:
    """The action of the button beside a paused annotator; ``dashboard`` shows the page that it is on."""

    def resume(context: Context, asked: Said) -> Reply:
        layout(context.database, context.who)  # without an account nothing is said of the form
        name = fields_of(asked).get("name", "")
        let_go_on(context.database, context.who, context.project, name, now=context.now)
        return dashboard(context, asked) | {"note": f"Annotator {name} may go on"}

    return resume
