"""The actions of an annotator as plain functions: each checks the role, and takes and returns plain values.

``who`` is the name of the account, established by the caller; everything else may be hostile. Nothing returned here
holds a model's name, a score or another person's label before the verdict is in, and scores only in a project that
shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from sqlalchemy import select, true
from sqlalchemy.orm import Session

from annotation_ui.labelling import judgements, rewrites
from annotation_ui.labelling.assignment import (
    Lease,
    counts,
    holds,
    in_hand,
    lease,
    lease_new,
    release_expired,
    standing_of,
    upcoming,
)
from annotation_ui.labelling.gold import gold_record, is_paused
from annotation_ui.labelling.progress import Progress, progress_of
from annotation_ui.labelling.screens import History, Layout, Messages, Screen, ShownScore, Task, Voted
from annotation_ui.labelling.sides import in_sides, opening, shown_of
from annotation_ui.labelling.training import feedback
from annotation_ui.store.accounts import ROLES, permitted, require
from annotation_ui.store.database import Database
from annotation_ui.store.forms import Form, Kind
from annotation_ui.store.membership import find_visible, may_see, require_open, visible
from annotation_ui.store.projects import find_project
from annotation_ui.store.tables import Assignment, Judgement, Project, Score, User
from annotation_ui.store.verdicts import Shown, across, parse_verdict, payload_in_sides, slots_shown

HISTORY = 30


def layout(database: Database, who: str | None) -> Layout:
    """The account and the projects, for the bar on every page."""
    with database.read() as session:
        return _layout(session, require(session, who, *ROLES))


def next_task(database: Database, who: str | None, project_name: str | None, *, now: float) -> Task | None:
    """The item in hand, or a new one; ``None`` if there is none (:func:`progress` says why)."""
    return screen(database, who, project_name, now=now).task


def screen(database: Database, who: str | None, project_name: str | None, *, now: float) -> Screen:
    """The item in hand, or a new one, and the progress."""
    with database.read() as session:
        user, project = _both(session, who, project_name)
        if project.archived is not None:
            return replace(_screen(session, user, project, None, now), archived=True)
        mine = in_hand(session, user, project)
        if mine is not None and holds(mine, now=now):
            return _screen(session, user, project, _leased(session, Lease(mine, first=False), project), now)
        if is_paused(session, user, project):
            return _screen(session, user, project, None, now)
        late = standing_of(session, user, project, now=now).overdue
    if late:
        with database.write() as session:
            release_expired(session, find_project(session, project_name), now=now)
    with database.write() as session:
        user, project = _both(session, who, project_name, lock=True)
        taken = lease(session, user, project, now=now)
        task = None if taken is None else _leased(session, taken, project)
    with database.read() as session:
        return _screen(session, user, project, task, now)


def upcoming_texts(database: Database, who: str | None, project_name: str | None) -> tuple[Messages, list[Messages]]:
    """The prompt and the responses that are likely to be shown next, for the server to render beforehand."""
    with database.read() as session:
        user, project = _both(session, who, project_name)
        item = upcoming(session, user, project)
        return (item.prompt, [response.messages for response in item.responses]) if item else ([], [])


def vote(
    database: Database,
    who: str | None,
    project_name: str | None,
    token: str,
    said: Mapping[str, Any],
    *,
    dwell_ms: int | None = None,
    go_on: bool = False,
    now: float,
) -> Voted:
    """Record a verdict on the item under ``token``. Sent twice, the verdict counts once.

    Args:
        go_on: lease the next item in the same transaction, where that can be done.

    Raises:
        VerdictError, LeaseLost, Contradiction, Forbidden: nothing was recorded.
    """
    task = None
    with database.write() as session:
        user, project = _both(session, who, project_name, lock=True)
        assignment = judgements.leased_under(session, user, token)
        if assignment is None:
            known = session.scalar(select(Judgement).where(Judgement.key == token, Judgement.user_id == user.id))
            if known is None:
                raise judgements.LeaseLost("this item went back to the queue; your verdict was not recorded")
            again = parse_verdict(said, shown_of(project, known.item, known.left, known.guideline))
            judgements.require_same(known, again)
            return Voted()  # undone since, so its scores were not shown
        verdict = parse_verdict(said, _shown(project, assignment))
        judgement, new = judgements.record(session, user, project, assignment, verdict, dwell_ms=dwell_ms, now=now)
        if assignment.training and verdict.label != "skip":
            return Voted(feedback=feedback(session, user, project, assignment, judgement))
        if go_on and new and verdict.label != "skip":
            task = _go_on(session, user, project, now)
        scores = tuple(_reveal(session, project, assignment, judgement))
    if task is None:
        return Voted(scores=scores)
    with database.read() as session:
        return Voted(scores=scores, screen=_screen(session, user, project, task, now))


def _go_on(session: Session, user: User, project: Project, now: float) -> Task | None:
    """The next item after a verdict, leased; ``None`` where that has to be done in a transaction of its own: what is
    overdue goes back to the queue first, and after a skip, which frees a place, two items would be locked. ``None`` as
    well for somebody who is paused."""
    standing = standing_of(session, user, project, now=now)
    if standing.overdue or is_paused(session, user, project):
        return None
    mine = in_hand(session, user, project) if standing.leased else None
    taken = Lease(mine, first=False) if mine else lease_new(session, user, project, standing, now=now)
    return None if taken is None else _leased(session, taken, project)


def undo(database: Database, who: str | None, project_name: str | None, judgement: int, *, now: float) -> None:
    """Undo one's judgement: its item is the next to be shown, with the former verdict filled in."""
    with database.write() as session:
        user, project = _both(session, who, project_name, lock=True)
        rewrites.require_not_accepted(session, project, judgement)
        judgements.undo(session, user, project, judgement, now=now)


