"""A chat model behind an OpenAI-compatible endpoint as the judge of curation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from reward_models.data.chat import Span
from reward_models.data.curation.judging import Judgement, Question
from reward_models.data.curation.prompts import VERDICTS, judge_messages, parse_verdict
from reward_models.endpoint.answers import Answer, AnswerFile
from reward_models.endpoint.client import ChatClient, ChatRequest, EndpointConfig


class EndpointJudge:
    """See :class:`~reward_models.data.curation.judging.Judge`.

    Args:
        answers, api_key: as of :class:`ChatClient`.
        span: what is shown of a response.
    """

    deterministic = False

    def __init__(
        self, config: EndpointConfig, answers: AnswerFile, api_key: str | None = None, *, span: Span = "summary"
    ) -> None:
        self.client, self._span = ChatClient(config, answers, api_key), span

    @property
    def settings(self) -> dict[str, Any]:
        return {"model": self.client.config.model, **self.client.sampling}

    def calls(self, questions: Sequence[Question]) -> int:
        return sum(self.client.kept(self._request(question)) is None for question in questions)

    def check(self) -> None:
        self.client.check()

    def judge(self, questions: Sequence[Question], advance: Callable[[int], None]) -> list[Judgement]:
        requests = [self._request(question) for question in questions]
        replies = asyncio.run(self.client.ask(requests, advance, alone=True))
        return [_judgement(each, reply.answer, reply.error) for each, reply in zip(questions, replies, strict=True)]

    def _request(self, question: Question) -> ChatRequest:
        return ChatRequest(judge_messages(question, self._span), question.draw)


def _judgement(question: Question, answer: Answer | None, error: str | None) -> Judgement:
    if answer is None:
        return Judgement(draw=question.draw, a_first=question.a_first, problem="failed", detail=error)
    if answer.finish_reason == "length":  # a verdict in it may be a draft
        return Judgement(draw=question.draw, a_first=question.a_first, problem="cut off")
    verdict = parse_verdict(answer.reply)
    if verdict is None:
        return Judgement(draw=question.draw, a_first=question.a_first, problem="no verdict")
    worth = VERDICTS[verdict] if question.a_first else -VERDICTS[verdict]
    return Judgement(draw=question.draw, a_first=question.a_first, score=worth, verdict=verdict)
