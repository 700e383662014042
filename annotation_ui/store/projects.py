"""Projects, their guidelines and their items."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from math import isfinite
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation_ui.store.accounts import IMPORTED, add_user, find_user, is_author_of_imports
from annotation_ui.store.forms import KINDS, SLOTS, Form, Kind, default_definition, harms_of
from annotation_ui.store.search import add_words
from annotation_ui.store.tables import Event, Guideline, Item, Judgement, Project, Response, User
from annotation_ui.store.verdicts import Verdict, storable
from reward_models.data.conversations import digest
from reward_models.data.records import Conversation
from reward_models.data.splits import opening_key

GUIDELINE_LIMIT = 50_000
MOST_TRAINING = 100
LONGEST_LEASE = 30 * 86400.0  # seconds


class ProjectError(ValueError):
    """A project that cannot be made or found; the message says why."""


class UnknownProject(ProjectError):
    """There is no such project, or none that the account may see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a project.

    Args:
        votes_per_item: how many annotators judge each item.
        gold_rate: share of an annotator's tasks that have a known answer.
        repeat_rate: share that are their own, shown again the other way round.
        eval_fraction: share of the prompts kept for evaluation; never ordered by a model.
        lease_seconds: how long an item stays with an annotator who does not answer.
        show_scores: show an annotator the models' scores of an item after the vote, which is final from then on.
        training_items: how many items with a known answer an annotator begins with; the answer is shown after each.
        pause_below: the accuracy on items with a known answer below which an annotator is warned, and then paused until
            a reviewer lets them go on; 0 for never.
        hourly_rate: the pay of an hour, for the forecast of the cost; 0 if it is not known.
    """

    votes_per_item: int = 1
    gold_rate: float = 0.05
    repeat_rate: float = 0.02
    eval_fraction: float = 0.1
    lease_seconds: float = 900.0
    show_scores: bool = False
    training_items: int = 0
    pause_below: float = 0.0
    hourly_rate: float = 0.0

    def __post_init__(self) -> None:
        if self.votes_per_item < 1:
            raise ProjectError(f"votes per item must be at least 1, not {self.votes_per_item}")
        if not all(map(isfinite, (self.gold_rate, self.repeat_rate, self.eval_fraction, self.lease_seconds))):
            raise ProjectError("the rates, the evaluation fraction and the lease must be finite numbers")
        if min(self.gold_rate, self.repeat_rate) < 0 or self.gold_rate + self.repeat_rate > 0.5:
            raise ProjectError("the gold and repeat rates must be at least 0 and together at most a half")
        if not 0 <= self.eval_fraction < 1:
            raise ProjectError(f"the evaluation fraction must be at least 0 and below 1, not {self.eval_fraction}")
        if not 0 <= self.training_items <= MOST_TRAINING:
            raise ProjectError(f"the training round has 0 to {MOST_TRAINING} items, not {self.training_items}")
        if not 0 <= self.pause_below < 1:
            raise ProjectError(f"the accuracy to pause below must be at least 0 and below 1, not {self.pause_below}")
        if not (isfinite(self.hourly_rate) and self.hourly_rate >= 0):
            raise ProjectError(f"the hourly rate must be a number of at least 0, not {self.hourly_rate}")
        if self.lease_seconds < 10:
            raise ProjectError(f"a lease of {self.lease_seconds:g} s is too short to read an item; at least 10")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """A judgement made elsewhere."""

    annotator: str
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An item to be judged.

    Args:
        responses: as many as the project's kind has, see :data:`~annotation_ui.store.forms.RESPONSES`.
        models: which model wrote each response, where known.
        gold: the known answer, a label in canonical positions. ``answer``: the rest of it, see
            :class:`~annotation_ui.store.tables.Item`.
        votes: judgements made elsewhere.
        id, source: where it came from.
    """

    prompt: Conversation
    responses: tuple[Conversation, ...]
    models: tuple[str | None, ...]
    gold: str | None = None
    answer: Mapping[str, Any] | None = None
    votes: tuple[Vote, ...] = ()
    id: str = ""
    source: str = ""

    @property
    def content_key(self) -> str:
        """Equal for candidates with the same prompt and the same responses in either order."""
        parts = sorted(digest(response) for response in self.responses)
        return hashlib.sha256(digest(self.prompt) + b"".join(parts)).hexdigest()


