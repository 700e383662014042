"""A judge model's verdict on every item, kept apart from people's votes: it is a score, and never a vote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select

from annotation_ui.exchange.scoring import JUDGE
from annotation_ui.store.database import Database
from annotation_ui.store.projects import ProjectError, find_project
from annotation_ui.store.tables import Event, Item, Score
from reward_models.data.conversations import to_message
from reward_models.data.curation.judging import Judge, Question, average, draw_questions
from reward_models.data.records import Conversation, Pair


@dataclass(frozen=True, slots=True)
class ModelLabels:
    """The numbers of items that the judge has labelled now, and of items it gave no verdict on."""

    items: int
    without: int


def questions_about(database: Database, project_name: str | None, *, draws: int, seed: int) -> list[Question]:
    """The questions for a judge: every item of a preference project ``draws`` times, in both orders.

    Raises:
        ProjectError: it is no preference project, or has no items.
    """
    with database.read() as session:
        project = find_project(session, project_name)
        if project.kind != "preference":
            raise ProjectError(f"a judge compares two responses; {project.name!r} is a {project.kind} project")
        pairs = []
        for item in session.scalars(select(Item).where(Item.project_id == project.id).order_by(Item.id)):
            a, b = (_conversation(response.messages) for response in item.responses)
            pairs.append(Pair(prompt=_conversation(item.prompt), response_a=a, response_b=b, id=str(item.id)))
    if not pairs:
        raise ProjectError(f"{project.name!r} has no items to judge; import some first")
    return [question for pair in pairs for question in draw_questions(pair, draws, seed)]


def label_by_model(
    database: Database,
    project_name: str | None,
    questions: Sequence[Question],
    judge: Judge,
    name: str,
    *,
    author: str,
    now: float,
    on_progress: Callable[[int], None] = lambda done: None,
) -> ModelLabels:
    """Ask ``judge`` and keep its averaged verdicts, from −2 (b much better) to 2, under ``judge NAME``.

    An item without a valid verdict in each order it was asked in gets none.

    Raises:
        JudgeError: the judge failed; what it said before stays as it was.
    """
    answers: dict[str, list] = {}
    for question, answer in zip(questions, judge.judge(questions, on_progress), strict=True):
        answers.setdefault(question.pair.id, []).append(answer)
    verdicts = {int(item): average(given, min_valid=1) for item, given in answers.items()}
    known = {item: verdict for item, verdict in verdicts.items() if verdict is not None}
    scorer = f"{JUDGE}{name}"[:100]
    with database.write() as session:
        project = find_project(session, project_name)
        session.execute(delete(Score).where(Score.scorer == scorer, Score.item_id.in_(list(verdicts))))
        session.add_all(
            Score(item_id=item, scorer=scorer, score_a=verdict, score_b=0.0, created=now)
            for item, verdict in known.items()
        )
        detail = {"scorer": scorer, "items": len(known), "without": len(verdicts) - len(known)}
        session.add(Event(at=now, actor=author, kind="judged by a model", project=project.name, detail=detail))
    return ModelLabels(len(known), len(verdicts) - len(known))


def _conversation(messages: Sequence[dict[str, Any]]) -> Conversation:
    """Stored messages as a record's."""
    return tuple(to_message(m, "messages") for m in messages)  # checked at import
