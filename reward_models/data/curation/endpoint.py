"""A chat model behind an OpenAI-compatible endpoint as a judge: many calls at once, and none paid for twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from reward_models.data.chat import Span
from reward_models.data.curation.answers import Answer, AnswerFile, AnswerWriter
from reward_models.data.curation.judging import JudgeError, Judgement, Question
from reward_models.data.curation.prompts import VERDICTS, judge_messages, parse_verdict
from reward_models.http_retry import RequestFailedError, TemporaryError, named, quoted, retry_after, with_retries

KEY_VARIABLE = "KEEL_JUDGE_API_KEY"
LONGEST_WAIT = 60.0  # seconds between two tries, unless the endpoint asks for longer
LONGEST_RETRY_AFTER = 600.0  # seconds; a longer Retry-After means that the quota is spent
GIVE_UP_AFTER = 20  # questions in a row


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """Settings of the calls to the judge.

    Args:
        base_url: what stands before ``/chat/completions``, usually ending in ``/v1``.
        model: the endpoint's name for the model.
        temperature: above 0, or the judgements of one order repeat one another.
        max_tokens: room for reasoning and verdict; a reply cut off there has no verdict.
        timeout: seconds for one try, from connecting to the last byte.
        tries: how often one question is tried at most.
        first_wait: seconds; the n-th wait between tries is drawn from 0 … ``first_wait`` · 2ⁿ⁻¹ (full jitter).
        concurrency: calls in flight at a time.
        span: what is shown of a response.
    """

    base_url: str
    model: str
    temperature: float = 1.0
    max_tokens: int = 4096
    timeout: float = 120.0
    tries: int = 6
    first_wait: float = 1.0
    concurrency: int = 16
    span: Span = "summary"

    def __post_init__(self) -> None:
        try:
            url = httpx2.URL(self.base_url)
        except httpx2.InvalidURL as error:
            raise JudgeError(f"{self.base_url!r} is no http(s) address: {error}") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise JudgeError(f"{self.base_url!r} is no http(s) address")
        if url.userinfo or url.query:
            raise JudgeError(f"the judge's address must hold neither password nor key; put the key into {KEY_VARIABLE}")


@dataclass(slots=True)
class _Run:
    """State that the workers of one run share: the questions left, and the endpoint's condition."""

    client: httpx2.AsyncClient
    writer: AnswerWriter
    left: Iterator[tuple[int, Question]]
    advance: Callable[[int], None]
    judgements: dict[int, Judgement] = field(default_factory=dict)
    failures_in_a_row: int = 0


