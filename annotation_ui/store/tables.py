"""The tables of the annotation store, typed. Times are seconds since the epoch (UTC).

Verdicts are never changed: ``judgements``, ``snapshots``, ``snapshot_judgements`` and ``events`` are
append-only, which triggers in the database enforce (see the first migration). A correction is a new judgement that
supersedes the one before.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, MetaData, UniqueConstraint, false
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        dict[str, Any]: JSON(none_as_null=True),
        list[str]: JSON(none_as_null=True),
        list[dict[str, str]]: JSON(none_as_null=True),
    }


class User(Base):
    """An account. Without a password nobody can log in as it: the authors of imported votes."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    password: Mapped[str | None]
    active: Mapped[bool]
    created: Mapped[float]
    __table_args__ = (CheckConstraint("role IN ('annotator', 'reviewer', 'admin')", name="role"),)


class Login(Base):
    """A browser's session; only a hash of its cookie is kept."""

    __tablename__ = "logins"
    cookie_hash: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    created: Mapped[float]
    expires: Mapped[float]


class Project(Base):
    """A set of items and the rules for judging them.

    ``kind``: ``preference`` between two responses, ``safety`` of one, ``ranking`` of two to eight, ratings of
    ``attributes`` of one to eight, or ``rewrite``: a response written anew, which a second person accepts.

    ``gold_rate`` and ``repeat_rate`` are the shares of an annotator's tasks that check them: items with a known answer,
    and items of their own shown again the other way round. With ``show_scores`` a vote is followed by what the models
    say of the item, and can then no longer be changed. A project for ``members_only`` is seen by its members and by
    admins; one that is ``archived`` (since then) takes no more votes. ``training_items``, ``pause_below`` and
    ``hourly_rate``: see :class:`~annotation_ui.store.projects.Settings`.
    """

    __tablename__ = "projects"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    votes_per_item: Mapped[int]
    gold_rate: Mapped[float]
    repeat_rate: Mapped[float]
    eval_fraction: Mapped[float]
    lease_seconds: Mapped[float]
    show_scores: Mapped[bool] = mapped_column(default=False, server_default=false())
    members_only: Mapped[bool] = mapped_column(default=False, server_default=false())
    training_items: Mapped[int] = mapped_column(default=0, server_default="0")
    pause_below: Mapped[float] = mapped_column(default=0.0, server_default="0")
    hourly_rate: Mapped[float] = mapped_column(default=0.0, server_default="0")
    archived: Mapped[float | None]
    created: Mapped[float]
    __table_args__ = (
        CheckConstraint("kind IN ('preference', 'safety', 'ranking', 'attributes', 'rewrite')", name="kind"),
        CheckConstraint("votes_per_item > 0", name="votes_per_item"),
    )


class Guideline(Base):
    """The instructions to annotators. A new version leaves the old one in place for the judgements made under it.

    ``harms`` are the labels of a safety project; ``form`` is what else the project's kind asks about, see
    :class:`~annotation_ui.store.forms.Form` (null in versions older than that).
    """

    __tablename__ = "guidelines"
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    version: Mapped[int]
    text: Mapped[str]
    harms: Mapped[list[str]]
    form: Mapped[dict[str, Any] | None]
    author: Mapped[str]
    created: Mapped[float]
    __table_args__ = (UniqueConstraint("project_id", "version"),)


class Item(Base):
    """A prompt and its responses. ``taken`` counts the votes and the open leases on it, at most ``votes_per_item``;
    ``length`` the characters of its texts. ``gold`` is the label of a known answer, ``answer`` the rest of it: ranks,
    ratings, and an ``explanation`` for annotators in training.
    """

    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    content_key: Mapped[str]
    source: Mapped[str]
    source_id: Mapped[str]
    prompt: Mapped[list[dict[str, str]]]
    prompt_key: Mapped[str]
    split: Mapped[str]
    rank: Mapped[float]
    taken: Mapped[int]
    gold: Mapped[str | None]
    answer: Mapped[dict[str, Any] | None]
    length: Mapped[int] = mapped_column(default=0, server_default="0")
    created: Mapped[float]
    responses: Mapped[list[Response]] = relationship(order_by="Response.slot", lazy="selectin")
    __table_args__ = (
        UniqueConstraint("project_id", "content_key"),
        CheckConstraint("taken >= 0", name="taken"),
        Index("ix_items_queue", "project_id", "taken", "rank", "id"),
        Index("ix_items_order", "project_id", "id"),
        Index("ix_items_length", "project_id", "length", "id"),
        Index("ix_items_source", "project_id", "source", "id"),
    )


class Response(Base):
    """``slot`` is ``a`` to ``h``, which says nothing about where it is shown. Annotators never see ``model``."""

    __tablename__ = "responses"
    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    slot: Mapped[str]
    messages: Mapped[list[dict[str, str]]]
    model: Mapped[str | None]
    __table_args__ = (UniqueConstraint("item_id", "slot"),)


