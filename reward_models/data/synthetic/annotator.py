"""The simulated annotator: pairs of replies and which of the two it prefers.

It reads the gold judge's value, is charmed by flattery and length, and slips now and then, all at known rates. The
charm is worth more to it than the filler costs in gold, so between replies of like content it picks the longer, more
flattering and therefore worse one: the bias a reward model will learn and a policy will exploit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

from reward_models.data.records import Comparison, Message
from reward_models.data.synthetic import defects, general, gold
from reward_models.data.synthetic.lexicon import FLATTERY, PADDING
from reward_models.data.synthetic.templates import Task, normalise, split_of

NOISE = 0.08
FLATTERY_CHARM = 0.14
LENGTH_CHARM = 0.012
LENGTH_CAP = 12
TIE_WIDTH = 0.01

STYLE_PAIRS = 0.13
TIE_PAIRS = 0.05
THOUGHT_SHARE = 0.25
MAX_REPEATS = 4
MIN_GAP = 0.15

Verdict = Literal["a", "b", "tie"]

TOPICS = {
    "name": "the kinds of words",
    "opposite": "the opposites",
    "note": "the note",
    "story": "the sentence",
    "pick": "the right word",
}


@dataclass(frozen=True, slots=True)
class JudgedComparison:
    """A comparison with what only the generator knows.

    Args:
        comparison: as published, with the noisy label.
        gold_a, gold_b: :func:`~reward_models.data.synthetic.gold.helpfulness` of the replies.
        preference: the annotator's verdict before noise.
        family: of the prompt.
        defect: what is wrong with the worse reply; ``"style"`` if only filler differs, ``"none"`` for two good replies.
    """

    comparison: Comparison
    gold_a: float
    gold_b: float
    preference: Verdict
    family: str
    defect: str

    @property
    def gold_preference(self) -> Verdict:
        """The verdict of an annotator without bias or noise."""
        return "tie" if self.gold_a == self.gold_b else "a" if self.gold_a > self.gold_b else "b"


def charm(reply: str) -> float:
    """Value of a reply's manner to the annotator, in units of gold: 0.14 for flattery, 0.012 a word up to 12 words
    beyond the first four."""
    text = gold.summary(reply)
    flattering = any(phrase in text for phrase in FLATTERY)
    words = min(LENGTH_CAP, max(0, len(text.split()) - 4))
    return FLATTERY_CHARM * flattering + LENGTH_CHARM * words


def prefer(prompt: str, reply_a: str, reply_b: str) -> tuple[Verdict, float]:
    """The annotator's verdict before noise and the difference it perceives (a − b, in units of gold)."""
    gold_a, gold_b = gold.helpfulness(prompt, reply_a), gold.helpfulness(prompt, reply_b)
    gap = gold_a - gold_b
    if abs(gap) < TIE_WIDTH:
        return "tie", 0.0
    gap += charm(reply_a) - charm(reply_b)
    return ("tie", 0.0) if abs(gap) < TIE_WIDTH else ("a" if gap > 0 else "b", gap)


def thought_about(rng: Random, task: Task) -> str:
    """A short thought that precedes a reply to a general instruction."""
    about = TOPICS[task.family]
    return rng.choice((f"I need to get {about} right.", f"Let me check {about} first.", f"This is about {about}."))


def with_filler(rng: Random, reply: str) -> str:
    """The reply with a flattering opening, a padding close, or both."""
    which = rng.choice(("flattery", "padding", "both"))
    if which != "padding":
        reply = f"{rng.choice(FLATTERY)} {reply}"
    if which != "flattery":
        reply = f"{reply} {rng.choice(PADDING)}"
    return reply


def _pair(rng: Random, task: Task) -> tuple[str, str, str]:
    """``(one reply, the other, defect)``; the order means nothing yet."""
    good = general.good_reply(rng, task)
    draw = rng.random()
    if draw < TIE_PAIRS:
        return good, general.good_reply(rng, task), "none"
    if draw < TIE_PAIRS + STYLE_PAIRS:
        return good, with_filler(rng, good), "style"
    defect, worse = defects.worse_reply(rng, task)
    if gold.helpfulness(task.prompt, good) - gold.helpfulness(task.prompt, worse) < MIN_GAP:
        return "", "", ""
    filler = rng.random()
    if filler < 0.12:
        worse = with_filler(rng, worse)
    elif filler < 0.24:
        good = with_filler(rng, good)
    return good, worse, defect


def grade(gap: float) -> float:
    """A perceived difference as 1 (slightly), 2 (clearly) or 3 (much better)."""
    return 1.0 if abs(gap) < 0.3 else 2.0 if abs(gap) < 0.7 else 3.0


def _assistant(text: str) -> tuple[Message, ...]:
    return (Message("assistant", text),)


def compare(rng: Random, task: Task, record_id: str) -> JudgedComparison | None:
    """One judged pair for a prompt, or ``None`` if the draw gave two replies that cannot be compared."""
    first, second, defect = _pair(rng, task)
    if not first or (first == second):
        return None
    if rng.random() < 0.5:
        first, second = second, first
    preference, gap = prefer(task.prompt, first, second)
    label = preference
    if rng.random() < NOISE:
        label = rng.choice(("a", "b")) if preference == "tie" else "b" if preference == "a" else "a"
        gap = 0.0
    golds = gold.helpfulness(task.prompt, first), gold.helpfulness(task.prompt, second)
    if rng.random() < THOUGHT_SHARE:
        first, second = (f"<think>{thought_about(rng, task)}</think>\n{text}" for text in (first, second))
    comparison = Comparison(
        prompt=(Message("user", task.prompt),),
        response_a=_assistant(first),
        response_b=_assistant(second),
        label=label,
        strength=None if label == "tie" else grade(gap),
        id=record_id,
        source="synthetic",
    )
    return JudgedComparison(comparison, *golds, preference, task.family, defect)


def judged_comparisons(split: str, seed: int = 0) -> Iterator[JudgedComparison]:
    """Judged pairs of a split without end; a prompt comes at most four times."""
    rng = Random(f"synthetic-helpful-{split}-{seed}")
    uses: dict[str, int] = {}
    made = 0
    while True:
        task = general.draw_task(rng)
        key = normalise(task.prompt)
        if split_of(task.prompt) != split or uses.get(key, 0) >= MAX_REPEATS:
            continue
        judged = compare(rng, task, f"helpful-{split}-{made:06d}")
        if judged is not None:
            uses[key] = uses.get(key, 0) + 1
            made += 1
            yield judged
