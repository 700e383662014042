"""The actions of reviewers and admins, with the role checked in every function.

Reviewers are as blind as annotators: the side of a response is drawn for every reviewer and item.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation_ui.actions.jobs import jobs_of
from annotation_ui.actions.pauses import held_back
from annotation_ui.labelling import judgements, rewrites
from annotation_ui.labelling.assignment import newest_guideline
from annotation_ui.labelling.forecast import Forecast
from annotation_ui.labelling.gold import GoldRecord
from annotation_ui.labelling.progress import ProjectProgress
from annotation_ui.labelling.screens import Messages
from annotation_ui.labelling.sides import in_sides, opening, shown_of
from annotation_ui.quality.kept import recent_figures
from annotation_ui.quality.payloads import disagreement
from annotation_ui.quality.statistics import Quality
from annotation_ui.store.accounts import Role, require
from annotation_ui.store.database import Database
from annotation_ui.store.forms import PLACED, Form, Kind
from annotation_ui.store.membership import find_visible, require_open
from annotation_ui.store.projects import ProjectError
from annotation_ui.store.tables import Item, Job, Judgement, Project, Score, Snapshot, User
from annotation_ui.store.verdicts import across, draw_order, parse_verdict, payload_in_sides, slots_shown

REVIEWERS: tuple[Role, ...] = ("reviewer", "admin")
QUEUE = 100
PAYLOAD = ("ratings", "ranks", "spans", "turns", "text")  # the parts that a case shows
# Of a job's result and evaluation.
COUNTS = ("items", "n", "demonstrations", "left_out", "held_out", "steps")
FIGURES = (*COUNTS, "accuracy", "auroc", "loss", "ece", "token_accuracy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """An annotator's verdict on a case, with sides of the reviewer's screen.

    ``ratings``, ``ranks`` and ``spans`` are in the order of the screen; ``None`` where there are none.
    """

    who: str
    label: str
    strength: int | None
    harms: tuple[str, ...]
    rationale: str
    ratings: list[dict[str, int]] | None = None
    ranks: list[int] | None = None
    text: str | None = None
    spans: list[list[dict[str, Any]]] | None = None
    turns: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """An item in the reviewers' queue, its verdicts with sides of the reviewer's screen, and the reason."""

    item: int
    opening: str
    labels: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An item with all verdicts and scores, by sides of the screen. ``seen`` is the decision in force."""

    item: int
    kind: Kind
    prompt: Messages
    shown: tuple[Messages, ...]
    models: tuple[str | None, ...]
    guideline: str
    guideline_version: int
    harms: tuple[str, ...]
    form: Form
    opinions: tuple[Opinion, ...]
    margins: tuple[tuple[str, float], ...]
    seen: int | None
    said: Mapping[str, Any] | None
    token: str = ""
    judgement: int | None = None


def kind_of(database: Database, who: str | None, project_name: str | None) -> Kind:
    """The kind of a project."""
    with database.read() as session:
        reviewer = require(session, who, *REVIEWERS)
        return cast(Kind, find_visible(session, reviewer, project_name).kind)


def disputes(database: Database, who: str | None, project_name: str | None) -> list[Dispute]:
    """Items on which annotators disagree, or agree against a model that is sure; undecided by a reviewer as yet.

    Those with the most votes come first.
    """
    with database.read() as session:
        reviewer = require(session, who, *REVIEWERS)
        project = find_visible(session, reviewer, project_name)
        decided = {j.item_id for j in session.scalars(judgements.in_force(project, adjudication=True))}
        votes: dict[int, list[str]] = defaultdict(list)
        payloads: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for judgement in session.scalars(judgements.first_votes(project)):
            if judgement.label != "skip" and judgement.item_id not in decided:
                votes[judgement.item_id].append(judgement.label)
                payloads[judgement.item_id].append(judgement.payload or {})
        scored = select(Score).join(Item, Item.id == Score.item_id).where(Item.project_id == project.id)
        sure = _sure_models(session.scalars(scored))
        found: list[Dispute] = []
        for item_id, labels in sorted(votes.items(), key=lambda entry: (-len(entry[1]), entry[0])):
            reason = disagreement(payloads[item_id]) or _reason(labels, sure.get(item_id, {}))
            if reason and len(found) < QUEUE:
                item = session.get_one(Item, item_id)
                left = review_order(reviewer, item)
                sides = tuple(across(label, left) for label in labels)
                found.append(Dispute(item=item_id, opening=opening(item.prompt), labels=sides, reason=reason))
        return found


