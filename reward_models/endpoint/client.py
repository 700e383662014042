"""The client of chat models behind OpenAI-compatible endpoints: many calls at once, and none paid for twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from weakref import WeakKeyDictionary

import httpx2

from reward_models.endpoint.answers import Answer, AnswerFile, JudgeError
from reward_models.endpoint.completions import answer_in, may_pass, refuses_schema
from reward_models.http_retry import RequestFailedError, TemporaryError, named, quoted, retry_after, with_retries

KEY_VARIABLE = "KEEL_JUDGE_API_KEY"
LONGEST_WAIT = 60.0  # seconds between two tries, unless the endpoint asks for longer
LONGEST_RETRY_AFTER = 600.0  # seconds; a longer Retry-After means that the quota is spent
GIVE_UP_AFTER = 20  # requests in a row


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """Settings of the calls to the judge.

    Args:
        base_url: the part of the address before ``/chat/completions``, usually ending in ``/v1``.
        model: the endpoint's name for the model.
        temperature: of sampling. Where one question is asked several times, to vote, it must be above 0: its answers
            would repeat one another.
        max_tokens: room for reasoning and verdict; a reply cut off there has no verdict.
        timeout: seconds for one try, from connecting to the last byte.
        tries: how often one question is tried at most.
        first_wait: seconds; the n-th wait between tries is drawn from 0 … ``first_wait`` · 2ⁿ⁻¹ (full jitter).
        concurrency: calls in flight at a time, of all batches of questions that one event loop asks.
        output: where a reply has a JSON schema: ``schema`` sends it (``response_format``), ``text`` only describes it
            in the question, ``auto`` sends it until the server refuses it.
        input_price, output_price: of a million tokens, in any currency, for the cost that is counted.
    """

    base_url: str
    model: str
    temperature: float = 1.0
    max_tokens: int = 4096
    timeout: float = 120.0
    tries: int = 6
    first_wait: float = 1.0
    concurrency: int = 16
    output: Literal["auto", "schema", "text"] = "auto"
    input_price: float = 0.0
    output_price: float = 0.0

    def __post_init__(self) -> None:
        try:
            url = httpx2.URL(self.base_url)
        except httpx2.InvalidURL as error:
            raise JudgeError(f"{self.base_url!r} is no http(s) address: {error}") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise JudgeError(f"{self.base_url!r} is no http(s) address")
        if url.userinfo or url.query:
            raise JudgeError(f"the judge's address must hold neither password nor key; put the key into {KEY_VARIABLE}")
        if self.output not in ("auto", "schema", "text"):
            raise JudgeError(f"output={self.output!r} is none of auto, schema, text")
        if min(self.tries, self.concurrency, self.max_tokens) < 1 or self.timeout <= 0:
            raise JudgeError("tries, concurrency and max_tokens must be at least 1, and timeout positive")
        if min(self.input_price, self.output_price) < 0:
            raise JudgeError("prices must not be negative")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question to the model.

    Attributes:
        draw: questions that differ in it alone are asked, and answered, independently.
        schema: JSON schema of the reply, where it must be an object.
    """

    messages: list[dict[str, str]]
    draw: int = 0
    schema: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request; without one, ``error`` says why. ``paid``: it was asked for now, and not before."""

    answer: Answer | None = None
    error: str | None = None
    paid: bool = False


@dataclass(slots=True)
class _Run:
    """State that the workers of one run share: the requests left, and the endpoint's condition."""

    client: httpx2.AsyncClient
    keep: Callable[[str, Answer], Answer]
    left: Iterator[tuple[str, ChatRequest, int]]
    advance: Callable[[int], None]
    told: Callable[[str, Reply], None]
    replies: dict[str, Reply] = field(default_factory=dict)
    failures_in_a_row: int = 0


class _SchemaRefused(Exception):
    """The server does not take a JSON schema."""