def keep_draft(
    database: Database, who: str | None, project_name: str | None, token: str, text: object, *, now: float
) -> None:
    """Keep what a writer has so far; it is there after a reload, and on another machine."""
    with database.write() as session:
        user, project = _both(session, who, project_name, lock=True)
        rewrites.keep_draft(session, user, project, token, text, now=now)


def history(database: Database, who: str | None, project_name: str | None, *, limit: int = HISTORY) -> list[History]:
    """One's last judgements in force, newest first."""
    with database.read() as session:
        user, project = _both(session, who, project_name)
        mine = judgements.in_force(project).order_by(None).order_by(Judgement.id.desc())
        found = session.scalars(
            mine.where(Judgement.user_id == user.id, Judgement.assignment_id.is_not(None)).limit(limit)
        )
        decisions = rewrites.decisions(session, project) if project.kind == "rewrite" else {}
        return [_past(j, session.get_one(Assignment, j.assignment_id), decisions.get(j.id)) for j in found]


def _past(judgement: Judgement, under: Assignment, decision: str | None) -> History:
    trained = under.training and judgement.label != "skip"
    return History(
        judgement=judgement.id,
        label=across(judgement.label, judgement.left),
        strength=judgement.strength,
        created=judgement.created,
        opening=opening(judgement.item.prompt),
        final=under.revealed or trained or decision == "accepted",
        ranks=payload_in_sides(judgement.payload, judgement.left).get("ranks"),
        decision=decision,
        training=trained,
    )


def past_task(database: Database, who: str | None, project_name: str | None, judgement: int) -> Task:
    """An item judged before, as it was shown, to edit what was said.

    Raises:
        Stale: it is not one's own, or is no longer in force.
    """
    with database.read() as session:
        user, project = _both(session, who, project_name)
        found = session.scalar(
            judgements.in_force(project).where(Judgement.id == judgement, Judgement.user_id == user.id)
        )
        assignment = session.get(Assignment, found.assignment_id) if found and found.assignment_id else None
        if found is None or assignment is None:
            raise judgements.Stale("this verdict was changed or undone before")
        return _task(assignment, project, judgement=found.id, said=in_sides(found, found.left))


def edit(
    database: Database,
    who: str | None,
    project_name: str | None,
    judgement: int,
    said: Mapping[str, Any],
    *,
    now: float,
) -> None:
    """Put ``said`` in the place of one's judgement; the old one stays in the record."""
    with database.write() as session:
        user, project = _both(session, who, project_name, lock=True)
        found = session.get(Judgement, judgement)
        assignment = session.get(Assignment, found.assignment_id) if found and found.assignment_id else None
        if found is None or found.user_id != user.id or assignment is None:
            raise judgements.Stale("this verdict was changed or undone before")
        verdict = parse_verdict(said, _shown(project, assignment))
        rewrites.require_not_accepted(session, project, judgement)
        judgements.edit(session, user, project, judgement, verdict, now=now)


