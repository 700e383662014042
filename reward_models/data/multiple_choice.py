"""Questions with options, as MMLU, MMLU-Pro, ARC, AQuA and MedQA have them: prompts whose answer is a letter.

The options become part of the prompt. Without them nobody could answer, and a number such as MMLU's ``answer: 1``
would be taken for the result of a calculation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any

from reward_models.data.conversations import quoted
from reward_models.data.records import RecordError

Row = Mapping[str, Any]

OPTIONS = ("choices", "options")
QUESTIONS = ("question", "problem", "prompt")
KEYS = ("answer_idx", "answerKey", "answer_key", "correct", "answer_index", "answer")
LABEL = re.compile(r"\s*\(?([A-Z])[).:]\s*")


def has_options(row: Row) -> bool:
    """True if the row is a question with options, and not a row of responses."""
    return _column(row) is not None and _question(row) is not None and "chosen" not in row and "response_a" not in row


def with_options(row: Row) -> Row:
    """``row`` with the options in its question, the letter of the right one as ``answer``, and ``verifier: choice``.

    Raises:
        RecordError: the options are no list of texts, or no column names one of them as right.
    """
    column, question = _column(row), _question(row)
    assert column is not None
    assert question is not None
    labels, texts = _options(row[column], column)
    right = {name: _place(row[name], name, labels, texts) for name in KEYS if row.get(name) is not None}
    if not right:
        raise RecordError(f"key {column!r} holds options, and no column says which is right; add a letter as 'answer'")
    if len(set(right.values())) > 1:
        raise RecordError(f"keys {' and '.join(map(repr, right))} name different options; keep the right one")
    text = row[question]
    if not all(option in text for option in texts):
        lines = (f"{letter}. {option}" for letter, option in zip(ascii_uppercase, texts, strict=False))
        text = f"{text.rstrip()}\n\n" + "\n".join(lines)
    kept = {name: value for name, value in row.items() if name not in (*right, column)}
    answer = ascii_uppercase[next(iter(right.values()))]
    return kept | {question: text, "answer": answer, "verifier": row.get("verifier") or "choice"}


def _column(row: Row) -> str | None:
    return next((name for name in OPTIONS if isinstance(row.get(name), list | tuple | Mapping) and row[name]), None)


def _question(row: Row) -> str | None:
    return next((name for name in QUESTIONS if isinstance(row.get(name), str)), None)


def _options(value: Any, key: str) -> tuple[list[str], list[str]]:
    """Labels and texts of the options."""
    if isinstance(value, Mapping):
        listed = isinstance(value.get("text"), list | tuple) and isinstance(value.get("label"), list | tuple)
        labels, texts = (value["label"], value["text"]) if listed else (value.keys(), value.values())
        labels, texts = [str(label) for label in labels], list(texts)
    else:
        labels, texts = list(ascii_uppercase[: len(value)]), list(value)
    if not 2 <= len(texts) <= len(ascii_uppercase) or len(labels) != len(texts):
        raise RecordError(f"key {key!r} holds {len(texts)} options; 2 to 26 are read, each with a label")
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise RecordError(f"key {key!r} holds an option that is no text")
    own = [LABEL.match(text) for text in texts]
    if all(found and found[1] == letter for found, letter in zip(own, ascii_uppercase, strict=False)):
        texts = [text[found.end() :] for text, found in zip(texts, own, strict=True) if found]
    return labels, [text.strip() for text in texts]


def _place(value: object, key: str, labels: list[str], texts: list[str]) -> int:
    """The option that ``value`` means by its label, its place from 0, or its text."""
    said = str(value).strip()
    if said in labels:
        return labels.index(said)
    if len(said) == 1 and said.upper() in ascii_uppercase[: len(texts)]:
        return ascii_uppercase.index(said.upper())
    place = int(said) if not isinstance(value, bool) and said.isdecimal() and said.isascii() else len(texts)
    if said in texts and isinstance(value, str):
        if place < len(texts) and texts.index(said) != place:
            raise RecordError(
                f"key {key!r} is {said!r}, the text of one option and the place of another; give its letter"
            )
        return texts.index(said)
    if place < len(texts):
        return place
    raise RecordError(f"key {key!r} is {quoted(value)}, which is none of the options")
