"""From what a browser asks for to the HTML it shows: every action of the app, each a call into ``session``.

``act`` is the one door. It takes anything, answers with ``{"html", "note", "error"}``, and raises nothing that a user
could bring about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from itertools import pairwise
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from annotation_ui import rendering, review
from annotation_ui import session as desk
from annotation_ui.accounts import Forbidden
from annotation_ui.database import Database
from annotation_ui.dwell import TICKS, along
from annotation_ui.exporting import take_snapshot
from annotation_ui.jobs import ACTIVE, request_training
from annotation_ui.judgements import LeaseLost, Stale
from annotation_ui.projects import ProjectError
from annotation_ui.quality import GAPS
from annotation_ui.verdicts import SEVERITIES, SKIP_REASONS, STRENGTHS, VerdictError

Reply = dict[str, Any]
Said = Mapping[str, Any]

SCALE = (
    ("left", 3, "A much better", "A+++", "1"),
    ("left", 2, "A better", "A++", "2"),
    ("left", 1, "A slightly", "A+", "3"),
    ("tie", None, "Tie", "=", "4"),
    ("right", 1, "B slightly", "B+", "5"),
    ("right", 2, "B better", "B++", "6"),
    ("right", 3, "B much better", "B+++", "7"),
)
NAMES = {
    "a": "A",
    "b": "B",
    "left": "A",
    "right": "B",
    "tie": "Tie",
    "both_bad": "Both bad",
    "safe": "Safe",
    "unsafe": "Unsafe",
    "skip": "Skipped",
}
EPOCH = date(1970, 1, 1).toordinal()
KEYS = (
    ("1 … 7", "A much better … tie … B much better"),
    ("1  2", "safe · unsafe (then letters for harms, 1–3 severity, Enter)"),
    ("B", "both are bad"),
    ("S", "skip, with a reason"),
    ("U", "undo the last verdict"),
    ("H", "my last verdicts; back with Esc"),
    ("N", "write why; Esc leaves the field"),
    ("R", "raw text, as the reward model reads it"),
    ("D", "the words in which the responses differ"),
    ("G", "guideline"),
    ("T", "fold or unfold the reasoning"),
    ("?", "these keys"),
)


class Ask(ValueError):
    """A request that no page of ours sends."""


@dataclass(frozen=True, slots=True)
class Context:
    """Who asks, of which project, when."""

    database: Database
    who: str | None
    project: str | None
    now: float
    can_log_out: bool


def act(database: Database, who: str | None, asked: object, *, now: float, can_log_out: bool = True) -> Reply:
    """Answer one request of the browser's: ``{"action", "project", …}``."""
    try:
        if not isinstance(asked, dict) or not isinstance(asked.get("action"), str):
            raise Ask("not a request")
        action = ACTIONS.get(asked["action"])
        if action is None:
            raise Ask("no such action")
        project = asked.get("project")
        context = Context(database, who, project if isinstance(project, str) and project else None, now, can_log_out)
        if context.project is None:
            known = desk.frame(database, who).projects
            context = Context(database, who, known[0] if known else None, now, can_log_out)
        return action(context, asked)
    except (LeaseLost, Stale) as error:
        reply = _annotate(context)
        return reply | {"error": str(error)}
    except (VerdictError, ProjectError, Forbidden, Ask) as error:
        return {"html": None, "note": None, "error": str(error)}


def _open(context: Context, asked: Said) -> Reply:
    return _annotate(context)


def _vote(context: Context, asked: Said) -> Reply:
    said = _mapping(asked, "said")
    dwell = asked.get("ms")
    dwell_ms = (
        int(dwell) if isinstance(dwell, int | float) and not isinstance(dwell, bool) and 0 <= dwell < 1e9 else None
    )
    token = asked.get("token")
    if not isinstance(token, str):
        raise Ask("a vote without the token of its item")
    reveals = desk.vote(
        context.database, context.who, context.project, token, said, dwell_ms=dwell_ms, go_on=True, now=context.now
    )
    return _annotate(context) | {"note": " · ".join(["Saved", *map(_reveal, reveals)])}


def _undo(context: Context, asked: Said) -> Reply:
    desk.undo(context.database, context.who, context.project, _whole(asked, "judgement"), now=context.now)
    return _annotate(context) | {"note": "Taken back; here it is again"}


