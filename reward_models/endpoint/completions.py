"""The responses of an endpoint of chat completions: their answers, and the meaning of their errors."""

from __future__ import annotations

import httpx2

from reward_models.endpoint.answers import Answer


def refuses_schema(response: httpx2.Response) -> bool:
    """True if the server takes the request for wrong because of the schema."""
    words = ("response_format", "json_schema", "schema", "grammar", "guided", "structured")
    return response.status_code in (400, 422, 501) and any(word in response.text.lower() for word in words)


def may_pass(status: int) -> bool:
    """True if the error may be temporary: the request came too early, there were too many, or the server failed."""
    return status in (200, 408, 409, 425, 429) or status >= 500


def answer_in(response: httpx2.Response) -> Answer | None:
    """The reply in a chat completion, ``None`` if the response is something else. No content is an empty reply."""
    try:
        body = response.json()
        choice = body["choices"][0]
        content, reason, usage = choice["message"].get("content"), choice.get("finish_reason"), body.get("usage")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    if not isinstance(content, str | None):
        return None
    numbers = [usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    tokens = [number if type(number) is int and number >= 0 else None for number in numbers]
    return Answer(content or "", reason if isinstance(reason, str) else None, *tokens)
