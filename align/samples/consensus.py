"""Votes of several responses to one prompt: which of their answers are the same by the prompt's own verifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from align.rewards.build import VERIFIERS
from align.rewards.parsing import final_answer
from align.rewards.terms import RewardTerm, Sample
from align.rewards.verifiers.choice import chosen_letter
from align.rewards.verifiers.math_answer import MOST_WORDS, read_answer
from align.rewards.verifiers.math_text import Unreadable
from align.samples.rows import SampleRow
from reward_models.data.records import Message

VOTING = ("math", "choice", "exact", "json")  # verifiers whose answers can be compared with one another
NO_VOTE, RIGHT = -1, 0
DRAWS = 256  # subsets that consensus@k is estimated from, for k below the number of samples


def verifier_of(row: SampleRow) -> str:
    return str(row.record.columns.get("verifier", "math"))


def answer_of(row: SampleRow) -> str | None:
    """The answer that a response votes for; ``None`` if none can be read."""
    found, verifier = final_answer(row.sample), verifier_of(row)
    if found is None:
        return None
    if verifier == "choice":
        return chosen_letter(found.text)
    if verifier != "math":
        return found.text
    try:
        value = read_answer(found.text, marked=found.marked)
    except Unreadable:
        return None
    if value.kind == "words" and len(value.text.split()) > MOST_WORDS:
        return None
    return found.text if found.marked else str(value)


def votes(groups: Sequence[Sequence[SampleRow]]) -> list[np.ndarray]:
    """A number per response: 0 for right ones, 1, 2, … for wrong answers, −1 for no answer; equal answers share one.

    Answers are equal if the verifier of the prompt accepts one where the other is the reference.
    """
    found = [np.full(len(group), NO_VOTE) for group in groups]
    open_: list[dict[str, list[int]]] = []  # wrong answers of each prompt that have no number yet: text → places
    for group, numbers in zip(groups, found, strict=True):
        texts: dict[str, list[int]] = {}
        for place, row in enumerate(group):
            if row.correct == 1:
                numbers[place] = RIGHT
            elif (text := answer_of(row)) is not None:
                texts.setdefault(text, []).append(place)
        open_.append(texts)
    terms: dict[str, RewardTerm] = {}
    try:
        number = 1
        while any(open_):
            _take_first(groups, open_, found, number, terms)
            number += 1
    finally:
        for term in terms.values():
            close: Callable[[], None] = getattr(term, "close", lambda: None)
            close()
    return found


def _take_first(
    groups: Sequence[Sequence[SampleRow]],
    open_: list[dict[str, list[int]]],
    found: list[np.ndarray],
    number: int,
    terms: dict[str, RewardTerm],
) -> None:
    """Give ``number`` to the first open answer of every prompt, and to the answers that equal it."""
    asked: dict[str, list[tuple[int, str, Sample]]] = {}
    for prompt, texts in enumerate(open_):
        if not texts:
            continue
        first = next(iter(texts))
        found[prompt][texts.pop(first)] = number
        verifier = verifier_of(groups[prompt][0])
        asked.setdefault(verifier, []).extend((prompt, text, _compared(verifier, first, text)) for text in texts)
    for verifier, questions in asked.items():
        if not questions:
            continue
        term = terms.setdefault(verifier, VERIFIERS[verifier]())
        scores = term.score([sample for _, _, sample in questions])
        assert isinstance(scores, Sequence)
        for (prompt, text, _), score in zip(questions, scores, strict=True):
            if score == 1:
                found[prompt][open_[prompt].pop(text)] = number


def _compared(verifier: str, reference: str, text: str) -> Sample:
    return Sample(
        prompt=(Message("user", "?"),),
        response=f"<answer>{text}</answer>",
        domain="reasoning",
        answer=reference,
        tokens=1,
        finished=True,
        columns={"verifier": verifier, "answer_form": "any"},
    )


def consensus_at(numbers: np.ndarray, k: int, seed: int) -> float:
    """The chance that the majority of k of the n responses votes for the right answer.

    Responses without an answer do not vote; where several answers lead, one of them is drawn. For k = n it is exact,
    below it is the mean over 256 random subsets.

    Args:
        numbers: of one prompt, as :func:`votes` gives them.
    """
    if k == len(numbers):
        return _majority(numbers)
    rng = np.random.default_rng(seed)
    return float(np.mean([_majority(rng.choice(numbers, k, replace=False)) for _ in range(DRAWS)]))


def _majority(numbers: np.ndarray) -> float:
    given = numbers[numbers != NO_VOTE]
    if not len(given):
        return 0.0
    values, counts = np.unique(given, return_counts=True)
    leading = values[counts == counts.max()]
    return float(RIGHT in leading) / len(leading)