@dataclass(slots=True)
class Added:
    """The counts of :func:`add_items`: new items, items that were there before, and the same of votes.

    ``ordinary``: of the items that were there, those without a known answer that came with one now; they stay so.
    """

    items: int = 0
    known: int = 0
    votes: int = 0
    known_votes: int = 0
    ordinary: int = 0
    annotators: set[str] = field(default_factory=set)


def create_project(
    session: Session,
    name: str,
    kind: Kind,
    settings: Settings,
    *,
    guideline: str | None = None,
    harms: Sequence[str] | None = None,
    form: Form | None = None,
    author: str,
    now: float,
) -> Project:
    """A new project with the first version of its guideline.

    Args:
        guideline, harms, form: in place of the defaults of the kind.

    Raises:
        ProjectError: the name is taken or unusable, or the guideline is.
    """
    if not name or len(name) > 100 or not all(char.isalnum() or char in "-_." for char in name):
        raise ProjectError(f"{name[:40]!r} is no project name: letters, digits, '-', '_' and '.', at most 100")
    if kind not in KINDS:
        raise ProjectError(f"kind {str(kind)[:40]!r} is none of {', '.join(KINDS)}")
    if has_project(session, name):
        raise ProjectError(f"there is a project {name!r} already")
    _require_lease(settings.lease_seconds)
    project = Project(name=name, kind=kind, created=now, **asdict(settings))
    session.add(project)
    session.flush()
    session.add(Event(at=now, actor=author, kind="project created", project=name, detail={"kind": kind}))
    default = default_definition(kind)
    text = default.guideline if guideline is None else guideline
    named = (default.harms if harms is None else harms) if kind == "safety" else ()
    add_guideline(session, project, text, named, form=form or default.form, author=author, now=now)
    return project


def settings_of(project: Project) -> Settings:
    return Settings(**{field.name: getattr(project, field.name) for field in fields(Settings)})


def change_settings(session: Session, project: Project, changes: Mapping[str, Any], *, author: str, now: float) -> None:
    """Give a project new settings, which hold from now on; the audit trail says what they were.

    Raises:
        ProjectError: a value makes no sense, or would move items between the splits.
    """
    if changes.get("eval_fraction", project.eval_fraction) != project.eval_fraction:
        raise ProjectError("the evaluation fraction is fixed: items that were trained on would move to the evaluation")
    before = settings_of(project)
    after = replace(before, **changes)
    changed = {name: value for name, value in asdict(after).items() if value != getattr(before, name)}
    _require_lease(changed.get("lease_seconds", 0.0))
    for name, value in changed.items():
        setattr(project, name, value)
    detail = {name: [getattr(before, name), value] for name, value in changed.items()}
    session.add(Event(at=now, actor=author, kind="settings changed", project=project.name, detail=detail))


def _require_lease(seconds: float) -> None:
    """Refuse a new lease that is too long; one of an old database holds until it is changed."""
    if seconds > LONGEST_LEASE:
        raise ProjectError(f"a lease has at most {LONGEST_LEASE:.0f} seconds, which are 30 days, not {seconds:g}")


def has_project(session: Session, name: str) -> bool:
    return session.scalar(select(Project.id).where(Project.name == name)) is not None


def find_project(session: Session, name: str | None) -> Project:
    """The project ``name``, or the only one there is.

    Raises:
        ProjectError: there is none, or several and no name.
    """
    project = session.scalar(select(Project).where(Project.name == name)) if name else None
    if project is None:
        names = session.scalars(select(Project.name).order_by(Project.name)).all()
        if not name and len(names) == 1:
            return session.scalars(select(Project)).one()
        known = f"there are: {', '.join(names)}" if names else "there is none yet; `keel annotate import` makes one"
        raise UnknownProject(f"no project {name!r}; {known}" if name else f"name a project; {known}")
    return project