def _history(context: Context, asked: Said) -> Reply:
    past = desk.history(context.database, context.who, context.project)
    return _page(context, "history", past=past, now=context.now)


def _open_edit(context: Context, asked: Said) -> Reply:
    task = desk.past_task(context.database, context.who, context.project, _whole(asked, "judgement"))
    return _annotate(context, task)


def _edit(context: Context, asked: Said) -> Reply:
    judgement, said = _whole(asked, "judgement"), _mapping(asked, "said")
    desk.edit(context.database, context.who, context.project, judgement, said, now=context.now)
    return _history(context, asked) | {"note": "Changed; the old verdict stays in the record"}


def _review(context: Context, asked: Said) -> Reply:
    found = review.disputes(context.database, context.who, context.project)
    return _page(context, "review", disputes=found, names=NAMES)


def _case(context: Context, asked: Said) -> Reply:
    found = review.case(context.database, context.who, context.project, _whole(asked, "item"))
    return _page(context, "case", task=found, names=NAMES, strengths=STRENGTHS)


def _decide(context: Context, asked: Said) -> Reply:
    item, said = _whole(asked, "item"), _mapping(asked, "said")
    seen = None if asked.get("seen") is None else _whole(asked, "seen")
    review.decide(context.database, context.who, context.project, item, said, seen=seen, now=context.now)
    return _review(context, asked) | {"note": "Decided"}


def _dashboard(context: Context, asked: Said) -> Reply:
    figures, snapshots, jobs = review.dashboard(context.database, context.who, context.project)
    return _page(
        context,
        "dashboard",
        q=figures,
        kind="preference" if figures.strengths else "safety",
        snapshots=snapshots,
        jobs=jobs,
        working=any(job.state in ACTIVE for job in jobs),
        now=context.now,
        names=NAMES,
        ticks=TICKS,
        gaps=[f"{low}–{high}" for low, high in pairwise(GAPS)] + [f"over {GAPS[-1]}"],
        days=[(date.fromordinal(EPOCH + day).isoformat(), count) for day, count in figures.days][-14:],
        strength_names=[(words, figures.strengths[n][1]) for n, (_, _, words, _, _) in enumerate(SCALE)]
        if figures.strengths
        else [],
        label_names=[(NAMES.get(label, label), count) for label, count in figures.labels],
    )


def _snapshot(context: Context, asked: Said) -> Reply:
    name = asked.get("name")
    if not isinstance(name, str):
        raise Ask("no name for the snapshot")
    who = context.who or ""
    made = take_snapshot(context.database, who, context.project, name.strip() or None, now=context.now)
    return _dashboard(context, asked) | {"note": f"Snapshot {made} is taken"}


def _train(context: Context, asked: Said) -> Reply:
    snapshot = asked.get("snapshot")
    if not isinstance(snapshot, str):
        raise Ask("no snapshot to train on")
    number = request_training(context.database, context.who, context.project, snapshot, now=context.now)
    return _dashboard(context, asked) | {"note": f"Job {number}: training on {snapshot}"}


def _prepare(context: Context, asked: Said) -> Reply:
    """Render what is likely to come next while the annotator reads, so that a verdict does not wait for it."""
    prompt, responses = desk.upcoming_texts(context.database, context.who, context.project)
    for message in prompt:
        rendering.markdown(message["content"])
    for message in (message for response in responses for message in response):
        rendering.response(message["content"], open_reasoning=len(responses) == 1)
    return {"html": None, "note": None, "error": None}


def _difference(context: Context, asked: Said) -> Reply:
    """The two texts that the browser has on screen, with the words marked in which they differ."""
    left, right = asked.get("left"), asked.get("right")
    if not isinstance(left, str) or not isinstance(right, str) or len(left) + len(right) > 400_000:
        raise Ask("no two texts to compare")
    desk.frame(context.database, context.who)  # for annotators of any role, but for nobody else
    marked = rendering.difference(left, right)
    if marked is None:
        return {"html": None, "note": None, "error": "These responses are too long to compare word by word"}
    return {"html": list(marked), "note": None, "error": None}


ACTIONS: dict[str, Callable[[Context, Said], Reply]] = {
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
    "dashboard": _dashboard,
    "snapshot": _snapshot,
    "train": _train,
}


