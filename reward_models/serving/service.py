"""The interface of everything that is served under a name, and the parts that models and mixers share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Literal, Protocol

from reward_models.serving.limits import Admission, Limits, Refused
from reward_models.serving.results import Answer, Context, Text, Turns


class Service(Protocol):
    """A model or a mixer under one name. Methods are called by the event loop's thread."""

    manifest: str
    admission: Admission

    @property
    def task(self) -> Literal["preference", "safety", "mixer"]: ...

    async def score(self, conversations: Sequence[Turns], context: Context) -> Answer:
        """One result per conversation, in order. :class:`Refused` if the request as a whole cannot be served."""

    async def score_texts(self, texts: Sequence[Text]) -> Answer:
        """The same for texts that the chat template has rendered already."""

    def close(self) -> None:
        """Answer what is waiting, then free everything. Blocks."""


def too_long(texts: Sequence[str], limits: Limits) -> str | None:
    """The error of a conversation with more texts than ``limits`` allow, or with longer ones; ``None`` within them."""
    if len(texts) > limits.conversation_messages:
        return f"{len(texts)} messages are more than the {limits.conversation_messages} of one conversation"
    size = sum(len(text.encode()) for text in texts)
    limit = limits.conversation_bytes
    return f"{size} bytes of text are more than the {limit} of one conversation" if size > limit else None


async def computed(job: Future[list[Any]], name: str) -> list[Any]:
    """The results of a job; cancelling the wait cancels it.

    Raises:
        Refused: 500, they could not be computed.
    """
    try:
        return await asyncio.wrap_future(job)
    except Exception as error:
        raise Refused(500, f"{name} failed with {type(error).__name__}; the server's log says why") from error
