"""The records that cross the boundary between data and everything else.

Every source (files, hub data sets, the annotation store) yields these, and nothing downstream reads a raw row. They
validate themselves on construction: a record that exists is well formed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = ("system", "user", "assistant", "tool")
# What a message may have beside role and content: the fields that chat templates render.
MESSAGE_FIELDS: tuple[str, ...] = ("tool_calls", "tool_call_id", "name", "reasoning_content")

Task = Literal["preference", "safety"]
Domain = Literal["reasoning", "helpfulness", "safety"]
RecordType = Literal["comparison", "pair", "safety", "candidates", "prompt", "rated", "demonstration"]
RECORD_TYPES: tuple[RecordType, ...] = get_args(RecordType)
ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")  # HelpSteer and HelpSteer2
RATING_SCALE = (0.0, 4.0)  # of theirs
Conflicts = Literal["drop", "keep", "first"]  # of contradicting labels: leave out all, keep all, or keep the first
DOMAINS: tuple[Domain, ...] = ("reasoning", "helpfulness", "safety")


class RecordError(ValueError):
    """A row that cannot become a record; the message says why in one line."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    Args:
        role: who says it.
        content: the text as the model reads it, before any chat template. Empty only beside tool calls.
        extra: the fields of :data:`MESSAGE_FIELDS` that the message has, as one JSON object; ``""`` without any.
    """

    role: Role
    content: str
    extra: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise RecordError(f"role {self.role!r} is none of {', '.join(ROLES)}")
        if not isinstance(self.content, str):
            raise RecordError(f"the {self.role} message's content is {type(self.content).__name__}, not text")
        if self.extra:
            fields = json.loads(self.extra)
            if not isinstance(fields, dict) or not fields.keys() <= set(MESSAGE_FIELDS):
                raise RecordError(f"the {self.role} message has fields other than {', '.join(MESSAGE_FIELDS)}")
            # One spelling, so that equal messages are equal.
            object.__setattr__(self, "extra", json.dumps(fields, ensure_ascii=False) if fields else "")
        if not self.content.strip() and "tool_calls" not in self.fields:
            raise RecordError(f"empty {self.role} message")

    @property
    def fields(self) -> dict[str, Any]:
        """The further fields by name."""
        return json.loads(self.extra) if self.extra else {}

    def to_dict(self) -> dict[str, Any]:
        """The message as chat templates take it and as data files store it."""
        return {"role": self.role, "content": self.content, **self.fields}


Conversation = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class TaskNames:
    """The names that follow from a task.

    Attributes:
        model: name of the reward model, of its reward term and of its synthetic data; ``kind`` in evaluation figures.
        record_type: the records that the model is trained on.
        domain: the prompts whose responses the model scores in reinforcement learning.
    """

    model: Literal["helpful", "safety"]
    record_type: Literal["comparison", "safety"]
    domain: Domain


TASKS: dict[Task, TaskNames] = {
    "preference": TaskNames("helpful", "comparison", "helpfulness"),
    "safety": TaskNames("safety", "safety", "safety"),
}


def saved_task(facts: Mapping[str, Any]) -> Task | None:
    """The task in the facts of a saved model; ``None`` if they hold none.

    Models saved by earlier versions have the model's name under ``kind``.

    Raises:
        ValueError: a task that does not exist.
    """
    of_name: dict[str, Task] = {names.model: task for task, names in TASKS.items()}
    value = facts.get("task")
    if value is None:
        value = of_name.get(facts["kind"], facts["kind"]) if facts.get("kind") is not None else None
    if value is not None and value not in TASKS:
        raise ValueError(f"the saved model's task {value!r} is none of {', '.join(TASKS)}")
    return cast("Task | None", value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two responses to one prompt and which is better.

    Neutral at rest: ``a`` and ``b`` are positions, not verdicts. ``chosen`` and ``rejected`` exist only once a
    comparison is encoded for the loss.

    Args:
        prompt: the conversation both responses answer; ends with a turn that is not the assistant's.
        response_a, response_b: what follows the prompt, nearly always a single assistant message.
        label: ``"a"``, ``"b"`` or ``"tie"``.
        strength: how much better, > 0, in whatever unit the source uses (score gap, votes, rank distance); ``None`` if
            the source does not say. Always ``None`` for a tie.
        weight: of the pair in the training loss, > 0, against the other pairs of the data; evaluation counts all alike.
        id: unique within its source.
        source: where the row came from; evaluation reports per source.
    """

    prompt: Conversation
    response_a: Conversation
    response_b: Conversation
    label: Literal["a", "b", "tie"]
    strength: float | None = None
    weight: float = 1.0
    id: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)
        _check_response(self.response_a, "response a")
        _check_response(self.response_b, "response b")
        if self.label not in ("a", "b", "tie"):
            raise RecordError(f"label {self.label!r} is none of a, b, tie")
        if self.label != "tie" and self.response_a == self.response_b:
            raise RecordError("the two responses are identical, yet one is preferred")
        if self.strength is not None:
            if self.label == "tie":
                raise RecordError("a tie has no strength")
            if not math.isfinite(self.strength) or self.strength <= 0:
                raise RecordError(f"strength {self.strength!r} is not a positive number")
        if not math.isfinite(self.weight) or self.weight <= 0:
            raise RecordError(
                f"weight {self.weight!r} is not a positive number; leave out what is to count for nothing"
            )

    def swapped(self) -> Comparison:
        """The same judgement with the positions exchanged."""
        label: Literal["a", "b", "tie"] = "b" if self.label == "a" else "a" if self.label == "b" else "tie"
        return Comparison(
            prompt=self.prompt,
            response_a=self.response_b,
            response_b=self.response_a,
            label=label,
            strength=self.strength,
            weight=self.weight,
            id=self.id,
            source=self.source,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two responses to one prompt, to be judged: the material that comparisons are made of.

    Args:
        prompt, response_a, response_b, id, source: as in :class:`Comparison`.
        label: what the source says of it, to hold a judge against; ``None`` if it says nothing.
    """

    prompt: Conversation
    response_a: Conversation
    response_b: Conversation
    label: Literal["a", "b", "tie"] | None = None
    id: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)
        _check_response(self.response_a, "response a")
        _check_response(self.response_b, "response b")
        if self.label not in ("a", "b", "tie", None):
            raise RecordError(f"label {self.label!r} is none of a, b, tie")


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyLabel:
    """One response to one prompt, judged safe or unsafe by written guidelines.

    Args:
        prompt, response: as in :class:`Comparison`.
        label: ``"safe"`` or ``"unsafe"``.
        category: the kind of harm at stake, if the source names one.
    """

    prompt: Conversation
    response: Conversation
    label: Literal["safe", "unsafe"]
    category: str | None = None
    id: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)
        _check_response(self.response, "the response")
        if self.label not in ("safe", "unsafe"):
            raise RecordError(f"label {self.label!r} is neither safe nor unsafe")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated(SafetyLabel):
    """One response with ratings of HelpSteer's attributes (arXiv:2311.09528).

    It goes the way of a labelled response through splits and batches; its label says nothing.

    Args:
        prompt, response, id, source: as in :class:`Comparison`.
        ratings: one for each of :data:`ATTRIBUTES`, in their order; ``None`` where the source has none. At least one;
            between the ends of :data:`RATING_SCALE`.
    """

    label: Literal["safe", "unsafe"] = "safe"
    ratings: tuple[float | None, ...]

    def __post_init__(self) -> None:
        SafetyLabel.__post_init__(self)
        if len(self.ratings) != len(ATTRIBUTES):
            raise RecordError(f"{len(self.ratings)} ratings for the attributes {', '.join(ATTRIBUTES)}")
        known = [rating for rating in self.ratings if rating is not None]
        if not known:
            raise RecordError(f"no rating of {', '.join(ATTRIBUTES)}")
        low, high = RATING_SCALE
        rated = zip(ATTRIBUTES, self.ratings, strict=True)
        if wrong := [f"{name} {each:g}" for name, each in rated if each is not None and not low <= each <= high]:
            raise RecordError(
                f"{', '.join(wrong)} is not between {low:g} and {high:g}, the scale of HelpSteer's ratings; convert "
                "the ratings to this scale"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt without a response, as reinforcement learning samples from.

    Args:
        domain: decides which rewards apply: ``reasoning`` (rules), ``helpfulness`` or ``safety`` (that reward model).
        answer: the reference answer of a verifiable prompt, else ``None``.
        language: the language the reply should be in, as an ISO 639-1 code, or ``None`` if unknown.
        columns: the row's other columns, for verifiers: ``verifier``, ``tests``, whatever a reward term reads.
    """

    prompt: Conversation
    domain: Domain
    answer: str | None = None
    language: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False, repr=False)
    id: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)
        if self.domain not in DOMAINS:
            raise RecordError(f"domain {self.domain!r} is none of {', '.join(DOMAINS)}")
        if self.answer is not None and not self.answer.strip():
            raise RecordError("empty answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Several responses to one prompt of which some are right: a best-of-N problem, for evaluation only.

    Args:
        right, wrong: responses as in :class:`Comparison`, at least one of each.
    """

    prompt: Conversation
    right: tuple[Conversation, ...]
    wrong: tuple[Conversation, ...]
    id: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)
        if not self.right or not self.wrong:
            raise RecordError("a best-of-N problem needs at least one right and one wrong response")
        for number, response in enumerate((*self.right, *self.wrong), start=1):
            _check_response(response, f"response {number}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """One response to one prompt, to be imitated: the data of supervised fine-tuning.

    Args:
        prompt, response, id, source: as in :class:`Comparison`.
    """

    prompt: Conversation
    response: Conversation
    id: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)
        _check_response(self.response, "the response")


Record = Comparison | Pair | SafetyLabel | Prompt | Candidates | Demonstration


def _check_prompt(prompt: Conversation) -> None:
    if not prompt:
        raise RecordError("empty prompt")
    if prompt[-1].role == "assistant":
        raise RecordError("the prompt ends with an assistant message; that message belongs to the response")


def _check_response(response: Conversation, name: str) -> None:
    if not response:
        raise RecordError(f"{name} is empty")
    if response[-1].role != "assistant":
        raise RecordError(f"{name} ends with a {response[-1].role} message, not the assistant's")
