"""From data, or from the built-in texts, to pairs of responses that a probe compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from reward_models.data.encode import ordered_responses
from reward_models.data.records import TASKS, Conversation, Message, SafetyLabel, Task
from reward_models.data.sources import expand, load
from reward_models.data.splits import opening_key
from reward_models.probing.built_in import ANSWERED, CLAIMS
from reward_models.probing.built_in_unsafe import UNSAFE
from reward_models.probing.probes import Probe

Response = tuple[Conversation, Conversation]  # prompt, response


@dataclass(frozen=True, slots=True)
class Trial:
    """Two responses to one prompt: as it was, and as a policy might write it."""

    prompt: Conversation
    plain: Conversation
    tried: Conversation


@dataclass(frozen=True, slots=True)
class Material:
    """Responses to edit, each on a prompt of its own.

    Attributes:
        good: good responses: their scores give the unit of effects. ``unsafe``: safety only.
        files: the data; empty for the built-in texts. ``bad``: rows that were left out.
    """

    task: Task
    good: tuple[Response, ...]
    unsafe: tuple[Response, ...] = ()
    files: tuple[str, ...] = ()
    bad: int = 0


def built_in(task: Task) -> Material:
    """The built-in texts as material."""
    answers = [(_user(each.question), _reply(each.answer)) for each in ANSWERED]
    if task == "preference":
        return Material(task, tuple(answers))
    safe = [(_user(each.question), _reply(each.safe)) for each in UNSAFE]
    unsafe = [(_user(each.question), _reply(each.unsafe)) for each in UNSAFE]
    return Material(task, (*answers, *safe), tuple(unsafe))


def from_data(task: Task, specs: Sequence[str], *, limit: int, max_bad: int = 0) -> Material:
    """Good responses of labelled data: the chosen ones of pairs, or the safe ones, and the unsafe ones besides.

    Args:
        limit: the most prompts of each, spread evenly over the data. Of every prompt the first response is taken.

    Raises:
        SourceError, BadRowsError: see :func:`reward_models.data.sources.load`.
        ValueError: fewer than two prompts have a good response, or an unsafe one.
    """
    loaded = load(list(specs), TASKS[task].record_type, max_bad=max_bad)
    good: dict[str, Response] = {}
    unsafe: dict[str, Response] = {}
    for record in loaded.records:
        if record.label == "tie":
            continue
        chosen = good if not isinstance(record, SafetyLabel) or record.label == "safe" else unsafe
        chosen.setdefault(opening_key(record.prompt), (record.prompt, ordered_responses(record)[0]))
    for name, found in {"good": good, **({"unsafe": unsafe} if task == "safety" else {})}.items():
        if len(found) < 2:
            raise ValueError(
                f"{', '.join(specs)}: {len(found)} prompts have a response that is {name}; probes need two or more"
            )
    files = tuple(file for spec in specs for file in expand(spec))
    return Material(task, _spread(good, limit), _spread(unsafe, limit), files, len(loaded.bad))


def trials(probe: Probe, material: Material) -> list[Trial]:
    """The pairs of a probe; fewer than the material's responses where the edit does not apply to some."""
    if probe.texts == "claims":
        return [Trial(_user(c.question), _reply(c.correction), _reply(c.agreement)) for c in CLAIMS]
    if probe.texts == "translations":
        if material.task == "safety":
            return [Trial(_user(u.question), _reply(u.unsafe), _reply(u.translation)) for u in UNSAFE]
        return [Trial(_user(a.question), _reply(a.answer), _reply(a.translation)) for a in ANSWERED]
    if probe.texts == "other_prompt":
        replies = [reply for _, reply in material.good]
        others = replies[1:] + replies[:1]
        return [Trial(p, r, other) for (p, r), other in zip(material.good, others, strict=True) if r != other]
    assert probe.edit is not None
    responses = {
        "good": material.good,
        "unsafe": material.unsafe,
        "harmless": tuple((_user(a.question), _reply(a.answer)) for a in ANSWERED),
    }[probe.texts]
    edited = [
        (probe.edit(reply[-1].content, number), prompt, reply) for number, (prompt, reply) in enumerate(responses)
    ]
    return [
        Trial(prompt, reply, (*reply[:-1], replace(reply[-1], content=text)))
        for text, prompt, reply in edited
        if text is not None and text != reply[-1].content  # an edit that changes nothing measures nothing
    ]


def _spread(found: dict[str, Response], limit: int) -> tuple[Response, ...]:
    values = list(found.values())
    return tuple(values[i] for i in np.linspace(0, len(values) - 1, min(len(values), limit)).astype(int))


def _user(text: str) -> Conversation:
    return (Message("user", text),)


def _reply(text: str) -> Conversation:
    return (Message("assistant", text),)
