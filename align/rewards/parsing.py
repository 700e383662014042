"""The parts of a response: thoughts, summary, final answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

from align.rewards.offered import another_after, contradicted, denied_after, denied_before
from align.rewards.terms import Sample

OPEN, CLOSE = "<think>", "</think>"
# Between boxes of one answer of several values.
JOINT = re.compile(
    r"(?:[\s$*.,;、，|/&]|\\[()\[\]]|\\q?quad(?![a-z])|(?:and|or)\b|和|或|\\text\{\s?(?:and|or)\s?\})*+", re.IGNORECASE
)
# Between boxes that are offered as alternatives.
CHOICE = re.compile(
    r"(?:[\s$*.,;:?!()]|\\[()\[\]]|(?:and|or|else|otherwise|alternatively|maybe|perhaps|possibly|also|it|is|be|could|might|may|"
    r"the|answer|result|even)\b|或|也许|可能)*+",
    re.IGNORECASE,
)
# Between a box and one that it is not.
CONTRASTED = re.compile(r"[\s$*]*,?\s*(?:and\s+)?(?:not|rather\s+than|instead\s+of)[\s$*]*", re.IGNORECASE)
BARE_BOX = re.compile(r"\\(?:boxed|fbox)\s{1,8}(-?[\w.]{1,40})(?![\w{])")
BRACE = re.compile(r"\\(?:boxed|fbox)\s{0,8}\{|\\.|[{}]", re.DOTALL)
# What a reader does not see, or sees struck out: comments of HTML and LaTeX, deleted text, phantoms.
HIDDEN = re.compile(
    r"<!--.*?(?:-->|\Z)|~~.{0,2000}?~~|<(s|del|strike)\b[^<>]{0,40}>.{0,2000}?(?:</\1>|\Z)|^[ \t]*%[^\n]*"
    r"|\\(?:[hv]?phantom|cancel|bcancel|xcancel|sout)\s*\{(?:[^{}]|\{[^{}]*\}){0,500}\}",
    re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
MARK = re.compile(r"</?answer>|\\(?:boxed|fbox)\b", re.IGNORECASE)
# A text that gives \boxed another meaning shows something else than it holds.
REDEFINED = re.compile(
    r"\\(?:(?:re)?newcommand|providecommand|DeclareMathOperator|def|gdef|edef|let)\*?\s*\{?\s*\\(?:boxed|fbox)\b"
)
LONGEST_BEHIND = 600  # characters behind a mark that are searched for another answer


@dataclass(frozen=True, slots=True)
class Parts:
    """The two parts of a response.

    Args:
        thoughts: the chain of thought without its tags; ``None`` if the response has none.
        summary: what follows the thoughts; ``None`` if they were never closed, so that nothing is yet answered.
    """

    thoughts: str | None
    summary: str | None


def split_response(sample: Sample) -> Parts:
    """Cut at the last ``</think>``. Thoughts opened again behind it belong to no summary: an answer in them is none."""
    before, close, after = sample.response.rpartition(CLOSE)
    if close:
        return Parts(before.strip().removeprefix(OPEN).strip(), after.partition(OPEN)[0].strip())
    if sample.think_prefilled or OPEN in sample.response:
        return Parts(sample.response.strip().removeprefix(OPEN).strip(), None)
    return Parts(None, sample.response.strip())


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer that a response gives.

    Args:
        text: stripped, not empty.
        marked: it stood in ``<answer>`` or in a box; otherwise it is the whole summary, in which the answer has yet to
            be found.
        behind: of a marked answer, the text behind the mark, where the caller compares what is said there.
    """

    text: str
    marked: bool
    behind: str = ""


def final_answer(sample: Sample, *, compares: bool = False) -> Answer | None:
    r"""The text in the last ``<answer>``, and there (without one, in the summary) in the last ``\boxed{}``.

    Boxes in one row, with nothing but a comma or a conjunction between them, are one answer of several values.

    ``None`` if the thoughts were never closed, or nothing follows them, the mark is empty or hidden (in a comment,
    struck out), the words around the mark deny it, or another answer is given behind it.

    Args:
        compares: the caller compares values given behind the mark (``or 50%``, ``The answer is …``) with the answer.
    """
    summary = split_response(sample).summary
    if summary is None or REDEFINED.search(summary):
        return None
    summary = HIDDEN.sub(lambda hidden: "" if MARK.search(hidden[0]) else hidden[0], summary)
    place = _last_tags(summary)
    text, behind = summary, ""
    if place is not None:
        start, end = place
        text, behind = summary[start:end], summary[end + len("</answer>") :]
        if not _is_given(summary, start - len("<answer>"), end + len("</answer>")) or _is_one_of_several(
            summary, start
        ):
            return None
    found = _last_boxes(text)
    if found is not None:
        text, end = found
        behind = (summary if place is None else summary[place[0] : place[1]])[end:] or behind
    text = text.strip()
    marked = place is not None or found is not None
    if not text:
        return None
    behind = behind.strip()[:LONGEST_BEHIND] if marked else ""
    if compares:
        return Answer(text, marked, behind if re.search(r"\w", behind) else "")
    return None if another_after(behind) or contradicted(text, behind) else Answer(text, marked)


