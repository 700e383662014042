"""Items and verdicts as a screen shows them: by sides, and beginning with the last turn."""

from __future__ import annotations

from textwrap import shorten
from typing import Any, cast

from annotation_ui.labelling.screens import Messages
from annotation_ui.store.forms import RESPONSES, Form, Kind
from annotation_ui.store.tables import Guideline, Item, Judgement, Project
from annotation_ui.store.verdicts import Shown, across, payload_in_sides

OPENING = 140  # characters


def in_sides(judgement: Judgement, left: str | None) -> dict[str, Any]:
    """A verdict as a form shows it, with the response ``left`` on the left."""
    return {
        "label": across(judgement.label, left),
        "strength": judgement.strength,
        "harms": judgement.harms,
        "severity": judgement.severity,
        "rationale": judgement.rationale,
        **payload_in_sides(judgement.payload, left),
    }


def shown_of(project: Project, item: Item, left: str | None, guideline: Guideline | None) -> Shown:
    """The things that a verdict on ``item`` refers to, with its responses in the order ``left``."""
    kind, form = cast(Kind, project.kind), Form.from_dict(guideline.form if guideline else None)
    fewest, most = RESPONSES[kind]
    return Shown(
        kind=kind,
        left=left,
        responses=most if fewest == most else len(item.responses),  # which may have to be read
        harms=guideline.harms if guideline else (),
        form=form,
        texts=tuple(each.messages[-1]["content"] for each in item.responses) if form.spans else (),
        turns=turns_of(item) if form.turns else (),
    )


def turns_of(item: Item) -> tuple[int, ...]:
    """The messages of the assistant in the conversation, from 0; those of the response where there is only one."""
    responses = item.responses
    messages = [*item.prompt, *(responses[0].messages if len(responses) == 1 else [])]
    return tuple(n for n, message in enumerate(messages) if message["role"] == "assistant")


def opening(prompt: Messages) -> str:
    """The beginning of a prompt's last turn, on one line."""
    return shorten(prompt[-1]["content"][:2000], OPENING, placeholder=" …")