class EndpointJudge:
    """See :class:`~reward_models.data.curation.judging.Judge`.

    Args:
        answers: where paid answers are looked up and kept, by a hash of model, messages, sampling and draw.
        api_key: sent as a bearer token if there is one.
    """

    deterministic = False

    def __init__(self, config: EndpointConfig, answers: AnswerFile, api_key: str | None = None) -> None:
        self.config = config
        self.answers = answers
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._base_url = config.base_url.rstrip("/") + "/"
        self._sampling = {"temperature": config.temperature, "max_tokens": config.max_tokens}

    @property
    def settings(self) -> dict[str, Any]:
        return {"model": self.config.model, **self._sampling}

    def calls(self, questions: Sequence[Question]) -> int:
        return sum(self._request(question)[0] not in self.answers for question in questions)

    def check(self) -> None:
        with httpx2.Client(base_url=self._base_url, headers=self._headers, timeout=10.0) as client:
            try:
                response = client.get("models")
            except httpx2.RequestError as error:
                raise JudgeError(
                    f"cannot reach the judge at {self.config.base_url}: {named(error)}. Is it running, and is the "
                    "address what stands before /chat/completions?"
                ) from None
        self._refuse(response)
        if response.status_code >= 500:
            raise JudgeError(f"the judge at {self.config.base_url} is not ready: {quoted(response)}")

    def judge(self, questions: Sequence[Question], advance: Callable[[int], None]) -> list[Judgement]:
        with self.answers.writing() as writer:
            left = [(i, q) for i, q in enumerate(questions) if self._request(q)[0] not in self.answers]
            advance(len(questions) - len(left))
            asked = asyncio.run(self._ask_all(left, writer, advance)) if left else {}
        return [asked[i] if i in asked else self._kept(question) for i, question in enumerate(questions)]

    def _kept(self, question: Question) -> Judgement:
        return _judgement(question, self.answers[self._request(question)[0]])

    def _request(self, question: Question) -> tuple[str, dict[str, Any]]:
        """The key of a question's answer, and what to post for it."""
        body = {
            "model": self.config.model,
            "messages": judge_messages(question, self.config.span),
            **self._sampling,
        }
        return hashlib.sha256(json.dumps([question.draw, body], sort_keys=True).encode()).hexdigest(), body

    async def _ask_all(
        self, left: Sequence[tuple[int, Question]], writer: AnswerWriter, advance: Callable[[int], None]
    ) -> dict[int, Judgement]:
        workers = min(self.config.concurrency, len(left))
        limits = httpx2.Limits(max_connections=workers, max_keepalive_connections=workers)
        async with httpx2.AsyncClient(
            base_url=self._base_url, headers=self._headers, timeout=None, limits=limits
        ) as client:
            run = _Run(client, writer, iter(left), advance)
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(workers):
                        group.create_task(self._work(run))
            except* JudgeError as errors:
                raise errors.exceptions[0] from None
            return run.judgements

    async def _work(self, run: _Run) -> None:
        for i, question in run.left:
            judgement = await self._ask(run, question)
            run.judgements[i] = judgement
            run.advance(1)
            run.failures_in_a_row = run.failures_in_a_row + 1 if judgement.problem == "failed" else 0
            if run.failures_in_a_row >= GIVE_UP_AFTER:
                raise JudgeError(
                    f"{GIVE_UP_AFTER} questions in a row failed, the last with: {judgement.detail}. The answers so far "
                    f"are in {self.answers.path}; the same command goes on from there"
                )

    async def _ask(self, run: _Run, question: Question) -> Judgement:
        """The judgement of one question, asked until it is answered or the tries are used up."""
        key, body = self._request(question)

        async def attempt() -> Answer:
            try:
                async with asyncio.timeout(self.config.timeout):
                    # A gateway that knows the header bills a repeated question once.
                    response = await run.client.post("chat/completions", json=body, headers={"Idempotency-Key": key})
            except TimeoutError:
                raise TemporaryError(f"no answer within {self.config.timeout:g} s") from None
            except httpx2.RequestError as error:
                raise TemporaryError(named(error)) from None
            self._refuse(response)
            if response.status_code == 200 and (answer := _answer(response)) is not None:
                return answer
            if not _may_pass(response.status_code):
                raise RequestFailedError(quoted(response))
            raise TemporaryError(quoted(response), self._retry_after(response))

        config = self.config
        try:
            answer = await with_retries(
                attempt, first_wait=config.first_wait, longest_wait=LONGEST_WAIT, tries=config.tries
            )
        except RequestFailedError as error:
            return Judgement(draw=question.draw, a_first=question.a_first, problem="failed", detail=str(error))
        run.writer.add(key, answer)  # on the event loop: a call takes seconds, a line a millisecond
        return _judgement(question, answer)

    def _refuse(self, response: httpx2.Response) -> None:
        """Stop at answers that every other question would get too."""
        if response.status_code in (401, 403):
            raise JudgeError(
                f"the judge at {self.config.base_url} refuses the key ({quoted(response)}); set {KEY_VARIABLE}"
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


def _may_pass(status: int) -> bool:
    """True if the error may be temporary: the request came too early, there were too many, or the server failed."""
    return status in (200, 408, 409, 425, 429) or status >= 500


def _answer(response: httpx2.Response) -> Answer | None:
    """The reply in a chat completion, ``None`` if the response is something else. No content is an empty reply."""
    try:
        choice = response.json()["choices"][0]
        content, reason = choice["message"].get("content"), choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    if not isinstance(content, str | None):
        return None
    return Answer(content or "", reason if isinstance(reason, str) else None)


def _judgement(question: Question, answer: Answer) -> Judgement:
    if answer.finish_reason == "length":  # a verdict in it may be a draft
        return Judgement(draw=question.draw, a_first=question.a_first, problem="cut off")
    verdict = parse_verdict(answer.reply)
    if verdict is None:
        return Judgement(draw=question.draw, a_first=question.a_first, problem="no verdict")
    worth = VERDICTS[verdict] if question.a_first else -VERDICTS[verdict]
    return Judgement(draw=question.draw, a_first=question.a_first, score=worth, verdict=verdict)
