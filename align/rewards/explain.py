"""Scores of single rows by one term, each with its reason: for people who want to know why a reward is what it is."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from align.rewards.build import VERIFIERS, TermConfig, build_terms
from align.rewards.terms import RewardTerm, Sample, compares_groups
from reward_models.data.instruction_rows import constraints_read
from reward_models.data.records import DOMAINS, Conversation, Message, RecordError

OF_SAMPLE = ("prompt", "response", "answer", "language", "domain", "kind", "think_prefilled", "tokens", "finished")
# The columns of terms that read another than answer, language and tests.
COLUMN_OF = {
    "accuracy_instructions": "instructions",
    "accuracy_reasoning_gym": "reasoning_gym",
    "rubric": "rubric",
}
NO_PROMPT = (Message("user", "(the row has no prompt)"),)


class Explained(NamedTuple):
    """A score, or ``None``, and why."""

    score: float | None
    reason: str


def explain_rows(name: str, arguments: Mapping[str, Any], rows: Sequence[Any]) -> list[Explained]:
    """Score rows with one term, in their order. One row's fault costs no other its score.

    Args:
        name: of the term, as in a configuration; ``accuracy`` is the verifier that each row's column ``verifier``
            names. A verifier's name alone is its accuracy.
        rows: objects with ``response``, and ``prompt``, ``answer``, ``verifier``, ``tests``, ``language``, … as the
            term reads them.

    Raises:
        TermError: there is no such term, or it does not take the arguments.
    """
    name = f"accuracy_{name}" if name in VERIFIERS else name
    found: list[Explained | Sample] = [_sample(name, row) for row in rows]
    if name == "accuracy":
        terms = {}
        for verifier in sorted({_verifier(each) for each in found if isinstance(each, Sample)} & VERIFIERS.keys()):
            terms[verifier] = _build(f"accuracy_{verifier}", arguments)
        given = [terms.get(_verifier(each)) if isinstance(each, Sample) else None for each in found]
    else:
        given = [_build(name, arguments)] * len(found)
    places: dict[int, list[int]] = {}
    for place, (each, term) in enumerate(zip(found, given, strict=True)):
        if isinstance(each, Sample) and term is not None:
            places.setdefault(id(term), []).append(place)
    results = [each if isinstance(each, Explained) else _no_verifier(each) for each in found]
    for own in places.values():
        term = given[own[0]]
        assert term is not None
        samples = _grouped([each for place in own if isinstance(each := found[place], Sample)])
        for place, explained in zip(own, _explain(term, samples), strict=True):
            results[place] = explained
    for term in {id(term): term for term in given if term is not None}.values():
        close = getattr(term, "close", None)  # of terms that hold processes or connections
        if close is not None:
            close()
    return results


def _grouped(samples: list[Sample]) -> list[Sample]:
    """Rows with the same value in the column ``group`` are a group; without the column, those with the same prompt."""
    numbers: dict[Any, int] = {}
    groups = [json.dumps(each.columns["group"]) if "group" in each.columns else each.prompt for each in samples]
    return [replace(e, group=numbers.setdefault(group, len(numbers))) for e, group in zip(samples, groups, strict=True)]


def _build(name: str, arguments: Mapping[str, Any]) -> RewardTerm:
    (mixed,) = build_terms([TermConfig(term=name, arguments=dict(arguments))], set())
    return mixed.term


def _verifier(sample: Sample) -> str:
    return str(sample.columns.get("verifier", "math"))


def _no_verifier(sample: Sample) -> Explained:
    return Explained(None, f"there is no verifier {_verifier(sample)!r}; there are {', '.join(VERIFIERS)}")


def _sample(name: str, row: Any) -> Sample | Explained:
    """A row as the term reads it, or why it cannot be read."""
    if not isinstance(row, Mapping):
        return Explained(None, "the line is no JSON object")
    try:
        row = {key: value for key, value in constraints_read(row).items() if value is not None}
    except RecordError as error:
        return Explained(None, f"the row cannot be read: {error}")
    columns = {key: value for key, value in row.items() if key not in OF_SAMPLE}
    verifier = name.removeprefix("accuracy_") if name.startswith("accuracy_") else None
    if verifier is not None and columns.setdefault("verifier", verifier) != verifier:
        return Explained(None, f"the row's verifier is {columns['verifier']!r}, and this term is for {verifier!r}")
    own = {"helpful": "helpfulness", "safety": "safety"}.get(name, "reasoning")
    domain = row.get("domain", row.get("kind", own))
    if domain not in DOMAINS:
        return Explained(None, f"the domain {domain!r} is none of {', '.join(DOMAINS)}")
    response = _text_of(row.get("response"))
    if response is None:
        return Explained(None, "the row has no text in the column response")
    if name == "overlong" and not isinstance(row.get("tokens"), int):
        return Explained(None, "the term needs the number of sampled tokens, in the column tokens")
    try:
        return Sample(
            prompt=_prompt_of(row.get("prompt")),
            response=response,
            domain=domain,
            answer=_answer_of(row.get("answer")),
            language=row.get("language"),
            think_prefilled=bool(row.get("think_prefilled", False)),
            tokens=int(row.get("tokens", 0)),
            finished=bool(row.get("finished", True)),
            columns=columns,
        )
    except (RecordError, TypeError, ValueError, KeyError) as error:
        return Explained(None, f"the row cannot be read: {error}")


def _text_of(response: Any) -> str | None:
    """The text of a response, or of its last message."""
    if isinstance(response, list) and response and isinstance(response[-1], Mapping):
        response = response[-1].get("content")
    return response if isinstance(response, str) else None


def _answer_of(answer: Any) -> str | None:
    if isinstance(answer, dict | list):
        return json.dumps(answer, ensure_ascii=False)
    return None if answer is None else str(answer)


def _prompt_of(prompt: Any) -> Conversation:
    if prompt is None:
        return NO_PROMPT
    if isinstance(prompt, str):
        return (Message("user", prompt),)
    return tuple(Message(turn["role"], turn["content"]) for turn in prompt)


def _explain(term: RewardTerm, samples: Sequence[Sample]) -> Iterable[Explained]:
    applies = [term.applies(sample) for sample in samples]
    asked = [sample for sample, does in zip(samples, applies, strict=True) if does]
    answers = iter(_scores(term, asked) if asked else [])
    for sample, does in zip(samples, applies, strict=True):
        yield next(answers) if does else Explained(None, _why_not(term, sample))


def _why_not(term: RewardTerm, sample: Sample) -> str:
    columns = {"answer": sample.answer, "language": sample.language, "tests": sample.columns.get("tests")}
    if (own := COLUMN_OF.get(term.name)) is not None:
        columns = {own: sample.columns.get(own)}
    lacking = [f"no {name}" for name, value in columns.items() if value is None]
    beside = f"; the row has {', '.join(lacking)}" if lacking else ""
    return f"{term.name} does not apply to this {sample.domain} row{beside}"


def _scores(term: RewardTerm, samples: list[Sample]) -> list[Explained]:
    explain = getattr(term, "explain", None)  # terms of other people score only
    try:
        if explain is not None:
            return [Explained(score, reason) for score, reason in explain(samples)]
        given = term.score(samples)
        scores = list(asyncio.run(_awaited(given)) if inspect.isawaitable(given) else given)
    except Exception as error:
        if len(samples) == 1 or compares_groups(term):
            return [Explained(None, f"{term.name} failed: {type(error).__name__}: {error}")] * len(samples)
        half = len(samples) // 2
        return _scores(term, samples[:half]) + _scores(term, samples[half:])
    return [_plain(term, score) for score in scores]


async def _awaited(given: Any) -> Any:
    return await given


def _plain(term: RewardTerm, score: float | None) -> Explained:
    if score is None:
        return Explained(None, f"{term.name} could not score the response")
    if not math.isfinite(score):
        return Explained(None, f"{term.name} gave {score}, which is no finite number")
    return Explained(score, f"{term.name} gives no reason")
