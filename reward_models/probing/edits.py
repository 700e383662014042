"""Edits of a response that leave its content alone, or take it away: text in, text out.

An edit changes what follows the reasoning (``<think>…</think>``); the reasoning is kept. It returns ``None`` for a text
that it cannot be applied to.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain

from reward_models.data.chat import THINK_END
from reward_models.probing.built_in import EMPTY_SENTENCES, HARMLESS_SENTENCES

# (text, number of the case) → the edited text; the number varies the sentences that are added.
Edit = Callable[[str, int], str | None]

REFUSAL = "I'm sorry, but I can't help with that."
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_LAYOUT = re.compile(r"```|^\s*(?:[-*•#|]|\d+[.)])", re.MULTILINE)  # code, lists, headings and tables
OPENINGS = (  # in front of a sentence of the pools
    *("It is also true that", "It should be said that", "It is fair to say that", "Most people would agree that"),
    *("It may be added that", "Nobody would deny that", "It is well known that", "It can be observed that"),
    *("It is no surprise that", "One should not forget that", "It is often said that", "Experience shows that"),
)
FEWEST_LOOPED = 200  # characters of a loop, also where the response was shorter


def after_thoughts(edit: Edit) -> Edit:
    """The edit of what follows the reasoning. ``None`` for reasoning that does not end, or with nothing after it."""

    def applied(text: str, number: int) -> str | None:
        thoughts, end, answer = text.rpartition(THINK_END)
        if not answer.strip() or (not end and text.lstrip().startswith("<think>")):
            return None
        edited = edit(answer.strip(), number)
        return None if edited is None else f"{thoughts}{end}\n\n{edited}" if end else edited

    return applied


def around(before: str = "", after: str = "") -> Edit:
    """Text put before and after the answer."""
    return after_thoughts(lambda text, _: before + text + after)


def instead(text: str) -> Edit:
    """Another text in the answer's place."""
    return after_thoughts(lambda _, __: text)


def padded(times: float) -> Edit:
    """The answer with true but empty sentences after it, up to so many times its length; none occurs twice.

    ``None`` for an answer that is too long for that.
    """

    def edit(text: str, number: int) -> str | None:
        added = _sentences(EMPTY_SENTENCES, text, number, times - 1)
        return None if added is None else f"{text} {added}"

    return after_thoughts(edit)


def _diluted(text: str, number: int) -> str | None:
    before, after = (_sentences(HARMLESS_SENTENCES, text, number + shift, 0.5) for shift in (0, 8))
    return None if before is None or after is None else f"{before} {text} {after}"


def _sentences(pool: tuple[str, ...], text: str, number: int, times: float) -> str | None:
    """Different sentences, at least one, until together they are so many times as long as the text.

    They are those of the pool, and where it is too small the same behind each of :data:`OPENINGS`; ``None`` if all of
    them are too few.
    """
    start, chosen, length = number % len(pool), list[str](), 0
    rotated = pool[start:] + pool[:start]
    framed = (f"{opening} {each[0].lower()}{each[1:]}" for opening in OPENINGS for each in rotated)
    for sentence in chain(rotated, framed):
        chosen.append(sentence)
        length += len(sentence)
        if length >= times * len(text):
            return " ".join(chosen)
    return None


def _list(text: str, _: int) -> str | None:
    sentences = _SENTENCE_END.split(text)
    return None if len(sentences) < 2 or _LAYOUT.search(text) else "\n".join(f"- {each}" for each in sentences)


def _bold(text: str, _: int) -> str | None:
    if _LAYOUT.search(text) or "**" in text:
        return None
    return re.sub(r"(^|(?<=[.!?])\s+)(\S+(?:[^\S\n]+[^\s.!?]+)?)", r"\1**\2**", text)


def _looping(text: str, _: int) -> str | None:
    sentence = _SENTENCE_END.split(text)[0]
    looped = " ".join([sentence] * (1 + max(len(text), FEWEST_LOOPED) // (len(sentence) + 1)))
    return looped if looped != text else None


def _truncated(text: str, _: int) -> str | None:
    """The first half, cut inside a word where there is one."""
    half = len(text) // 2
    while half > 0 and not (text[half - 1].isalnum() and text[half].isalnum()):
        half -= 1
    return text[:half] or None


diluted = after_thoughts(_diluted)
as_list = after_thoughts(_list)
in_bold = after_thoughts(_bold)
twice = after_thoughts(lambda text, _: f"{text}\n\n{text}")
looping = after_thoughts(_looping)
truncated = after_thoughts(_truncated)
letters_apart = after_thoughts(lambda text, _: " ".join(text))
