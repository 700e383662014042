"""The reward protocols of RL libraries and inference servers: OpenRLHF, vLLM, SGLang, slime.

Texts arrive rendered by the client's chat template; they are tokenized as they are, without further special tokens.
These protocols have no field for an error beside a score: if one text cannot be scored, the whole request is refused.
Fields that would change a score are listed here and refused; other fields of these protocols are ignored.
"""

from __future__ import annotations

import math
import time
import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from reward_models.serving.bodies import QUESTION, TokenId, Turn, Turns, Words
from reward_models.serving.limits import Refused
from reward_models.serving.metrics import Metrics
from reward_models.serving.registry import Registry
from reward_models.serving.results import Answer, Context, Text
from reward_models.serving.service import Service

RENDERED = "<|im_start|>user\nWhat is 2 + 2?<|im_end|><|im_start|>assistant\n4.<|im_end|>"
Named = Annotated[str | None, Query(description="Which model; needed where several are served.")]
ManyWords = Annotated[list[Words], Field(fail_fast=True)]
Ids = Annotated[list[TokenId], Field(fail_fast=True)]
ManyIds = Annotated[list[Ids], Field(fail_fast=True)]
Texts = Annotated[Words | ManyWords | Ids | ManyIds, Field(min_length=1)]


class Foreign(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class OpenRLHFRequest(Foreign):
    """``--reward.remote_url``: whole texts, decoded with their special tokens."""

    model_config = ConfigDict(extra="ignore", strict=True, json_schema_extra={"examples": [{"query": [RENDERED]}]})
    query: ManyWords
    prompts: list[str] | None = None
    labels: list[Any] | None = None


class OpenRLHFResponse(BaseModel):
    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]


class VLLMOptions(Foreign):
    model: str | None = None
    use_activation: Annotated[
        bool | None, Field(description="A safety model's score through a sigmoid, as vLLM does unless this is false.")
    ] = None
    task: Literal["classify"] | None = None
    encoding_format: Literal["float"] = "float"
    add_special_tokens: Literal[False] = False
    truncate_prompt_tokens: None = None
    chat_template: None = None
    add_generation_prompt: Literal[False] = False
    continue_final_message: Literal[False] = False


class VLLMTexts(VLLMOptions):
    model_config = ConfigDict(
        extra="ignore", strict=True, json_schema_extra={"examples": [{"input": [RENDERED], "use_activation": False}]}
    )
    input: Texts


class VLLMChat(VLLMOptions):
    model_config = ConfigDict(
        extra="ignore",
        strict=True,
        json_schema_extra={"examples": [{"messages": [QUESTION, {"role": "assistant", "content": "4."}]}]},
    )
    messages: Turns


class SGLangRequest(Foreign):
    """SGLang's own ``/classify``, of a server launched with ``--is-embedding``."""

    model_config = ConfigDict(extra="ignore", strict=True, json_schema_extra={"examples": [{"text": [RENDERED]}]})
    model: str | None = None
    text: Annotated[Words | ManyWords, Field(min_length=1)] | None = None
    input_ids: Annotated[Ids | ManyIds, Field(min_length=1)] | None = None


class SlimeRequest(Foreign):
    """``--rm-url``: a prompt as messages or as rendered text, its response, and the prompt's label."""

    model_config = ConfigDict(
        extra="ignore", strict=True, json_schema_extra={"examples": [{"prompt": [QUESTION], "response": "4."}]}
    )
    prompt: Words | Turns
    response: Words
    label: Any = None


class Usage(BaseModel):
    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0


class Classified(BaseModel):
    index: int
    label: str | None
    probs: list[float]
    num_classes: int = 1


class Pooled(BaseModel):
    index: int
    object: Literal["pooling"] = "pooling"
    data: list[float]


class VLLMResponse(BaseModel):
    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[Classified] | list[Pooled]
    usage: Usage


class SGLangResponse(BaseModel):
    embedding: list[float]
    meta_info: dict[str, Any]


PROTOCOLS = {"text": "sglang", "input_ids": "sglang", "messages": "chat", "input": "texts"}


def _protocol(body: Any) -> str | None:
    """The protocol of a request by its one field that holds the text; ``None`` without one, or with several."""
    if isinstance(body, BaseModel):
        body = {name: getattr(body, name) for name in body.model_fields_set}
    found = [name for field, name in PROTOCOLS.items() if isinstance(body, dict) and body.get(field) is not None]
    return found[0] if len(found) == 1 else None


VLLMRequest = Annotated[VLLMTexts, Tag("texts")] | Annotated[VLLMChat, Tag("chat")]
CUSTOM = {
    "custom_error_type": "protocol",
    "custom_error_message": "the body must have exactly one of input, messages (vLLM), text, input_ids (SGLang)",
}
ClassifyRequest = Annotated[VLLMRequest | Annotated[SGLangRequest, Tag("sglang")], Discriminator(_protocol, **CUSTOM)]
PoolingRequest = Annotated[VLLMRequest, Discriminator(_protocol, **CUSTOM)]


