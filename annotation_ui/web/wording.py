"""The wording of the pages: names, keys, amounts and times; and the templates that use them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache, partial

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from annotation_ui.labelling.dwell import along
from annotation_ui.labelling.progress import Progress
from annotation_ui.labelling.screens import History, ShownScore
from annotation_ui.store.verdicts import STRENGTHS, letter
from annotation_ui.web import rendering
from annotation_ui.web.languages import DIRECTIONS, LANGUAGES, TAGS, Language, translated

SCALE = (
    ("left", 3, "A much better", "A+++", "1"),
    ("left", 2, "A better", "A++", "2"),
    ("left", 1, "A slightly", "A+", "3"),
    ("tie", None, "Tie", "=", "4"),
    ("right", 1, "B slightly", "B+", "5"),
    ("right", 2, "B better", "B++", "6"),
    ("right", 3, "B much better", "B+++", "7"),
)
# On every screen A is the left response and B the right one. The responses a and b of the data are called so in full.
NAMES = {
    "left": "A",
    "right": "B",
    "tie": "Tie",
    "both_bad": "Both bad",
    "safe": "Safe",
    "unsafe": "Unsafe",
    "skip": "Skipped",
    "rated": "Rated",
    "ranked": "Ranked",
    "written": "Written",
    "accepted": "Accepted",
    "returned": "Sent back",
}
# Kinds whose controls are filled in and then sent, and the label they are sent under.
SENDS = {"attributes": "rated", "ranking": "ranked", "rewrite": "written"}
# Which of two responses is better, by their order in the data.
ORDERS = {"first": "the earlier one in the data", "second": "the later one", "tie": "tie"}
LABELS = NAMES | {"a": "Response a", "b": "Response b"}
DEGREES: dict[int | str, str] = {
    3: "Much better",
    2: "Better",
    1: "Slightly better",
    "tie": "Tie",
    "none": "Strength not given",
}
# The page of the bar that a page is opened from.
UNDER = {"case": "review", "reading": "review", "snapshot": "dashboard", "feedback": "annotate"}
_ANNOTATOR = (("annotate", "Annotate"), ("history", "My verdicts"))
_REVIEWER = (*_ANNOTATOR, ("review", "Review"), ("items", "Items"), ("dashboard", "Dashboard"))
# The pages of the bar by role.
PAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "annotator": _ANNOTATOR,
    "reviewer": _REVIEWER,
    "admin": (*_REVIEWER, ("project", "Project"), ("users", "Users"), ("webhooks", "Webhooks")),
}
KEYS = (
    ("1 … 7", "A much better … tie … B much better"),
    ("1  2", "safe · unsafe (then letters for harms, 1–3 severity, Enter)"),
    ("0 … 9", "the rating or the place of the marked answer; the next one is marked then"),
    ("←  →  Enter", "mark another answer · send the ratings, the order or the text"),
    ("F", "mark the selected text, in the raw view, where passages are marked"),
    ("E  P", "write the response (Esc leaves the field, Ctrl+Enter sends it) · see it as it will look"),
    ("V", "the first turn of the conversation without a verdict; the arrow keys choose"),
    ("B", "both are bad"),
    ("S", "skip, with a reason"),
    ("U", "undo the last verdict, to give another one"),
    ("H", "my last verdicts; Esc returns"),
    ("N", "write why; Esc leaves the field"),
    ("R", "raw text, as the reward model reads it"),
    ("D", "the words in which the responses differ"),
    ("G", "guideline"),
    ("T", "fold or unfold the reasoning"),
    ("?", "this list of keys"),
)


# Texts that the scripts put together; %s stands for a value.
SCRIPT_WORDS = (
    ". Next item, %s left for you",
    "Choose at least one category of harm",
    "Draft saved",
    "Importing …",
    "Not saved on the server yet",
    "Note on %s",
    "Remove",
    "Select a passage of one response in the raw text first",
    "The server does not answer, so nothing was changed. Press again in a moment.",
    "The server does not answer. Nothing was imported.",
    "%s items added, %s were there",
    "(%s of them stay without a known answer)",
    "note (optional)",
)


def said_in_words(past: History, language: Language = "en") -> str:
    if past.ranks:
        return order_in_words(past.ranks)
    if past.label == "written":
        return translated(NAMES[past.decision] if past.decision else "Waits for a second person", language)
    name = translated(NAMES[past.label], language)
    return f"{name} {translated(STRENGTHS[past.strength], language)}" if past.strength else name


def order_in_words(ranks: Sequence[int]) -> str:
    """``B > A = C`` of the ranks of A, B, C."""
    by_rank = sorted(set(ranks))
    return " > ".join(" = ".join(letter(n) for n, rank in enumerate(ranks) if rank == each) for each in by_rank)


def revealed(reveal: ShownScore, language: Language = "en") -> str:
    return f"{reveal.scorer} {_leaning(reveal.margin, reveal.pair, language)}"


def _leaning(margin: float, pair: bool, language: Language = "en") -> str:
    """A scorer's preference, by its margin between A and B or its score of the only response."""
    if pair:
        said = translated("prefers %(name)s, margin %(value)s", language)
        return said % {"name": "A" if margin > 0 else "B", "value": f"{abs(margin):.2f}"}
    said = translated("says safe, score %(value)s" if margin > 0 else "says unsafe, score %(value)s", language)
    return said % {"value": f"{margin:+.2f}"}


