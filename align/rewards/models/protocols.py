"""Requests to reward servers and the reading of their responses, by protocol. A response is read strictly.

==================  ====================================================================================================
``keel``            ``keel serve``: whole conversations, rendered by the server
``vllm_classify``   vLLM's ``/classify``, ``vllm_pooling`` its ``/pooling``: token ids, without activation: the
                    default for a model of one label is σ(score)
``sglang``          SGLang's own ``/classify``: token ids. Its ``/v1/classify`` is not used: it applies a softmax,
                    which is always 1.0 over one label
==================  ====================================================================================================

Token ids are sent, not text: a server that tokenizes text may add a second BOS.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from align.rewards.models.replicas import InvalidResponseError, RewardServerError
from align.rewards.terms import Sample
from reward_models.data.records import Conversation

Protocol = Literal["keel", "vllm_classify", "vllm_pooling", "sglang"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer for one conversation.

    Attributes:
        raw, calibrated: ``None`` without a score. Of a mixer, ``raw`` is the whole reward.
        terms: of a mixer: term → (raw, weighted).
        error: the reason why there is no score. With ``terms``, the mixer has answered, and one of its terms has no
            score; without them, the server failed.
    """

    raw: float | None = None
    calibrated: float | None = None
    terms: Mapping[str, tuple[float | None, float | None]] | None = None
    error: str | None = None

    @property
    def failed(self) -> bool:
        return self.error is not None and self.terms is None


@dataclass(frozen=True, slots=True)
class Served:
    """A model as ``/models`` of ``keel serve`` lists it. ``manifest`` identifies its weights and settings."""

    name: str
    task: str
    manifest: str


@dataclass(frozen=True, slots=True)
class TokenProtocol:
    """A protocol of token ids. ``body`` makes a request of a model's name and sequences, ``scores`` reads one."""

    path: str
    health: str
    body: Callable[[str | None, Sequence[Sequence[int]]], dict[str, Any]]
    scores: Callable[[Any], list[Any]]

    def read(self, payload: Any, count: int) -> list[Answer]:
        try:
            values = self.scores(payload)
        except (LookupError, TypeError, AttributeError) as error:
            raise InvalidResponseError(f"an answer of another shape ({type(error).__name__}: {error})") from None
        if len(values) != count:
            raise InvalidResponseError(f"{len(values)} scores for {count} conversations")
        return [Answer(raw=_one_number(value)) for value in values]


def _named(model: str | None) -> dict[str, Any]:
    return {"model": model} if model else {}


def _in_order(data: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    if (places := [item.get("index", place) for place, item in enumerate(data)]) != list(range(len(data))):
        raise InvalidResponseError(f"indices {places[:8]} are out of order")
    return [item[key] for item in data]


TOKEN_PROTOCOLS: dict[str, TokenProtocol] = {
    "vllm_classify": TokenProtocol(
        "/classify",
        "/health",
        lambda model, ids: {**_named(model), "input": ids, "use_activation": False},
        lambda payload: _in_order(payload["data"], "probs"),
    ),
    "vllm_pooling": TokenProtocol(
        "/pooling",
        "/health",
        lambda model, ids: {**_named(model), "task": "classify", "input": ids, "use_activation": False},
        lambda payload: _in_order(payload["data"], "data"),
    ),
    "sglang": TokenProtocol(
        "/classify",
        "/health",
        lambda model, ids: {**_named(model), "input_ids": ids},
        lambda payload: [item["embedding"] for item in payload],
    ),
}


def keel_body(samples: Sequence[Sample], served: Served, step: int | None) -> dict[str, Any]:
    """A request to ``/v1/score``. Only a mixer gets more than the conversations.

    Raises:
        RewardServerError: JSON cannot hold a column.
    """
    body: dict[str, Any] = {"model": served.name}
    if served.task != "mixer":
        return body | {"conversations": [[*_turns(s.prompt), _reply(s.whole)] for s in samples]}
    body |= {"conversations": [[*_turns(s.prompt), _reply(s.response)] for s in samples]}
    body |= {"domains": [s.domain for s in samples], "columns": _columns(samples)}
    return body if step is None else body | {"step": step}


def read_keel(payload: Any, count: int, served: Served) -> list[Answer]:
    """The answers of ``/v1/score``.

    Raises:
        InvalidResponseError: another number of results, a value that is no number, or another model than ``served``:
            scores of two models must never be mixed.
    """
    if not isinstance(payload, dict) or not isinstance(payload.get("results"), list):
        raise InvalidResponseError(f"no results in {str(payload)[:100]!r}")
    answered = Served(payload.get("model", ""), payload.get("task", ""), payload.get("manifest", ""))
    if answered != served:
        raise InvalidResponseError(f"an answer of {answered}, not of {served}")
    if len(payload["results"]) != count:
        raise InvalidResponseError(f"{len(payload['results'])} results for {count} conversations")
    return [_keel_answer(result) for result in payload["results"]]


def _columns(samples: Sequence[Sample]) -> dict[str, list[Any]]:
    """The columns for a mixer, by name: the columns of the samples' rows and the samples' own facts.

    Raises:
        RewardServerError: JSON cannot hold a value.
    """
    rows = [{**s.columns, **_facts(s)} for s in samples]
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}
    for name, values in columns.items():
        try:
            json.dumps(values, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise RewardServerError(
                f"column {name!r} cannot be sent to a reward server ({error}); remove it from the data"
            ) from None
    return columns


def _facts(sample: Sample) -> dict[str, Any]:
    """Facts of a sample. 0 tokens means an unknown number: even an empty response ends with a token."""
    return {
        "answer": sample.answer,
        "language": sample.language,
        "think_prefilled": sample.think_prefilled,
        "finished": sample.finished,
        "tokens": sample.tokens or None,
        **({} if sample.group is None else {"group": sample.group}),
    }


def _turns(conversation: Conversation) -> list[dict[str, str]]:
    return [message.to_dict() for message in conversation]


def _reply(text: str) -> dict[str, str]:
    """The response as a turn; it may be empty, unlike a :class:`Message`."""
    return {"role": "assistant", "content": text}


def _keel_answer(result: Any) -> Answer:
    if not isinstance(result, dict) or not {"raw", "error"} <= result.keys():
        raise InvalidResponseError(f"a result is {str(result)[:100]!r}")
    terms = result.get("terms")
    if not isinstance(terms, dict | None):
        raise InvalidResponseError(f"terms are {str(terms)[:100]!r}")
    try:
        parts = {str(n): (_number(t["raw"]), _number(t["weighted"])) for n, t in (terms or {}).items()}
    except (LookupError, TypeError) as error:
        raise InvalidResponseError(f"terms are {str(terms)[:100]!r} ({type(error).__name__}: {error})") from None
    known = parts if terms is not None else None
    if result["error"] is not None:
        return Answer(terms=known, error=str(result["error"]))
    return Answer(_number(result["raw"]), _number(result.get("calibrated")), known)


def _one_number(value: Any) -> float:
    """The number, or the only number in a list."""
    if isinstance(value, list):
        if len(value) != 1:
            raise InvalidResponseError(f"{len(value)} values for one conversation: a reward model has one label")
        value = value[0]
    number = _number(value)
    if number is None:
        raise InvalidResponseError("null in the place of a score")
    return number


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidResponseError(f"{str(value)[:50]!r} in the place of a score")
    return float(value)
