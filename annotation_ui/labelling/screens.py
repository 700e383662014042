"""The things that an annotator is shown, as plain values: an item, progress, own verdicts, scores of models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from annotation_ui.labelling.gold import GoldRecord
from annotation_ui.labelling.progress import Progress
from annotation_ui.store.forms import Form, Kind

Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One item as it is shown.

    Args:
        token: names the lease (a new verdict) or is empty (an edit of ``judgement``).
        shown: the responses in the order of the screen.
        form: the questions of the project's kind.
        expires: when the lease ends, in seconds since the epoch.
        draft: names the task in the browser, where an unfinished verdict is kept; the same after a reload.
        note: of the person who sent the text back.
        said: the verdict to begin with, with sides of the screen: the one being edited, or the one that was undone.
        training: the known answer is shown after the verdict, unless it is a skip.
    """

    token: str
    kind: Kind
    prompt: Messages
    shown: tuple[Messages, ...]
    guideline: str
    guideline_version: int
    harms: tuple[str, ...]
    form: Form
    expires: float
    draft: str
    judgement: int | None = None
    said: Mapping[str, Any] | None = None
    note: str | None = None
    training: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A judgement of one's own: the id to undo or edit it by, and the verdict, with sides of the screen.

    ``final``: a model's score was shown after it, or a second person accepted the text, so it cannot be undone or
    edited; or, in ``training``, the known answer was. ``decision`` is the second person's, on a text. ``ranks`` are in
    the order of the screen.
    """

    judgement: int
    label: str
    strength: int | None
    created: float
    opening: str
    final: bool
    ranks: list[int] | None = None
    decision: str | None = None
    training: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownScore:
    """A model's score of the item just judged: a positive margin speaks for the left (or the only) response.

    ``pair`` tells a margin between two responses from the score of one.
    """

    scorer: str
    margin: float
    pair: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The account's role, and the names of the projects."""

    role: str
    projects: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """The item on an annotator's screen, the progress, and :func:`layout`. An ``archived`` project has no item.

    ``gold`` is the annotator's record on known items, in a project that has a bound on it.
    """

    task: Task | None
    progress: Progress
    layout: Layout
    archived: bool = False
    gold: GoldRecord | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """An item of the training round after the verdict, with sides of the annotator's screen.

    Args:
        said: the verdict. ``known``: the known answer, in the same form.
        share: how right the verdict is, from 0 to 1; ``None`` if nothing of the answer was asked.
        explanation: of the known answer; empty if there is none.
        done, of: items of the training round so far, and in all.
    """

    kind: Kind
    prompt: Messages
    shown: tuple[Messages, ...]
    form: Form
    guideline: str
    guideline_version: int
    said: Mapping[str, Any]
    known: Mapping[str, Any]
    share: float | None
    explanation: str
    done: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Voted:
    """The reply to a vote: the models' scores, if the project shows them, and the next item, if it was leased too.

    ``feedback`` is given in the training round.
    """

    scores: tuple[ShownScore, ...] = ()
    screen: Screen | None = None
    feedback: Feedback | None = None