class ChatClient:
    """Asks an endpoint, and keeps its answers by a hash of model, messages, sampling and draw.

    Args:
        answers: where paid answers are looked up and kept.
        api_key: sent as a bearer token if there is one. ``key_variable``: where it comes from, for messages.
    """

    def __init__(
        self,
        config: EndpointConfig,
        answers: AnswerFile,
        api_key: str | None = None,
        *,
        key_variable: str = KEY_VARIABLE,
    ) -> None:
        self.config, self.answers, self._key_variable = config, answers, key_variable
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._base_url = config.base_url.rstrip("/") + "/"
        self._takes_schemas = config.output != "text"
        self._slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    @property
    def sampling(self) -> dict[str, Any]:
        return {"temperature": self.config.temperature, "max_tokens": self.config.max_tokens}

    def costs(self, replies: Sequence[Reply]) -> dict[str, float]:
        """The cost of replies: ``calls``, ``cached`` answers, ``failed`` requests, ``tokens_in`` and ``tokens_out``
        of the calls, as the endpoint counts them, and ``cost`` by the prices."""
        paid = [reply.answer for reply in replies if reply.paid and reply.answer is not None]
        tokens_in, tokens_out = (
            float(sum(answer.input_tokens or 0 for answer in paid)),
            float(sum(answer.output_tokens or 0 for answer in paid)),
        )
        return {
            "calls": float(len(paid)),
            "cached": float(sum(reply.answer is not None and not reply.paid for reply in replies)),
            "failed": float(sum(reply.answer is None for reply in replies)),
            "tokens_in": tokens_in,
            "tokens_out": tokens_out,
            "cost": (tokens_in * self.config.input_price + tokens_out * self.config.output_price) / 1e6,
        }

    def kept(self, request: ChatRequest) -> Answer | None:
        """The answer to ``request`` that was paid for already."""
        for with_schema in self._forms(request):
            key, _ = self._body(request, with_schema)
            if key in self.answers:
                return self.answers[key]
        return None

    def check(self) -> None:
        """Nothing, if the endpoint is ready, else a :class:`JudgeError`. Costs nothing."""
        with httpx2.Client(base_url=self._base_url, headers=self._headers, timeout=10.0) as client:
            try:
                response = client.get("models")
            except httpx2.RequestError as error:
                raise JudgeError(
                    f"cannot reach the judge at {self.config.base_url}: {named(error)}. Is it running, and is the "
                    "address given without /chat/completions?"
                ) from None
        self._refuse(response)
        if response.status_code >= 500:
            raise JudgeError(f"the judge at {self.config.base_url} is not ready: {quoted(response)}")

    async def ask(
        self,
        requests: Sequence[ChatRequest],
        advance: Callable[[int], None] = lambda done: None,
        *,
        alone: bool = False,
        heard: Callable[[Reply], None] = lambda reply: None,
    ) -> list[Reply]:
        """A reply to each request, in their order; requests that are the same are asked once.

        Args:
            advance: told how many more are answered.
            alone: let no other process write into the file of answers meanwhile.
            heard: told each reply as soon as it is there, for the costs of a call that may be broken off.

        Raises:
            JudgeError: the endpoint failed in a way that asking on would not mend; its answers so far are kept.
        """
        keys = [self._body(request, with_schema=False)[0] for request in requests]
        times = Counter(keys)
        replies: dict[str, Reply] = {}

        def told(key: str, reply: Reply) -> None:
            for again in range(times[key]):  # the same question is paid for once
                heard(replace(reply, paid=False) if again else reply)

        left: list[tuple[str, ChatRequest, int]] = []
        writing: AbstractContextManager[Any] = self.answers.writing() if alone else nullcontext(self.answers)
        with writing as writer:
            for key, request in dict(zip(keys, requests, strict=True)).items():
                if (answer := self.kept(request)) is not None:
                    replies[key] = Reply(answer)
                    told(key, replies[key])
                else:
                    left.append((key, request, times[key]))
            advance(sum(times[key] for key in replies))
            replies |= await self._ask_all(left, writer.add, advance, told) if left else {}
        seen: set[str] = set()
        found = []
        for key in keys:
            found.append(replace(replies[key], paid=False) if key in seen else replies[key])
            seen.add(key)
        return found

    def _forms(self, request: ChatRequest) -> list[bool]:
        """With a schema or without one, in the order in which they are tried."""
        if request.schema is None or self.config.output == "text":
            return [False]
        return [True] if self.config.output == "schema" else [True, False]

    def _body(self, request: ChatRequest, with_schema: bool) -> tuple[str, dict[str, Any]]:
        """The key of a request's answer, and what to post for it."""
        body = {"model": self.config.model, "messages": request.messages, **self.sampling}
        if with_schema:
            schema = {"name": "verdict", "schema": request.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return hashlib.sha256(json.dumps([request.draw, body], sort_keys=True).encode()).hexdigest(), body

    async def _ask_all(
        self,
        left: Sequence[tuple[str, ChatRequest, int]],
        keep: Callable[[str, Answer], Answer],
        advance: Callable[[int], None],
        told: Callable[[str, Reply], None],
    ) -> dict[str, Reply]:
        workers = min(self.config.concurrency, len(left))
        limits = httpx2.Limits(max_connections=workers, max_keepalive_connections=workers)
        async with httpx2.AsyncClient(
            base_url=self._base_url, headers=self._headers, timeout=None, limits=limits
        ) as client:
            run = _Run(client, keep, iter(left), advance, told)
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(workers):
                        group.create_task(self._work(run))
            except* JudgeError as errors:
                raise errors.exceptions[0] from None
            return run.replies

    async def _work(self, run: _Run) -> None:
        for name, request, times in run.left:
            reply = await self._one(run, request)
            run.replies[name] = reply
            run.told(name, reply)
            run.advance(times)
            run.failures_in_a_row = run.failures_in_a_row + 1 if reply.answer is None else 0
            if run.failures_in_a_row >= GIVE_UP_AFTER:
                raise JudgeError(
                    f"{GIVE_UP_AFTER} questions in a row failed, the last with: {reply.error}. The answers so far "
                    f"are in {self.answers.path}; the same command goes on from there"
                )

    async def _one(self, run: _Run, request: ChatRequest) -> Reply:
        """The reply to one request, asked until it is answered or the tries are used up."""
        slots = self._slots.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self.config.concurrency))
        async with slots:
            with_schema = request.schema is not None and self._takes_schemas
            try:
                return await self._tried(run, request, with_schema)
            except _SchemaRefused:
                self._takes_schemas = False
                return await self._tried(run, request, with_schema=False)

    async def _tried(self, run: _Run, request: ChatRequest, with_schema: bool) -> Reply:
        key, body = self._body(request, with_schema)

        async def attempt() -> Answer:
            try:
                async with asyncio.timeout(self.config.timeout):
                    # A gateway that knows the header bills a repeated question once.
                    response = await run.client.post("chat/completions", json=body, headers={"Idempotency-Key": key})
            except TimeoutError:
                raise TemporaryError(f"no answer within {self.config.timeout:g} s") from None
            except httpx2.RequestError as error:
                raise TemporaryError(named(error)) from None
            except UnicodeEncodeError as error:
                raise RequestFailedError(f"the question cannot be sent: {named(error)}") from None
            self._refuse(response)
            if response.status_code == 200 and (answer := answer_in(response)) is not None:
                return answer
            if with_schema and self.config.output == "auto" and refuses_schema(response):
                raise _SchemaRefused
            if not may_pass(response.status_code):
                raise RequestFailedError(quoted(response))
            raise TemporaryError(quoted(response), self._retry_after(response))

        config = self.config
        try:
            answer = await with_retries(
                attempt,
                first_wait=config.first_wait,
                longest_wait=LONGEST_WAIT,
                tries=config.tries,
            )
        except RequestFailedError as error:
            return Reply(error=str(error))
        return Reply(run.keep(key, answer), paid=True)  # on the event loop: a call takes seconds, a line a millisecond

    def _refuse(self, response: httpx2.Response) -> None:
        """Stop at answers that every other question would get too."""
        if response.status_code in (401, 403):
            raise JudgeError(
                f"the judge at {self.config.base_url} refuses the key ({quoted(response)}); set {self._key_variable}"
            )
        if response.status_code == 404 and response.request.method == "POST":
            raise JudgeError(
                f"nothing answers at {response.request.url} for the model {self.config.model!r} "
                f"({quoted(response)}); check address and model"
            )

    def _retry_after(self, response: httpx2.Response) -> float:
        """Seconds that the endpoint asks to wait; 0 if it names none."""
        seconds = retry_after(response) or 0.0
        if seconds > LONGEST_RETRY_AFTER:
            raise JudgeError(
                f"the judge asks to wait for {seconds:.0f} s ({quoted(response)}); the answers so far are in "
                f"{self.answers.path}, and the same command continues from them"
            )
        return seconds
