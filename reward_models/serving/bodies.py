"""Requests and answers of our own protocol. What is misspelt or too much is refused, never left aside."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, with_config
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


def _unicode(text: str) -> str:
    """JSON can write half of a surrogate pair, which is no character and which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("text that is no Unicode: half of a surrogate pair") from error
    return text


Words = Annotated[str, AfterValidator(_unicode)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


@with_config(ConfigDict(extra="forbid", strict=True))
class Turn(TypedDict):
    """One message."""

    role: Words
    content: Words


class ScoreRequest(Body):
    """Conversations, each ending with the assistant's message that is scored."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [EXAMPLE, MIXER_EXAMPLE]})
    model: str
    conversations: list[list[Turn]]
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
    """A name that requests may give."""

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
    """Why a request was not answered."""

    detail: str
