"""Penalties relative to the other samples of the prompt: of length and of style. Both lie in [−1, 0].

With x a sample's measure and m the mean over the group, the penalty is −min(1, max(0, x / m − 1 − slack) / full): 0
up to the mean (and ``slack`` beyond), −1 from (1 + slack + full) times the mean on. Only excess costs: a short answer
earns nothing for being short.

A sample whose measured part is not there or shows nothing, for example because it was cut inside its thoughts, has −1
and is left out of the mean. Otherwise to answer nothing would be the way to be short. Thoughts that are opened again
behind the answer belong to what is measured. A group of one sample has nothing to compare:
``None``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import regex

from align.rewards.characters import shows_content
from align.rewards.grouping import places_by_group
from align.rewards.parsing import CLOSE, split_response
from align.rewards.terms import Sample

Part = Literal["answer", "thoughts", "response"]
# Closed blocks of code. One of markdown is markup, and so is what follows a fence that is never closed.
FENCED = regex.compile(
    r"^[ \t]*(```|~~~)(?![ \t]*(?:markdown|md|html)\b).*?^[ \t]*\1[ \t]*$",
    regex.MULTILINE | regex.DOTALL | regex.IGNORECASE,
)
# Headings, list items (with letters, other bullets and pictures too), quotes, rows of tables, rules; bold and
# underlined words; tags of HTML; words in mathematical bold.
MARKUP = regex.compile(
    r"^[ \t]*(?:#{1,6}\s|[-*+•‣⁃◦▪▫●○∙·➤→–—]\s|\p{Emoji_Presentation}|[✓✔✗✘☑☐]|"
    r"\(?(?:\d{1,3}|[A-Za-z]|[ivx]{1,4})[.)]\s|>|\|"
    r"|(?:-{3,}|={3,}|\*{3,}|_{3,})[ \t]*$)"
    r"|\*\*(?=\S)[^*\n]{1,200}\*\*|__(?=\S)[^_\n]{1,200}__"
    r"|<(?:b|strong|i|em|u|h[1-6]|li|tr|hr|mark)\b[^<>\n]{0,80}>"
    r"|[\U0001d400-\U0001d7cb]{2,}+",
    regex.MULTILINE,
)


class _AgainstGroup:
    """The penalty of the module's formula for what :meth:`measure` gives."""

    name: ClassVar[str]
    unit: ClassVar[str]
    offset: ClassVar[int] = 0  # added to x and to m
    whole_groups: ClassVar[bool] = True

    def __init__(self, *, slack: float, full: float) -> None:
        if slack < 0 or full <= 0:
            raise ValueError(f"slack = {slack} must not be negative, and full = {full} must be positive")
        self.slack, self.full = slack, full

    def measure(self, sample: Sample) -> int | None:
        """x without the offset; ``None`` if the part that is measured is not there."""
        raise NotImplementedError

    def applies(self, sample: Sample) -> bool:
        return True

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [score for score, _ in self.explain(samples)]

    def explain(self, samples: Sequence[Sample]) -> list[tuple[float | None, str]]:
        """Penalties, each with the measure and the mean of its group."""
        found: list[tuple[float | None, str]] = [(None, "its group has no other sample")] * len(samples)
        for places in places_by_group(samples):
            if len(places) < 2:
                continue
            sizes = {place: self.measure(samples[place]) for place in places}
            known = [x for x in sizes.values() if x is not None]
            mean = sum(known) / len(known) if known else 0.0
            for place, x in sizes.items():
                if x is None:
                    found[place] = (-1.0, "there is nothing to measure")
                else:
                    excess = (x + self.offset) / (mean + self.offset) - 1 - self.slack
                    penalty = 0.0 - min(1.0, max(0.0, excess) / self.full)
                    found[place] = (penalty, f"{x} {self.unit}; the mean of its group is {mean:.1f}")
        return found


class LengthInGroup(_AgainstGroup):
    """A penalty for a response that is longer than the others to its prompt; see the module for the formula.

    Args:
        of: the part whose characters are counted: the ``answer`` behind the thoughts, the ``thoughts``, or the whole
            ``response``.
        slack: share of the mean that may be exceeded for nothing.
        full: share of the mean, beyond the slack, over which the penalty grows to −1.
    """

    name = "length_in_group"
    unit = "characters"

    def __init__(self, *, of: Part = "answer", slack: float = 0.0, full: float = 1.0) -> None:
        if of not in get_args(Part):
            raise ValueError(f"of = {of!r} is none of {', '.join(get_args(Part))}")
        super().__init__(slack=slack, full=full)
        self.of = of

    def measure(self, sample: Sample) -> int | None:
        text = {
            "answer": _answer(sample),
            "thoughts": split_response(sample).thoughts,
            "response": sample.response.strip(),
        }[self.of]
        return len(text) if text and shows_content(text) else None


class StyleInGroup(_AgainstGroup):
    """A penalty for an answer with more markup than the others to its prompt; see the module for the formula.

    Markup is headings, list items, quotes, rows of tables, rules and bold words outside of blocks of code. x and m are
    numbers of them plus one.

    Args:
        slack, full: as of :class:`LengthInGroup`.
    """

    name = "style_in_group"
    unit = "pieces of markup"
    offset = 1

    def __init__(self, *, slack: float = 0.0, full: float = 1.0) -> None:
        super().__init__(slack=slack, full=full)

    def measure(self, sample: Sample) -> int | None:
        answer = _answer(sample)
        return len(MARKUP.findall(FENCED.sub("", answer))) if answer and shows_content(answer) else None


def _answer(sample: Sample) -> str | None:
    """All that a reader of the answer sees."""
    if split_response(sample).summary is None:
        return None
    return sample.response.rpartition(CLOSE)[2].strip()