def _ago(then: float, now: float, language: Language = "en") -> str:
    seconds = max(0.0, now - then)
    for size, unit in ((86400, "%(count)s d ago"), (3600, "%(count)s h ago"), (60, "%(count)s min ago")):
        if seconds >= size:
            return translated(unit, language) % {"count": f"{seconds / size:.0f}"}
    return translated("just now", language)


def _about(count: int, checks: bool, most: int, language: Language = "en") -> str:
    """A count as annotators see it: exact only where no task is a check, and never above ``most``."""
    if not checks or count in (0, most):
        return str(count)
    if count < 10:
        return translated("fewer than 10", language)
    return translated("about %(count)s", language) % {"count": min(round(count, -1), most // 10 * 10 or most)}


def _duration(seconds: float, language: Language = "en") -> str:
    if seconds < 90:
        number, unit = f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}", "%(count)s s"
    else:
        minutes = seconds < 5400
        number, unit = f"{seconds / (60 if minutes else 3600):.0f}", "%(count)s min" if minutes else "%(count)s h"
    return translated(unit, language) % {"count": number}


def why_empty(progress: Progress, now: float, language: Language) -> tuple[str, str]:
    """A title and a sentence on why there is no item."""
    queue = progress.queue
    if queue.total == 0:
        return "No items yet", "Nothing has been imported into this project. Admins import items on the page Project."
    if queue.leased and queue.next_free is not None:
        minutes = max(1, round((queue.next_free - now) / 60))
        why = translated(
            "The items still short of votes (%(count)s) are on other people's screens. If they leave one, it comes "
            "free in %(minutes)s min at the earliest.",
            language,
        )
        return "All taken for the moment", why % {"count": queue.leased, "minutes": minutes}
    if queue.judged + queue.skipped == queue.total:
        return "You have seen everything", "There is no item left that you have not judged or skipped. Thank you."
    return "Finished", "Every item has all the votes it needs. Thank you."


@cache
def environment(language: Language = "en") -> Environment:
    """The templates in a language; everything put into them is escaped unless ``rendering`` made it.

    A text of a template is ``_("…")``, with its values as arguments; a text that comes from elsewhere has the filter
    ``word``, and is itself where the catalogue has none for it.
    """
    made = Environment(loader=PackageLoader("annotation_ui.web"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    made.globals["_"] = lambda text, **values: (
        Markup(translated(text, language)) % values if values else Markup(translated(text, language))
    )
    made.globals |= {"language": TAGS[language], "direction": DIRECTIONS[language], "languages": LANGUAGES}
    made.globals["script_words"] = (
        {text: translated(text, language) for text in SCRIPT_WORDS} if language != "en" else {}
    )
    made.filters["word"] = lambda text: translated(text, language) if isinstance(text, str) else text
    made.filters["markdown"] = lambda text: Markup(rendering.markdown(text))
    made.filters["response"] = lambda text, opened: Markup(rendering.response(text, open_reasoning=opened))
    made.filters["raw"] = lambda text: Markup(rendering.raw(text))
    made.filters["letter"] = letter
    made.filters["order"] = order_in_words
    made.filters["said"] = partial(said_in_words, language=language)
    made.filters["ago"] = partial(_ago, language=language)
    made.filters["day"] = lambda at: time.strftime("%Y-%m-%d %H:%M", time.gmtime(at))
    made.filters["date"] = lambda at: time.strftime("%Y-%m-%d", time.gmtime(at))
    made.filters["leaning"] = partial(_leaning, language=language)
    made.filters["about"] = partial(_about, language=language)
    made.filters["along"] = along
    made.filters["duration"] = partial(_duration, language=language)
    return made
