"""Samples from the data of other libraries, and values in the place of missing rewards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

from align.rewards.terms import Sample
from reward_models.data.conversations import to_message
from reward_models.data.instruction_rows import constraints_read
from reward_models.data.records import DOMAINS, Conversation, Message

Turns = str | Sequence[Mapping[str, Any]]


def as_sample(
    prompt: Turns | None,
    response: str,
    row: Mapping[str, Any],
    *,
    tokens: int = 0,
    finished: bool = True,
    think_prefilled: bool = False,
    group: int | None = None,
) -> Sample:
    """A sample from what a library knows of it.

    Args:
        prompt: text or messages; ``None`` where the library does not tell it: then only rules can judge the response.
        row: the data set's columns; ``answer``, ``domain`` and ``language`` as in our own prompts; constraints
            also in the layouts of public data sets. Without a domain, a prompt with an answer or constraints is
            ``reasoning``, and another is ``helpfulness``.

    Raises:
        ValueError: an unknown domain, an answer that is neither a text nor a number, or a prompt for reward models
            that is not there.
        RecordError: constraints that cannot be read.
    """
    columns = dict(constraints_read(row))
    answer = columns.pop("answer", None)
    verified = answer is not None or columns.get("instructions") is not None
    domain: Any = _own_domain(columns) or ("reasoning" if verified else "helpfulness")
    if domain not in DOMAINS:
        raise ValueError(f"domain {domain!r} is none of {', '.join(DOMAINS)}")
    if prompt is None and domain != "reasoning":
        raise ValueError(
            f"a {domain} sample without its prompt: reward models read the conversation, see docs/bridges.md"
        )
    return Sample(
        prompt=_conversation(prompt if prompt is not None else "(not told)"),
        response=response,
        domain=domain,
        answer=_answer(answer),
        language=columns.pop("language", None),
        think_prefilled=think_prefilled,
        tokens=tokens,
        finished=finished,
        group=group,
        columns=columns,
    )


def _answer(value: Any) -> str | None:
    """The reference of a row, as our own readers take it: a text or a number, or a list of one.

    Raises:
        ValueError: it is something else, which would be compared as Python prints it.
    """
    if isinstance(value, list | tuple) and len(value) == 1:
        (value,) = value
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(
            f"the column 'answer' is {str(value)[:80]!r}, a {type(value).__name__}; give a text or a number"
        )
    return str(value)


def _own_domain(columns: dict[str, Any]) -> Any:
    """The domain in a row's column ``domain``, or ``kind`` as earlier versions called it; it is taken out."""
    for name in ("domain", "kind"):
        if name in columns:
            return columns.pop(name)
    return None


def filled(rewards: Sequence[float | None], prompts: Sequence[str]) -> list[float | None]:
    """Rewards with the mean of its group in the place of what is missing: an advantage of 0.

    Samples of a prompt stand side by side. Only where no two neighbours share a prompt do they stand apart, as in
    TRL's OnlineDPO, which gives all first responses and then all second ones.
    """
    result = list(rewards)
    for group in groups_of(prompts):
        usual = mean([rewards[i] for i in group])
        for i in group:
            result[i] = usual if rewards[i] is None else rewards[i]
    return result


def groups_of(prompts: Sequence[str]) -> list[list[int]]:
    """The places of the samples of each prompt; see :func:`filled` for their order."""
    starts = [i for i in range(len(prompts)) if i == 0 or prompts[i] != prompts[i - 1]]
    if len(starts) == len(prompts):
        return [[i for i, other in enumerate(prompts) if other == prompt] for prompt in dict.fromkeys(prompts)]
    return [list(range(a, b)) for a, b in zip(starts, [*starts[1:], len(prompts)], strict=True)]


def in_groups(samples: Sequence[Sample], prompts: Sequence[str], size: int | None) -> list[Sample]:
    """The samples with their groups, which terms that compare the samples of a prompt need.

    A prompt with another number of samples was divided among processes or batches; its samples stay without a group,
    and such a term then refuses them.

    Args:
        size: samples of each prompt; ``None``: not known, and no sample gets a group.
    """
    found, number = list(samples), 0
    for places in groups_of(prompts) if size is not None else []:
        assert size is not None
        whole = len(places) % size == 0
        for start in range(0, len(places) if whole else 0, size):  # a prompt drawn twice in a row has several groups
            for place in places[start : start + size]:
                found[place] = replace(found[place], group=number)
            number += 1
    return found


def mean(values: Sequence[float | None]) -> float | None:
    """Of what is there."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _conversation(prompt: Turns) -> Conversation:
    if isinstance(prompt, str):
        return (Message("user", prompt),)
    return tuple(to_message(turn, "prompt") for turn in prompt)
