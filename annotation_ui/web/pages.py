"""The actions of the app: each turns a request of the browser into the HTML of a page.

:func:`act` is the only entry. It takes anything, answers with ``{"html", "note", "error"}``, and raises nothing that a
user could bring about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from itertools import pairwise
from typing import Any

from annotation_ui.actions import review, rewrites
from annotation_ui.actions.browsing import history_in_sides
from annotation_ui.actions.jobs import ACTIVE, request_training
from annotation_ui.exchange.exporting import take_snapshot
from annotation_ui.labelling import session as annotating
from annotation_ui.labelling.dwell import TICKS
from annotation_ui.labelling.judgements import LeaseLost, Stale
from annotation_ui.labelling.screens import Layout, Screen, Task
from annotation_ui.quality.statistics import GAPS
from annotation_ui.store.accounts import AccountError, Forbidden
from annotation_ui.store.database import Database
from annotation_ui.store.forms import DefinitionError
from annotation_ui.store.projects import ProjectError
from annotation_ui.store.search import SearchError
from annotation_ui.store.verdicts import SEVERITIES, SKIP_REASONS, STRENGTHS, TEXT_LIMIT, VerdictError
from annotation_ui.web import administration_pages, rendering, training_pages
from annotation_ui.web.context import BadRequest, Context, Reply, Said
from annotation_ui.web.differences import difference
from annotation_ui.web.form_fields import fields_of
from annotation_ui.web.item_pages import following
from annotation_ui.web.languages import Language, language_of, translated
from annotation_ui.web.wording import (
    DEGREES,
    KEYS,
    LABELS,
    NAMES,
    ORDERS,
    PAGES,
    SCALE,
    SENDS,
    UNDER,
    environment,
    revealed,
    why_empty,
)

DECIDES = ("case", "decide", "reading", "decide text")  # actions that begin at the list of what is to be decided
EPOCH = date(1970, 1, 1).toordinal()


def act(database: Database, who: str | None, asked: object, *, now: float, can_log_out: bool = True) -> Reply:
    """Answer one request of the browser: ``{"action", "project", …}``."""
    language = language_of(asked.get("language")) if isinstance(asked, dict) else "en"
    reply = _answer(database, who, asked, language, now=now, can_log_out=can_log_out)
    said = {name: reply[name] and translated(reply[name], language) for name in ("note", "error")}
    return reply | said


def _answer(
    database: Database, who: str | None, asked: object, language: Language, *, now: float, can_log_out: bool
) -> Reply:
    try:
        if not isinstance(asked, dict) or not isinstance(asked.get("action"), str):
            raise BadRequest("not a request")
        action = ACTIONS.get(asked["action"])
        if action is None:
            raise BadRequest("no such action")
        project = asked.get("project")
        named = project if isinstance(project, str) and project else None
        context = Context(database, who, named, now, can_log_out, language)
        if context.project is None:
            known = annotating.layout(database, who).projects
            context = replace(context, project=known[0] if known else None)
        return action(context, asked)
    except (LeaseLost, Stale) as error:
        begin = _review if isinstance(asked, dict) and asked["action"] in DECIDES else _open
        return begin(context, {}) | {"error": str(error)}
    except (VerdictError, DefinitionError, ProjectError, AccountError, SearchError, Forbidden, BadRequest) as error:
        return {"html": None, "note": None, "error": str(error)}


def _open(context: Context, asked: Said) -> Reply:
    return _annotate(context)


def _start(context: Context, asked: Said) -> Reply:
    """The page after a log-in. That of a reviewer or an admin takes no item from the annotators."""
    role = annotating.layout(context.database, context.who).role
    if role == "annotator" or context.project is None or not context.can_log_out:
        return _annotate(context)
    return _review(context, asked) if role == "reviewer" else _dashboard(context, asked)


def _vote(context: Context, asked: Said) -> Reply:
    said = _mapping(asked, "said")
    dwell = asked.get("ms")
    dwell_ms = (
        int(dwell) if isinstance(dwell, int | float) and not isinstance(dwell, bool) and 0 <= dwell < 1e9 else None
    )
    token = asked.get("token")
    if not isinstance(token, str):
        raise BadRequest("a vote without the token of its item")
    voted = annotating.vote(
        context.database, context.who, context.project, token, said, dwell_ms=dwell_ms, go_on=True, now=context.now
    )
    if voted.feedback is not None:
        return training_pages.feedback_page(_page, context, voted.feedback)
    scores = [revealed(score, context.language) for score in voted.scores]
    note = " · ".join([translated("Saved", context.language), *scores])
    return _annotate(context, screen=voted.screen) | {"note": note}


def _undo(context: Context, asked: Said) -> Reply:
    annotating.undo(context.database, context.who, context.project, _whole(asked, "judgement"), now=context.now)
    return _annotate(context) | {"note": "Undone. Your former verdict is marked"}


def _history(context: Context, asked: Said) -> Reply:
    past = annotating.history(context.database, context.who, context.project)
    return _page(context, "history", past=past, now=context.now)


def _open_edit(context: Context, asked: Said) -> Reply:
    task = annotating.past_task(context.database, context.who, context.project, _whole(asked, "judgement"))
    return _annotate(context, task)


def _edit(context: Context, asked: Said) -> Reply:
    judgement, said = _whole(asked, "judgement"), _mapping(asked, "said")
    annotating.edit(context.database, context.who, context.project, judgement, said, now=context.now)
    return _history(context, asked) | {"note": "Changed. The old verdict stays in the record"}


def _draft(context: Context, asked: Said) -> Reply:
    """Keep an unfinished text. The page stays as it is, whatever comes of it."""
    token = asked.get("token")
    if not isinstance(token, str):
        raise BadRequest("a draft without the token of its item")
    try:
        annotating.keep_draft(context.database, context.who, context.project, token, asked.get("text"), now=context.now)
    except LeaseLost as error:
        return {"html": None, "note": None, "error": str(error)}
    return {"html": None, "note": None, "error": None}


def _preview(context: Context, asked: Said) -> Reply:
    """A text that is being written, rendered as a response is."""
    annotating.layout(context.database, context.who)  # for annotators of any role, but for nobody else
    text = asked.get("text")
    if not isinstance(text, str) or len(text) > TEXT_LIMIT:
        raise BadRequest("no text to render")
    return {"html": [rendering.response(text, open_reasoning=True)], "note": None, "error": None}


def _reading(context: Context, asked: Said) -> Reply:
    found = rewrites.reading(context.database, context.who, context.project, _whole(asked, "judgement"))
    return _page(context, "reading", task=found, names=NAMES)


def _decide_text(context: Context, asked: Said) -> Reply:
    judgement, said = _whole(asked, "judgement"), _mapping(asked, "said")
    seen = None if asked.get("seen") is None else _whole(asked, "seen")
    label = rewrites.decide(context.database, context.who, context.project, judgement, said, seen=seen, now=context.now)
    return _review(context, asked) | {"note": NAMES[label]}


def _review(context: Context, asked: Said) -> Reply:
    if review.kind_of(context.database, context.who, context.project) == "rewrite":
        texts = rewrites.waiting(context.database, context.who, context.project)
        return _page(context, "review", texts=texts, now=context.now)
    found = review.disputes(context.database, context.who, context.project)
    return _page(context, "review", disputes=found, names=NAMES)


def _case(context: Context, asked: Said) -> Reply:
    found = review.case(context.database, context.who, context.project, _whole(asked, "item"))
    past = history_in_sides(context.database, context.who, context.project, found.item)
    fields = fields_of(asked) if "fields" in asked else None
    return _page(context, "case", task=found, past=past, fields=fields, names=NAMES, strengths=STRENGTHS)


def _decide(context: Context, asked: Said) -> Reply:
    item, said = _whole(asked, "item"), _mapping(asked, "said")
    seen = None if asked.get("seen") is None else _whole(asked, "seen")
    review.decide(context.database, context.who, context.project, item, said, seen=seen, now=context.now)
    return _review(context, asked) | {"note": "Decided"}


def _dashboard(context: Context, asked: Said) -> Reply:
    found = review.dashboard(context.database, context.who, context.project, now=context.now)
    figures = found.figures
    return _page(
        context,
        "dashboard",
        q=figures,
        p=found.progress,
        kind=found.kind,
        texts=[(NAMES.get(label, "Waiting"), count) for label, count in found.texts.items()],
        labelled=found.kind in ("preference", "safety"),
        orders=ORDERS,
        snapshots=found.snapshots,
        jobs=found.jobs,
        **training_pages.parts(found),
        working=any(job.state in ACTIVE for job in found.jobs),
        now=context.now,
        names=LABELS,
        ticks=TICKS,
        gaps=[f"{low}–{high}" for low, high in pairwise(GAPS)] + [f"over {GAPS[-1]}"],
        days=[(date.fromordinal(EPOCH + day).isoformat(), count) for day, count in figures.days][-14:],
        strength_names=[(DEGREES[degree], count) for degree, count in figures.strengths],
        label_names=[(LABELS.get(label, label), count) for label, count in figures.labels],
    )


def _snapshot(context: Context, asked: Said) -> Reply:
    name = asked.get("name")
    if not isinstance(name, str):
        raise BadRequest("no name for the snapshot")
    made = take_snapshot(context.database, context.who or "", context.project, name.strip() or None, now=context.now)
    return _dashboard(context, asked) | {"note": f"Snapshot {made} is taken"}


def _train(context: Context, asked: Said) -> Reply:
    snapshot = asked.get("snapshot")
    if not isinstance(snapshot, str):
        raise BadRequest("no snapshot to train on")
    number = request_training(context.database, context.who, context.project, snapshot, now=context.now)
    return _dashboard(context, asked) | {"note": f"Job {number}: training on {snapshot}"}


def _prepare(context: Context, asked: Said) -> Reply:
    """Render what is likely to come next while the annotator reads, so that a verdict does not wait for it."""
    prompt, responses = annotating.upcoming_texts(context.database, context.who, context.project)
    for message in prompt:
        rendering.markdown(message["content"])
    for message in (message for response in responses for message in response):
        rendering.response(message["content"], open_reasoning=len(responses) == 1)
    return {"html": None, "note": None, "error": None}


def _difference(context: Context, asked: Said) -> Reply:
    """The two texts that the browser has on screen, with the words marked in which they differ."""
    left, right = asked.get("left"), asked.get("right")
    if not isinstance(left, str) or not isinstance(right, str) or len(left) + len(right) > 400_000:
        raise BadRequest("no two texts to compare")
    annotating.layout(context.database, context.who)  # for annotators of any role, but for nobody else
    marked = difference(left, right)
    if marked is None:
        return {"html": None, "note": None, "error": "These responses are too long to compare word by word"}
    return {"html": list(marked), "note": None, "error": None}


ACTIONS: dict[str, Callable[[Context, Said], Reply]] = {
    "start": _start,
    "annotate": _open,
    "vote": _vote,
    "undo": _undo,
    "history": _history,
    "open edit": _open_edit,
    "edit": _edit,
    "prepare": _prepare,
    "difference": _difference,
    "review": _review,
    "case": _case,
    "decide": _decide,
    "draft": _draft,
    "preview": _preview,
    "reading": _reading,
    "decide text": _decide_text,
    "dashboard": _dashboard,
    "snapshot": _snapshot,
    "train": _train,
    "let go on": training_pages.resume_action(_dashboard),
    "next case": lambda context, asked: _case(context, {**asked, "item": following(context, asked)}),
    **administration_pages.actions(lambda context, name, **values: _page(context, name, **values)),
}


def _annotate(context: Context, task: Task | None = None, screen: Screen | None = None) -> Reply:
    """The item in hand, ``task`` to be edited, or the ``screen`` that is known already."""
    if context.project is None:
        return _page(context, "nothing")
    if task is None:
        screen = screen or annotating.screen(context.database, context.who, context.project, now=context.now)
        task, progress = screen.task, screen.progress
    else:
        progress = annotating.progress(context.database, context.who, context.project, now=context.now)
    title, why = why_empty(progress, context.now, context.language) if task is None else ("", "")
    if screen is not None and screen.archived:
        title, why = "Archived", "This project takes no more votes. Thank you."
    elif task is None and screen is not None and training_pages.is_paused(screen.gold):
        title, why = training_pages.PAUSED
    return _page(
        context,
        "annotate",
        screen.layout if screen else None,
        task=task,
        progress=progress,
        gold=screen.gold if screen else None,
        empty_title=title,
        empty_why=why,
    )


def _page(context: Context, name: str, layout: Layout | None = None, **values: Any) -> Reply:
    layout = layout or annotating.layout(context.database, context.who)
    under = "items" if name == "case" and values.get("fields") is not None else UNDER.get(name, name)
    html = (
        environment(context.language)
        .get_template(f"{name}.html")
        .render(
            page=name,
            under=under,
            pages=PAGES[layout.role],
            admin=layout.role == "admin",
            # The page of a reviewer that looked again by itself would take an item from the annotators.
            polls=layout.role == "annotator" or not context.can_log_out,
            project=context.project or "",
            projects=layout.projects,
            who=context.who,
            can_log_out=context.can_log_out,
            keys=KEYS,
            scale=SCALE,
            skip_reasons=SKIP_REASONS,
            severities=SEVERITIES,
            sends=SENDS,
            **values,
        )
    )
    return {"html": html, "note": None, "error": None}


def _whole(asked: Said, key: str) -> int:
    value = asked.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise BadRequest(f"{key} is not a whole number that could be one of ours")
    return value


def _mapping(asked: Said, key: str) -> Said:
    value = asked.get(key)
    if not isinstance(value, dict):
        raise BadRequest(f"{key} is missing")
    return value
