"""Pairwise questions whose verdict is a letter: what a judge is trained on, and asked with once it is trained.

A prompt of the training and a question of the term ``group_judge`` with ``reply: letter`` are made by the same
function, :func:`letter_question`, so that a judge is asked what it has learnt to answer. The verdict is read as the
verifier ``choice`` reads the letter in ``<answer>``; a reply without that mark is none. Every pair is used in both
orders: a judge that always prefers the first is right on half of the prompts, and gains nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from align.rewards.judges.quoting import RULES, Question, answer_of, quoted_parts
from align.rewards.parsing import final_answer
from align.rewards.terms import Sample
from align.rewards.verifiers.choice import chosen_letter
from reward_models.data.records import Conversation, Pair

PAIRWISE = """\
You are an impartial judge. You are shown a conversation and two responses to its last message, A and B. Decide \
which of them serves the person who wrote that message better: which is correct, does what was asked, is complete and \
clear? The order in which they stand means nothing. First name the differences that matter, then decide."""
LETTER = """\
End with the letter of the better response in these marks and nothing after them: <answer>A</answer> or \
<answer>B</answer>."""
ORDERS = (("ab", "A"), ("ba", "B"))  # name of an order, letter of response a in it


class LetterQuestion(Question):
    """A question whose verdict is the letter in the reply's ``<answer>``, and whose reason is what stands before it."""

    def schema(self, properties: Mapping[str, Any]) -> None:
        """None: the reply is text."""

    def verdict(self, reply: str) -> dict[str, Any] | None:
        """``{"better", "reason"}``; ``None`` if the reply names not exactly one of the two letters."""
        given = final_answer(_sample((), reply))
        letter = chosen_letter(given.text) if given is not None and given.marked else None
        if letter not in ("A", "B"):
            return None
        return {"better": letter, "reason": reply.rpartition("<answer>")[0]}


def letter_question(prompt: Conversation, a: str, b: str, task: str = PAIRWISE) -> LetterQuestion:
    """A question in one message of the user: some templates have no place for a system message.

    Args:
        a, b: the texts that are compared. ``task``: what the judge is told about what to judge.
    """
    shown, seal = quoted_parts(task, prompt, {"RESPONSE A": a, "RESPONSE B": b})
    text = "\n\n".join([task, RULES.format(seal=seal), shown, LETTER])
    return LetterQuestion([{"role": "user", "content": text}], seal)


def judge_prompts(pairs: Iterable[Pair], left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    """Rows of prompts, two for each pair with a verdict: reasoning prompts whose answer is verified by ``choice``.

    Args:
        left_out: counts the pairs that make no prompt, by reason.
    """
    for number, pair in enumerate(pairs):
        texts = [response_text(pair.prompt, response) for response in (pair.response_a, pair.response_b)]
        if reason := _unusable(pair, texts):
            left_out[reason] += 1
            continue
        name = pair.id or str(number)
        for order, letter_of_a in ORDERS:
            first, second = texts if order == "ab" else texts[::-1]
            other = "B" if letter_of_a == "A" else "A"
            yield {
                "id": f"{name}:{order}",
                "prompt": letter_question(pair.prompt, first, second).messages,
                "answer": letter_of_a if pair.label == "a" else other,
                "verifier": "choice",
                "domain": "reasoning",
                "source": pair.source,
                "pair": name,
                "order": order,
            }


def response_text(prompt: Conversation, response: Conversation) -> str:
    """The part of a stored response that a judge is shown: behind its thoughts; of several messages, all with roles."""
    if len(response) > 1 or response[0].fields:
        return "\n\n".join(f"[{each.role}]\n{each.content}{each.extra}" for each in response)
    return answer_of(_sample(prompt, response[0].content))


def _unusable(pair: Pair, texts: list[str]) -> str:
    if pair.label is None:
        return "without a verdict"
    if pair.label == "tie":
        return "ties"
    if not all(text.strip() for text in texts):
        return "with a response that answers nothing"
    return "with responses that read the same" if texts[0] == texts[1] else ""


def _sample(prompt: Conversation, text: str) -> Sample:
    return Sample(prompt=prompt, response=text, domain="reasoning", tokens=1, finished=True)