def _is_one_of_several(text: str, start: int) -> bool:
    """True if nothing but words of a choice stands between the tags of an answer and those of another one."""
    opening = start - len("<answer>")
    before = _last_tags(text[:opening])
    if before is None:
        return False
    between = text[before[1] + len("</answer>") : opening]
    last = text[start : start + before[1] - before[0]]
    return bool(between.strip()) and CHOICE.fullmatch(between[:80]) is not None and last != text[before[0] : before[1]]


def uses_verifier(sample: Sample, verifier: str) -> bool:
    """True if this verifier checks the reasoning prompt: its column ``verifier`` names it; the default is ``math``."""
    return sample.domain == "reasoning" and sample.columns.get("verifier", "math") == verifier


def last_tagged(text: str) -> str | None:
    """The content of the last closed ``<answer>…</answer>``, in any case of letters; ``None`` without one."""
    place = _last_tags(text)
    return None if place is None else text[place[0] : place[1]]


def _last_tags(text: str) -> tuple[int, int] | None:
    folded = text.lower() if text.isascii() else re.sub("(?i)</?answer>", lambda tag: tag[0].lower(), text)
    end = folded.rfind("</answer>")
    start = folded.rfind("<answer>", 0, max(end, 0))
    return None if start < 0 else (start + len("<answer>"), end)


def last_boxes(text: str) -> str | None:
    r"""The content of the last ``\boxed{…}``, behind that of boxes which a comma or a conjunction joins to it.

    Empty if the words around the last box deny it, or offer another box beside it. A box that follows another with
    nothing between them takes its place.
    """
    found = _last_boxes(text)
    return None if found is None else found[0]


def _last_boxes(text: str) -> tuple[str, int] | None:
    """The content, and the place behind the last box."""
    found = boxes(text)
    if not found:
        bare = list(BARE_BOX.finditer(text))
        if not bare:
            return None
        last = bare[-1]
        return (last[1] if _is_given(text, last.start(), last.end()) else ""), last.end()
    start, end = found[-1]
    opening = text.rfind("\\", 0, start)
    if len(found) > 1 and CONTRASTED.fullmatch(text[found[-2][1] + 1 : opening][:40]):
        found.pop()  # \boxed{5}, not \boxed{6}
        start, end = found[-1]
        opening = text.rfind("\\", 0, start)
    behind = end + 1
    if not _is_given(text, opening, behind):
        return "", behind
    contents = [text[start:end]]
    for start, end in reversed(found[:-1]):
        if end >= opening:
            continue  # this one holds the other
        between = text[end + 1 : opening]
        if not between:
            break
        if not JOINT.fullmatch(between[:80]) or len(between) > 80:
            if len(between) <= 80 and CHOICE.fullmatch(between) and text[start:end].strip() != contents[0].strip():
                return "", behind
            break
        if text[start:end] not in contents:
            contents.append(text[start:end])
        opening = text.rfind("\\", 0, start)
    return ", ".join(reversed(contents)), behind


def _is_given(text: str, start: int, end: int) -> bool:
    """False if the words in front of ``start`` or behind ``end`` take the answer between them back."""
    return not (denied_before(text[max(start - 80, 0) : start]) or denied_after(text[end : end + 120]))


def boxes(text: str) -> list[tuple[int, int]]:
    r"""Start and end of the content of each ``\boxed{…}``, in the order in which they close; braces are balanced."""
    found: list[tuple[int, int]] = []
    open_braces: list[int | None] = []  # where the content of a box begins, None for other braces
    for token in BRACE.finditer(text):
        if token.group() == "}":
            start = open_braces.pop() if open_braces else None
            if start is not None:
                found.append((start, token.start()))
        elif token.group().endswith("{") and token.group() != r"\{":
            open_braces.append(None if token.group() == "{" else token.end())
    return found
