"""Inputs and results of a service, whatever the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Turns = Sequence[dict[str, Any]]
Text = str | list[int]  # a conversation rendered by the chat template, as text or as token ids


@dataclass(frozen=True, slots=True)
class TermValue:
    """A reward term's value for a sample, and its contribution to the sum; ``None`` where there is none."""

    raw: float | None
    weighted: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """The result for one conversation.

    Attributes:
        raw: the model's score, or a mixer's reward. ``None`` if there is none; ``error`` says why.
        calibrated: see :class:`reward_models.inference.reward_model.Score`.
        terms: of a mixer: every term by name.
    """

    raw: float | None = None
    calibrated: float | None = None
    terms: dict[str, TermValue] | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Results in the order of the request, and the tokens of each; 0 where tokens are not counted."""

    results: list[Result]
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class Context:
    """Facts about the conversations of a request that a mixer takes beside their text; a model takes none."""

    domains: Sequence[str] | None = None
    step: int | None = None
    columns: dict[str, list[Any]] | None = None