def progress(database: Database, who: str | None, project_name: str | None, *, now: float) -> Progress:
    with database.read() as session:
        user, project = _both(session, who, project_name)
        return progress_of(session, user, project, now=now)


def _layout(session: Session, user: User) -> Layout:
    wanted = visible(user).order_by(Project.archived.is_not(None), Project.name)
    if user.role == "annotator":
        wanted = wanted.where(Project.archived.is_(None))
    return Layout(role=user.role, projects=tuple(project.name for project in session.scalars(wanted)))


def _screen(session: Session, user: User, project: Project, task: Task | None, now: float) -> Screen:
    progress = progress_of(session, user, project, now=now)
    gold = gold_record(session, user, project) if project.pause_below else None
    return Screen(task=task, progress=progress, layout=_layout(session, user), gold=gold)


def _leased(session: Session, taken: Lease, project: Project) -> Task:
    if taken.first:
        return _task(taken.assignment, project)
    said, note = _former(session, taken.assignment), None
    if project.kind == "rewrite":
        said = said or rewrites.last_text(session, taken.assignment)
        if taken.assignment.draft is not None:
            said = {"rationale": ""} | (said or {}) | taken.assignment.draft
        note = rewrites.note_on(session, taken.assignment)
    return _task(taken.assignment, project, said=said, note=note)


def _former(session: Session, assignment: Assignment) -> dict[str, Any] | None:
    """The verdict that was undone last, where the lease is that of an undone judgement."""
    last = judgements.last_of(session, assignment)
    if last is None or last.label != "withdrawn" or last.supersedes is None:
        return None
    return in_sides(session.get_one(Judgement, last.supersedes), last.left)


def _shown(project: Project, assignment: Assignment) -> Shown:
    return shown_of(project, assignment.item, assignment.left, assignment.guideline)


def _both(session: Session, who: str | None, project_name: str | None, *, lock: bool = False) -> tuple[User, Project]:
    """The annotator and the project. ``lock`` makes what one person does in two tabs happen one after the other."""
    both = select(User, Project).join(Project, true()).where(User.name == who, Project.name == project_name)
    row = session.execute(both.with_for_update(of=User) if lock else both).one_or_none()
    if row is not None and may_see(session, permitted(row[0], *ROLES), row[1]):
        return row[0], _open(row[1], lock)
    user = require(session, who, *ROLES, lock=lock)  # says what is missing
    return user, _open(find_visible(session, user, project_name), lock)


def _open(project: Project, changes: bool) -> Project:
    if changes:
        require_open(project)
    return project


def _task(
    assignment: Assignment,
    project: Project,
    *,
    judgement: int | None = None,
    said: Mapping[str, Any] | None = None,
    note: str | None = None,
) -> Task:
    responses = {response.slot: response.messages for response in assignment.item.responses}
    order = slots_shown(assignment.left, len(responses))
    guideline = assignment.guideline
    return Task(
        token="" if judgement else assignment.token,
        kind=cast(Kind, project.kind),
        prompt=assignment.item.prompt,
        shown=tuple(responses[slot] for slot in order),
        guideline=guideline.text,
        guideline_version=guideline.version,
        harms=tuple(guideline.harms),
        form=Form.from_dict(guideline.form),
        expires=assignment.expires,
        draft=f"edit-{assignment.id}" if judgement else str(assignment.id),
        judgement=judgement,
        said=said,
        note=note,
        training=assignment.training,
    )


def _reveal(session: Session, project: Project, assignment: Assignment, judgement: Judgement) -> list[ShownScore]:
    """The models' margins, from the annotator's point of view, in a project that shows them.

    Never for a skip, a gold item or a repeat, whose verdicts are to be independent; and the verdict is final from here
    on, so that none is changed after a look at a model's.
    """
    if not project.show_scores or judgement.label == "skip" or not counts(assignment.item, assignment.round):
        return []
    scores = session.scalars(select(Score).where(Score.item_id == judgement.item_id).order_by(Score.scorer))
    found = []
    for score in scores:
        margin = score.score_a - (score.score_b or 0.0)
        turned = -margin if judgement.left == "b" else margin
        found.append(ShownScore(scorer=score.scorer, margin=turned, pair=score.score_b is not None))
    assignment.revealed |= bool(found)
    return found
