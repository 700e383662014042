"""The second person's part in a project of rewrites, with the role checked in every function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from annotation_ui.actions.review import REVIEWERS
from annotation_ui.labelling import rewrites
from annotation_ui.labelling.assignment import newest_guideline
from annotation_ui.labelling.screens import Messages
from annotation_ui.labelling.sides import opening
from annotation_ui.store.accounts import require
from annotation_ui.store.database import Database
from annotation_ui.store.forms import Form, Kind
from annotation_ui.store.membership import find_visible, require_open
from annotation_ui.store.verdicts import clean_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A text that waits for a second person."""

    judgement: int
    opening: str
    characters: int
    created: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A text as the second person reads it. Its writer is not named, so that the text alone is judged.

    ``shown`` holds the original, if there is one, and the text; ``said`` the decision in force, and ``seen`` its id.
    """

    judgement: int
    kind: Kind
    prompt: Messages
    shown: tuple[Messages, ...]
    reason: str
    guideline: str
    guideline_version: int
    form: Form
    seen: int | None
    said: Mapping[str, Any] | None


def waiting(database: Database, who: str | None, project_name: str | None) -> list[Waiting]:
    with database.read() as session:
        reviewer = require(session, who, *REVIEWERS)
        project = find_visible(session, reviewer, project_name)
        return [
            Waiting(
                judgement=text.id,
                opening=opening(text.item.prompt),
                characters=len((text.payload or {})["text"]),
                created=text.created,
            )
            for text in rewrites.waiting(session, project, reviewer)
        ]


def reading(database: Database, who: str | None, project_name: str | None, judgement: int) -> Reading:
    """One text.

    Raises:
        Forbidden: ``who`` is no reviewer.
        Stale: there is no such text any more.
    """
    with database.read() as session:
        reviewer = require(session, who, *REVIEWERS)
        project = find_visible(session, reviewer, project_name)
        text = rewrites.text_of(session, project, judgement)
        decision = rewrites.decision_on(session, project, text)
        guideline = text.guideline or newest_guideline(session, project)
        written: Messages = [{"role": "assistant", "content": (text.payload or {})["text"]}]
        return Reading(
            judgement=text.id,
            kind=cast(Kind, project.kind),
            prompt=text.item.prompt,
            shown=(*(response.messages for response in text.item.responses), written),
            reason=text.rationale,
            guideline=guideline.text,
            guideline_version=guideline.version,
            form=Form.from_dict(guideline.form),
            seen=decision.id if decision else None,
            said={"label": decision.label, "rationale": decision.rationale} if decision else None,
        )


def decide(
    database: Database,
    who: str | None,
    project_name: str | None,
    judgement: int,
    said: Mapping[str, Any],
    *,
    seen: int | None,
    now: float,
) -> str:
    """Accept a text or send it back; returns the decision's label."""
    with database.write() as session:
        reviewer = require(session, who, *REVIEWERS)
        project = find_visible(session, reviewer, project_name)
        require_open(project)
        note = clean_text(said, "rationale")
        return rewrites.decide(session, reviewer, project, judgement, said.get("label"), note, seen=seen, now=now).label