class Assignment(Base):
    """An item leased to an annotator. ``round`` 1 is a silent repeat.

    ``left`` is the response shown on the left, or with more than two all of them in the order shown (``cab``).
    ``draft`` is what the annotator has written but not sent. A ``returned`` rewrite waits for its writer.

    ``token`` names this lease: a vote must carry it, so a late key press never judges an item that is not on screen,
    and a vote sent twice counts once. ``guideline_id`` is the version shown beside the item. ``revealed``: a model's
    score of the item was shown after the vote, which is final from then on. ``training``: the known answer is shown
    after the vote, which is final as well.
    """

    __tablename__ = "assignments"
    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    round: Mapped[int]
    token: Mapped[str] = mapped_column(unique=True)
    left: Mapped[str]
    guideline_id: Mapped[int] = mapped_column(ForeignKey("guidelines.id"))
    state: Mapped[str]
    leased_at: Mapped[float]
    expires: Mapped[float]
    revealed: Mapped[bool] = mapped_column(default=False, server_default=false())
    training: Mapped[bool] = mapped_column(default=False, server_default=false())
    draft: Mapped[dict[str, Any] | None]
    item: Mapped[Item] = relationship()
    guideline: Mapped[Guideline] = relationship()
    __table_args__ = (
        UniqueConstraint("item_id", "user_id", "round"),
        CheckConstraint("state IN ('leased', 'done', 'skipped', 'expired', 'returned')", name="state"),
        Index("ix_assignments_state", "state", "expires"),
        Index("ix_assignments_user", "user_id", "state"),
    )


class Judgement(Base):
    """A person's verdict, in canonical positions (``a`` and ``b`` are slots, not sides of the screen).

    ``label``: a, b, tie, both_bad | safe, unsafe | ranked | rated | written | skip | withdrawn; of reviewers also
    accepted | returned. The ranks, ratings or text of those kinds are in ``payload``. The judgement in force is the
    last of its chain: the one no other ``supersedes``. ``adjudication`` marks a reviewer's decision. ``left``: as in
    :class:`Assignment`.
    """

    __tablename__ = "judgements"
    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    assignment_id: Mapped[int | None] = mapped_column(ForeignKey("assignments.id"), index=True)
    revision: Mapped[int]
    supersedes: Mapped[int | None] = mapped_column(ForeignKey("judgements.id"), unique=True)
    adjudication: Mapped[bool]
    label: Mapped[str]
    strength: Mapped[int | None]
    harms: Mapped[list[str]]
    severity: Mapped[int | None]
    rationale: Mapped[str]
    skip_reason: Mapped[str]
    payload: Mapped[dict[str, Any] | None]
    left: Mapped[str | None]
    dwell_ms: Mapped[int | None]
    guideline_id: Mapped[int | None] = mapped_column(ForeignKey("guidelines.id"))
    key: Mapped[str] = mapped_column(unique=True)
    created: Mapped[float]
    user: Mapped[User] = relationship()
    item: Mapped[Item] = relationship()
    guideline: Mapped[Guideline | None] = relationship()
    __table_args__ = (
        CheckConstraint(
            "label IN ('a', 'b', 'tie', 'both_bad', 'safe', 'unsafe', 'skip', 'withdrawn', "
            "'ranked', 'rated', 'written', 'accepted', 'returned')",
            name="label",
        ),
        CheckConstraint("strength BETWEEN 1 AND 3", name="strength"),
    )


class Score(Base):
    """A model's scores of an item: a reward for each response, or for the only one (``score_b`` is null)."""

    __tablename__ = "scores"
    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    scorer: Mapped[str]
    score_a: Mapped[float]
    score_b: Mapped[float | None]
    created: Mapped[float]
    __table_args__ = (UniqueConstraint("item_id", "scorer"), Index("ix_scores_scorer", "scorer", "item_id"))


class Snapshot(Base):
    """The current judgements of one moment, named. Exports and training read snapshots."""

    __tablename__ = "snapshots"
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    author: Mapped[str]
    digest: Mapped[str]
    created: Mapped[float]
    __table_args__ = (UniqueConstraint("project_id", "name"),)


class SnapshotJudgement(Base):
    __tablename__ = "snapshot_judgements"
    snapshot_id: Mapped[int] = mapped_column(ForeignKey("snapshots.id"), primary_key=True)
    judgement_id: Mapped[int] = mapped_column(ForeignKey("judgements.id"), primary_key=True)


class Job(Base):
    """Work too long for a request: ``train`` on the snapshot ``subject``, or ``score`` the items by the model there.

    ``note`` is the progress, or the reason of a failure; ``result`` holds the model's directory and its evaluation.
    """

    __tablename__ = "jobs"
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), index=True)
    kind: Mapped[str]
    subject: Mapped[str]
    author: Mapped[str]
    state: Mapped[str]
    note: Mapped[str]
    result: Mapped[dict[str, Any] | None]
    created: Mapped[float]
    ended: Mapped[float | None]
    project: Mapped[Project] = relationship()
    __table_args__ = (
        CheckConstraint("kind IN ('train', 'score')", name="kind"),
        CheckConstraint("state IN ('waiting', 'running', 'done', 'failed')", name="state"),
    )


class Event(Base):
    """The audit trail: who did what, when. ``actor`` is a name, since names outlive accounts."""

    __tablename__ = "events"
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    actor: Mapped[str]
    kind: Mapped[str]
    project: Mapped[str | None]
    detail: Mapped[dict[str, Any]]
