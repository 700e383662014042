"""The training round: an annotator's first items have a known answer, which is shown after the verdict."""

from __future__ import annotations

from typing import cast

from sqlalchemy.orm import Session

from annotation_ui.labelling.assignment import trained
from annotation_ui.labelling.gold import rightness
from annotation_ui.labelling.screens import Feedback
from annotation_ui.labelling.sides import in_sides
from annotation_ui.store.forms import Form, Kind
from annotation_ui.store.tables import Assignment, Judgement, Project, User
from annotation_ui.store.verdicts import across, payload_in_sides, slots_shown


def feedback(session: Session, user: User, project: Project, assignment: Assignment, judgement: Judgement) -> Feedback:
    """The feedback on ``judgement``, given under an ``assignment`` of the training round."""
    item, left = assignment.item, assignment.left
    responses = {response.slot: response.messages for response in item.responses}
    gold, answer = item.gold or "", dict(item.answer or {})
    explanation = answer.pop("explanation", "")
    return Feedback(
        kind=cast(Kind, project.kind),
        prompt=item.prompt,
        shown=tuple(responses[slot] for slot in slots_shown(left, len(responses))),
        form=Form.from_dict(assignment.guideline.form),
        guideline=assignment.guideline.text,
        guideline_version=assignment.guideline.version,
        said=in_sides(judgement, left),
        known={"label": across(gold, left), **payload_in_sides(answer, left)},
        share=rightness(judgement.label, judgement.payload, gold, item.answer),
        explanation=explanation,
        done=trained(session, user, project),
        of=project.training_items,
    )