def add_guideline(
    session: Session,
    project: Project,
    text: str,
    harms: Sequence[str] | None = None,
    *,
    form: Form | None = None,
    author: str,
    now: float,
) -> Guideline:
    """The next version of the guideline.

    Args:
        harms: the categories of a safety project; by default those of the version before.
        form: the questions beside the harms; by default those of the version before.

    Raises:
        ProjectError, DefinitionError: the text is empty or too long; the harms are none, or of another kind of project.
    """
    if not text.strip() or len(text) > GUIDELINE_LIMIT:
        raise ProjectError(f"a guideline has 1 to {GUIDELINE_LIMIT} characters, not {len(text.strip())}")
    if storable(text) != text:
        raise ProjectError("the guideline holds a NUL character or half of a character, which databases do not store")
    versions = select(Guideline).where(Guideline.project_id == project.id).order_by(Guideline.version.desc())
    before = session.scalar(versions.limit(1))
    inherited = before.harms if before and project.kind == "safety" else ()
    named = harms_of(project.kind, inherited if harms is None else harms)
    newest = before.version + 1 if before else 1
    stored = form.to_dict() if form else before.form if before else None
    guideline = Guideline(
        project_id=project.id, version=newest, text=text, harms=list(named), form=stored, author=author, created=now
    )
    session.add(guideline)
    session.flush()
    session.add(Event(at=now, actor=author, kind="guideline added", project=project.name, detail={"version": newest}))
    return guideline


def add_items(session: Session, project: Project, candidates: Iterable[Candidate], *, author: str, now: float) -> Added:
    """Put ``candidates`` at the end of the queue; those that are there already only add their votes."""
    rank = session.scalar(select(func.max(Item.rank)).where(Item.project_id == project.id)) or 0.0
    added = Added()
    people: dict[str, User] = {}
    for candidate in candidates:
        key = candidate.content_key
        item = session.scalar(select(Item).where(Item.project_id == project.id, Item.content_key == key))
        if item is None:
            rank += 1.0
            item = _new_item(project, candidate, rank, now)
            session.add(item)
            session.flush()
            add_words(session, item)
            added.items += 1
        else:
            added.known += 1
            added.ordinary += candidate.gold is not None and item.gold is None
        _add_votes(session, item, candidate, people, added, now)
    detail = {"items": added.items, "known": added.known, "votes": added.votes}
    session.add(Event(at=now, actor=author, kind="imported", project=project.name, detail=detail))
    return added


def _new_item(project: Project, candidate: Candidate, rank: float, now: float) -> Item:
    opening = opening_key(candidate.prompt)
    draw = int.from_bytes(hashlib.sha256(f"{project.name}:{opening}".encode()).digest()[:8], "big") / 2**64
    return Item(
        project_id=project.id,
        content_key=candidate.content_key,
        source=candidate.source,
        source_id=candidate.id,
        prompt=_stored(candidate.prompt),
        prompt_key=opening,
        split="eval" if draw < project.eval_fraction else "train",
        rank=rank,
        taken=0,
        gold=candidate.gold,
        answer=None if candidate.answer is None else dict(candidate.answer),
        length=sum(len(m.content) for messages in (candidate.prompt, *candidate.responses) for m in messages),
        created=now,
        responses=[
            Response(slot=slot, messages=_stored(response), model=model)
            for slot, response, model in zip(SLOTS, candidate.responses, candidate.models, strict=False)
        ],
    )


def _stored(messages: Conversation) -> list[dict[str, Any]]:
    return [message.to_dict() for message in messages]


def _add_votes(
    session: Session, item: Item, candidate: Candidate, people: dict[str, User], added: Added, now: float
) -> None:
    if not candidate.votes:
        return
    first = item.responses[0].messages
    turned = len(candidate.responses) == 2 and _stored(candidate.responses[0]) != first
    for vote in candidate.votes:
        name = vote.annotator
        user = people.get(name) or find_user(session, name)
        if user is not None and name not in people and not is_author_of_imports(session, user):
            raise ProjectError(f"votes by {name!r} cannot be imported: that is an account here, which votes by itself")
        user = people[name] = user or add_user(session, name, "annotator", None, now=now)
        key = f"{IMPORTED}{item.id}-{user.id}"
        if session.scalar(select(Judgement.id).where(Judgement.key == key)) is not None:
            added.known_votes += 1
            continue
        label = {"a": "b", "b": "a"}.get(vote.verdict.label, vote.verdict.label) if turned else vote.verdict.label
        session.add(
            Judgement(
                item_id=item.id,
                user_id=user.id,
                revision=0,
                adjudication=False,
                label=label,
                strength=vote.verdict.strength,
                harms=list(vote.verdict.harms),
                severity=vote.verdict.severity,
                rationale=vote.verdict.rationale,
                skip_reason=vote.verdict.skip_reason,
                key=key,
                created=now,
            )
        )
        added.votes += 1
        added.annotators.add(name)
        if label != "skip":
            item.taken += 1
    session.flush()