def _annotate(context: Context, task: desk.Task | None = None) -> Reply:
    if context.project is None:
        return _page(context, "nothing")
    if task is None:
        screen = desk.screen(context.database, context.who, context.project, now=context.now)
        task, progress = screen.task, screen.progress
    else:
        progress = desk.progress(context.database, context.who, context.project, now=context.now)
    title, why = _why_empty(progress, context.now) if task is None else ("", "")
    return _page(
        context,
        "annotate",
        task=task,
        progress=progress,
        empty_title=title,
        empty_why=why,
    )


def _why_empty(progress: desk.Progress, now: float) -> tuple[str, str]:
    """A title and a sentence on why there is no item."""
    queue = progress.queue
    if queue.total == 0:
        return "No items yet", "Nothing has been imported into this project: keel annotate import FILE."
    if queue.leased and queue.next_free is not None:
        minutes = max(1, round((queue.next_free - now) / 60))
        return (
            "All taken for the moment",
            f"The items still short of votes ({queue.leased}) are on other people's screens. If they leave one, it "
            f"comes free in {minutes} min at the earliest. This page looks again by itself.",
        )
    if queue.judged + queue.skipped == queue.total:
        return "You have seen everything", "There is no item left that you have not judged or skipped. Thank you."
    return "Finished", "Every item has all the votes it needs. Thank you."


def _page(context: Context, name: str, **values: Any) -> Reply:
    frame = desk.frame(context.database, context.who)
    html = (
        environment()
        .get_template(f"{name}.html")
        .render(
            page=name,
            pages=PAGES[frame.role],
            admin=frame.role == "admin",
            project=context.project or "",
            projects=frame.projects,
            who=context.who,
            can_log_out=context.can_log_out,
            keys=KEYS,
            scale=SCALE,
            skip_reasons=SKIP_REASONS,
            severities=SEVERITIES,
            **values,
        )
    )
    return {"html": html, "note": None, "error": None}


_ANNOTATOR = (("annotate", "Annotate"), ("history", "My verdicts"))
_REVIEWER = (*_ANNOTATOR, ("review", "Review"), ("dashboard", "Dashboard"))
PAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "annotator": _ANNOTATOR,
    "reviewer": _REVIEWER,
    "admin": _REVIEWER,
}


def said_in_words(past: desk.Past) -> str:
    name = NAMES[past.label]
    return f"{name} {STRENGTHS[past.strength]}" if past.strength else name


def _reveal(reveal: desk.Reveal) -> str:
    return f"{reveal.scorer} {_leaning(reveal.margin, reveal.pair)}"


def _leaning(margin: float, pair: bool) -> str:
    """What a scorer says, by its margin between A and B or its score of the only response."""
    if pair:
        return f"prefers {'A' if margin > 0 else 'B'}, margin {abs(margin):.2f}"
    return f"says {'safe' if margin > 0 else 'unsafe'}, score {margin:+.2f}"


def _ago(then: float, now: float) -> str:
    seconds = max(0.0, now - then)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return "just now"


def _about(count: int, checks: bool) -> str:
    """A count as annotators see it: exact only where no task is a check."""
    if not checks or count == 0:
        return str(count)
    return f"about {round(count, -1)}" if count >= 10 else "fewer than 10"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"


def _whole(asked: Said, key: str) -> int:
    value = asked.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise Ask(f"{key} is not a whole number that could be one of ours")
    return value


def _mapping(asked: Said, key: str) -> Said:
    value = asked.get(key)
    if not isinstance(value, dict):
        raise Ask(f"{key} is missing")
    return value


@cache
def environment() -> Environment:
    """The templates; everything put into them is escaped unless ``rendering`` made it."""
    made = Environment(loader=PackageLoader("annotation_ui"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    made.filters["markdown"] = lambda text: Markup(rendering.markdown(text))
    made.filters["response"] = lambda text, opened: Markup(rendering.response(text, open_reasoning=opened))
    made.filters["raw"] = lambda text: Markup(rendering.raw(text))
    made.filters["said"] = said_in_words
    made.filters["ago"] = _ago
    made.filters["leaning"] = _leaning
    made.filters["about"] = _about
    made.filters["along"] = along
    made.filters["duration"] = _duration
    return made
