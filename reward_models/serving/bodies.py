"""Requests and answers of our own protocol. An unknown field is refused, never ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, with_config
from typing_extensions import TypedDict

from reward_models.serving.results import Result

QUESTION: dict[str, Any] = {"role": "user", "content": "What is 2 + 2?"}
EXAMPLE: dict[str, Any] = {
    "model": "helpful",
    "conversations": [[QUESTION, {"role": "assistant", "content": text}] for text in ("4.", "Five, I think.")],
}
MIXER_EXAMPLE: dict[str, Any] = EXAMPLE | {
    "model": "stage2",
    "domains": ["reasoning"] * 2,
    "step": 1500,
    "columns": {"answer": ["4", "4"]},
}


# With a limit on its length, pydantic also checks that a text is Unicode: JSON can write half of a surrogate pair,
# which no tokenizer takes.
Words = Annotated[str, Field(min_length=0)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


@with_config(ConfigDict(extra="forbid", strict=True))
class Turn(TypedDict):
    """One message, with the fields that chat templates render; a template that leaves one out is an error."""

    role: Words
    content: Words
    tool_calls: NotRequired[list[dict[str, Any]]]
    tool_call_id: NotRequired[Words]
    name: NotRequired[Words]
    reasoning_content: NotRequired[Words]


# fail_fast, here and in the other protocols: a list of a million wrong items has one error, not a million
Turns = Annotated[list[Turn], Field(fail_fast=True)]


class ScoreRequest(Body):
    """Conversations, each ending with the assistant's message that is scored."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [EXAMPLE, MIXER_EXAMPLE]})
    model: str
    conversations: Annotated[list[Turns], Field(fail_fast=True)]
    domains: Annotated[
        list[Literal["reasoning", "helpfulness", "safety"]] | None,
        Field(description="Mixers: the domain of each prompt. Default: reasoning with an answer, helpfulness without."),
    ] = None
    step: Annotated[
        int | None, Field(ge=0, description="Mixers: the step whose weights hold; needed where they change.")
    ] = None
    columns: Annotated[
        dict[str, list[Any]] | None,
        Field(description="Mixers: other facts, a value per conversation: answer, verifier, tests, tokens, …"),
    ] = None


class ScoreResponse(BaseModel):
    """One result per conversation, in order."""

    model: str
    task: Literal["preference", "safety", "mixer"]
    manifest: Annotated[str, Field(description="Fingerprint of what scored; it changes with the model.")]
    results: list[Result]


class Served(BaseModel):
    """A model or mixer that requests may name."""

    name: str
    task: Literal["preference", "safety", "mixer"]
    manifest: str


class Models(BaseModel):
    models: list[Served]


class ReloadRequest(Body):
    model: Annotated[str | None, Field(description="Default: all.")] = None


class State(BaseModel):
    status: str


class Problem(BaseModel):
    """The reason why a request was not answered."""

    detail: str
