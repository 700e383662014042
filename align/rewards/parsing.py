"""How a response is taken apart: thoughts, summary, final answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

from align.rewards.terms import Sample

OPEN, CLOSE = "<think>", "</think>"
BRACE = re.compile(r"\\(?:boxed|fbox)\s{0,8}\{|\\.|[{}]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Parts:
    """A response's two parts.

    Args:
        thoughts: the chain of thought without its tags; ``None`` if the response has none.
        summary: what follows the thoughts; ``None`` if they were never closed, so that nothing is yet answered.
    """

    thoughts: str | None
    summary: str | None


def split_response(sample: Sample) -> Parts:
    """Cut at the last ``</think>``: an answer inside the thoughts is no answer."""
    before, close, after = sample.response.rpartition(CLOSE)
    if close:
        return Parts(before.strip().removeprefix(OPEN).strip(), after.strip())
    if sample.think_prefilled or OPEN in sample.response:
        return Parts(sample.response.strip().removeprefix(OPEN).strip(), None)
    return Parts(None, sample.response.strip())


@dataclass(frozen=True, slots=True)
class Answer:
    """What the response gives as its answer.

    Args:
        text: stripped, not empty.
        marked: it stood in ``<answer>`` or in a box; otherwise it is the whole summary, in which the answer has yet to
            be found.
    """

    text: str
    marked: bool


def final_answer(sample: Sample) -> Answer | None:
    r"""Inside the last ``<answer>``, and there (without one, in the summary) inside the last ``\boxed{}``.

    ``None`` if the thoughts were never closed, or nothing follows them, or the mark is empty.
    """
    summary = split_response(sample).summary
    if summary is None:
        return None
    tagged = last_tagged(summary)
    text = summary if tagged is None else tagged
    boxed = last_box(text)
    text = (text if boxed is None else boxed).strip()
    return Answer(text, tagged is not None or boxed is not None) if text else None


def uses_verifier(sample: Sample, verifier: str) -> bool:
    """Whether a reasoning prompt is judged by this verifier: the one its column ``verifier`` names, else ``math``."""
    return sample.domain == "reasoning" and sample.columns.get("verifier", "math") == verifier


def last_tagged(text: str) -> str | None:
    """What the last closed ``<answer>…</answer>`` holds; ``None`` without one."""
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    return None if start < 0 else text[start + len("<answer>") : end]


def last_box(text: str) -> str | None:
    r"""What the ``\boxed{…}`` that closes last holds, braces inside it balanced; ``None`` without one."""
    found: str | None = None
    open_braces: list[int | None] = []  # where the content of a box begins, None for other braces
    for token in BRACE.finditer(text):
        if token.group() == "}":
            start = open_braces.pop() if open_braces else None
            found = found if start is None else text[start : token.start()]
        elif token.group().endswith("{") and token.group() != r"\{":
            open_braces.append(None if token.group() == "{" else token.end())
    return found