def router(registry: Registry, metrics: Metrics, route_class: type[APIRoute]) -> APIRouter:
    """The routes of all protocols."""
    routes = APIRouter(route_class=route_class)

    @routes.post("/get_reward")
    async def openrlhf(body: OpenRLHFRequest, model: Named = None) -> OpenRLHFResponse:
        """OpenRLHF's protocol."""
        name, service = registry.get(model)
        answer = await _scored(metrics, name, service, list(body.query))
        values = _raw(answer)
        calibrated = [each.calibrated for each in answer.results if each.calibrated is not None]
        logs = {"calibrated": calibrated} if calibrated and len(calibrated) == len(values) else {}
        return OpenRLHFResponse(rewards=values, scores=values, extra_logs=logs)

    @routes.post("/classify")
    async def classify(body: ClassifyRequest) -> VLLMResponse | SGLangResponse | list[SGLangResponse]:
        """vLLM's protocol where the body has `input` or `messages`, SGLang's where it has `text` or `input_ids`."""
        name, service = registry.get(body.model)
        if isinstance(body, SGLangRequest):
            given: Any = body.input_ids if body.text is None else body.text
            answer = await _scored(metrics, name, service, _texts(given))
            out = [
                SGLangResponse(embedding=[value], meta_info={"id": uuid.uuid4().hex, "prompt_tokens": tokens})
                for value, tokens in zip(_raw(answer), answer.tokens, strict=True)
            ]
            return out if isinstance(given, list) and not isinstance(given[0], int) else out[0]
        values, usage = await _vllm(metrics, body, name, service)
        label = {"preference": "helpful", "safety": "safe"}.get(service.task)
        data = [Classified(index=i, label=label, probs=[value]) for i, value in enumerate(values)]
        return VLLMResponse(
            id=f"classify-{uuid.uuid4().hex}", created=int(time.time()), model=name, data=data, usage=usage
        )

    @routes.post("/pooling")
    async def pooling(body: PoolingRequest) -> VLLMResponse:
        """vLLM's protocol, as with its ``task: classify``."""
        name, service = registry.get(body.model)
        values, usage = await _vllm(metrics, body, name, service)
        data = [Pooled(index=i, data=[value]) for i, value in enumerate(values)]
        return VLLMResponse(id=f"pool-{uuid.uuid4().hex}", created=int(time.time()), model=name, data=data, usage=usage)

    @routes.post("/slime")
    async def slime(body: SlimeRequest, model: Named = None) -> float:
        """slime's protocol. To a mixer the label is the reference answer."""
        name, service = registry.get(model)
        if isinstance(body.prompt, str):
            return _raw(await _scored(metrics, name, service, [body.prompt + body.response]))[0]
        turns = [*body.prompt, Turn(role="assistant", content=body.response)]
        label = body.label is not None and service.task == "mixer"
        answer = await service.score([turns], Context(columns={"answer": [body.label]}) if label else Context())  # type: ignore[list-item]
        metrics.outcomes(name, answer.results)
        return _raw(answer)[0]

    return routes


async def _scored(
    metrics: Metrics, name: str, service: Service, texts: list[Text], turns: list[Turn] | None = None
) -> Answer:
    """Scores of texts, or of one conversation."""
    if turns is not None:
        answer = await service.score([turns], Context())  # type: ignore[list-item]
    else:
        answer = await service.score_texts(texts)
    metrics.outcomes(name, answer.results)
    return answer


async def _vllm(metrics: Metrics, body: VLLMTexts | VLLMChat, name: str, service: Service) -> tuple[list[float], Usage]:
    """Scores as vLLM gives them, with its activation."""
    if isinstance(body, VLLMChat):
        answer = await _scored(metrics, name, service, [], body.messages)
    else:
        answer = await _scored(metrics, name, service, _texts(body.input))
    values = _raw(answer)
    if service.task == "safety" and body.use_activation is not False:
        values = [1 / (1 + math.exp(-v)) if v >= 0 else math.exp(v) / (1 + math.exp(v)) for v in values]
    return values, Usage(prompt_tokens=sum(answer.tokens), total_tokens=sum(answer.tokens))


def _texts(given: str | list[Any]) -> list[Text]:
    """One text, or one list of token ids, is a list of one."""
    return [given] if isinstance(given, str) or isinstance(given[0], int) else given


def _raw(answer: Answer) -> list[float]:
    """The scores of all.

    Raises:
        Refused: 422, one of them has none; the message names the first.
    """
    for place, result in enumerate(answer.results):
        if result.raw is None:
            raise Refused(422, f"text {place}: {result.error}")
    return [result.raw for result in answer.results if result.raw is not None]