def review_order(reviewer: User, item: Item) -> str:
    """The order on a reviewer's screen: drawn once for all, so that a page may be opened again."""
    draw = Random(f"review:{item.id}:{reviewer.id}")
    return draw_order(len(item.responses), flip=draw.random() >= 0.5, draw=draw)


def _sure_models(scores: Iterable[Score]) -> dict[int, dict[str, str]]:
    """By item, the label that each scorer is sure of: its margin (or score) is in the upper quarter of all of its."""
    margins: dict[str, dict[int, float]] = defaultdict(dict)
    names: dict[int, tuple[str, str]] = {}
    for score in scores:
        margins[score.scorer][score.item_id] = score.score_a - (score.score_b or 0.0)
        names[score.item_id] = ("safe", "unsafe") if score.score_b is None else ("a", "b")
    sure: dict[int, dict[str, str]] = defaultdict(dict)
    for scorer, of_items in margins.items():
        sizes = sorted(abs(margin) for margin in of_items.values())
        border = sizes[3 * len(sizes) // 4]
        for item, margin in of_items.items():
            if abs(margin) >= border > 0:
                sure[item][scorer] = names[item][margin < 0]
    return sure


def _reason(labels: list[str], sure: Mapping[str, str]) -> str | None:
    if len(set(labels)) > 1:
        return "annotators disagree"
    against = [scorer for scorer, label in sure.items() if labels[0] not in ("tie", "both_bad", label)]
    return f"a model is confident of the opposite: {', '.join(against)}" if against else None


def case(database: Database, who: str | None, project_name: str | None, item_id: int) -> Case:
    """All that is known of one item.

    Raises:
        Forbidden: ``who`` is no reviewer.
        Stale: the project has no such item.
    """
    with database.read() as session:
        reviewer = require(session, who, *REVIEWERS)
        project = find_visible(session, reviewer, project_name)
        item = session.get(Item, item_id)
        if item is None or item.project_id != project.id:
            raise judgements.Stale("there is no such item in this project")
        left = review_order(reviewer, item)
        said = session.scalars(judgements.first_votes(project).where(Judgement.item_id == item.id)).all()
        decision = session.scalar(judgements.in_force(project, adjudication=True).where(Judgement.item_id == item.id))
        scores = session.scalars(select(Score).where(Score.item_id == item.id).order_by(Score.scorer)).all()
        guideline = newest_guideline(session, project)
        by_slot = {response.slot: response for response in item.responses}
        responses = [by_slot[slot] for slot in slots_shown(left, len(by_slot))]
        return Case(
            item=item.id,
            kind=cast(Kind, project.kind),
            prompt=item.prompt,
            shown=tuple(response.messages for response in responses),
            models=tuple(response.model for response in responses),
            guideline=guideline.text,
            guideline_version=guideline.version,
            harms=tuple(guideline.harms),
            form=Form.from_dict(guideline.form),
            opinions=tuple(_opinion(judgement, left, named=project.kind != "rewrite") for judgement in said),
            margins=tuple((s.scorer, _margin(s, left)) for s in scores),
            seen=decision.id if decision else None,
            said=in_sides(decision, left) if decision else None,
        )


def _margin(score: Score, left: str) -> float:
    """Positive for the left response, or for a single one that is safe."""
    margin = score.score_a - (score.score_b or 0.0)
    return -margin if left == "b" and score.score_b is not None else margin


def _opinion(judgement: Judgement, left: str, *, named: bool) -> Opinion:
    return Opinion(
        who=judgement.user.name if named else "writer",  # whom the second person is not told
        label=across(judgement.label, left),
        strength=judgement.strength,
        harms=tuple(judgement.harms),
        rationale=judgement.rationale,
        **{name: value for name, value in payload_in_sides(judgement.payload, left).items() if name in PAYLOAD},
    )


def decide(
    database: Database,
    who: str | None,
    project_name: str | None,
    item_id: int,
    said: Mapping[str, Any],
    *,
    seen: int | None,
    now: float,
) -> None:
    """Record a reviewer's decision on an item, with the sides of :func:`case`."""
    with database.write() as session:
        reviewer = require(session, who, *REVIEWERS)
        project = find_visible(session, reviewer, project_name)
        require_open(project)
        if project.kind == "rewrite":
            raise ProjectError("the texts of this project are accepted or sent back on the page Review")
        item = session.get(Item, item_id)
        if item is None or item.project_id != project.id:
            raise judgements.Stale("there is no such item in this project")
        left = review_order(reviewer, item)
        verdict = parse_verdict(said, shown_of(project, item, left, newest_guideline(session, project)))
        shown = left if project.kind in PLACED else None
        judgements.adjudicate(session, reviewer, project, item, verdict, seen=seen, left=shown, now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """A job as the dashboard shows it; ``figures`` are of its evaluation, where it has one."""

    number: int
    kind: str
    subject: str
    author: str
    state: str
    note: str
    created: float
    figures: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A project's figures and progress, its snapshots with the time each was taken, and its last jobs.

    ``figures_made``: when the figures were computed, in seconds since 1970; those of a large project are kept a while.
    ``texts``: of rewrites, how many are accepted, sent back, and wait (under ``""``). ``held_back``: the annotators who
    are warned or paused, with their records on gold items.
    """

    kind: Kind
    texts: dict[str, int]
    figures: Quality
    figures_made: float
    progress: ProjectProgress
    forecast: Forecast
    snapshots: list[tuple[str, float]]
    jobs: list[JobState]
    held_back: list[tuple[str, GoldRecord]]


def dashboard(database: Database, who: str | None, project_name: str | None, *, now: float) -> Dashboard:
    """The project as it stands."""
    with database.read() as session:
        reviewer = require(session, who, *REVIEWERS)
        project = find_visible(session, reviewer, project_name)
        snapshots = session.scalars(
            select(Snapshot).where(Snapshot.project_id == project.id).order_by(Snapshot.created.desc())
        )
        named = [(made.name, made.created) for made in snapshots]
        found = recent_figures(database, session, project, now=now)
        return Dashboard(
            kind=cast(Kind, project.kind),
            texts=_texts(session, project) if project.kind == "rewrite" else {},
            figures=found.quality,
            figures_made=found.made,
            progress=found.progress,
            forecast=found.forecast,
            snapshots=named,
            jobs=[_job_state(job) for job in jobs_of(session, project)],
            held_back=held_back(session, project),
        )


def _texts(session: Session, project: Project) -> dict[str, int]:
    decided = rewrites.decisions(session, project)
    written = session.scalars(judgements.in_force(project).where(Judgement.label == "written"))
    counts = Counter(decided.get(text.id, "") for text in written)
    return {label: counts[label] for label in (*rewrites.DECISIONS, "")}


def _job_state(job: Job) -> JobState:
    result = job.result or {}
    evaluation = result.get("evaluation", {})
    result = {**result, **evaluation}
    heads: Mapping[str, Any] = evaluation.get("attributes", {})
    shown = [(name, result.get(name)) for name in FIGURES]
    shown += [("n", head["n"]) for head in list(heads.values())[:1]]
    shown += [(f"{name} Pearson r", head["pearson"]) for name, head in heads.items()]
    return JobState(
        number=job.id,
        kind=job.kind,
        subject=Path(job.subject).name,
        author=job.author,
        state=job.state,
        note=job.note,
        created=job.created,
        figures=tuple((name, float(value)) for name, value in shown if isinstance(value, int | float)),
    )
