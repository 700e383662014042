"""Limits of a server on requests, and the admission of requests to a model's queue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

SMOOTHING = 0.2  # weight of the newest batch in the rate that Retry-After is estimated from
BYTES_PER_TOKEN = 16  # more than any text has over a whole conversation
LONGEST_WAIT = 60  # seconds that a client is told to wait, at most


class Refused(Exception):
    """A request is not served; ``status`` is HTTP's.

    Args:
        retry_after: seconds after which it may be sent again; ``None``: the same request is always refused.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Attributes:
    body_bytes: largest body of a request.
    body_lists: most lists and objects in a body; a conversation is a list, each of its messages an object.
    body_values: most values in a body; a token id is a value.
    conversations: most conversations of a request.
    conversation_messages: most messages of a conversation; one of more gets an error in place of a score.
    conversation_tokens: longest conversation in tokens; a longer one gets an error in place of a score. One of more
        than 16 bytes for each of these tokens (texts have 3 to 5) gets it without being tokenized.
    request_tokens: most tokens of a request.
    queue: most conversations that wait for one model, over all clients; further requests are told to come back.
    queue_characters: most text that waits for one model.
    deadline: seconds until a request is given up; clients may ask for less. OpenRLHF waits for 180.
    head_seconds: seconds in which a connection must send the head of a request.
    prefix_bytes: memory of each model for the keys and values of prompts that may come back, 0 for none. It has no
        effect on encoders, which keep none.
    """

    body_bytes: int = 16 * 2**20
    body_lists: int = 2**17
    body_values: int = 2**21
    conversations: int = 1024
    conversation_messages: int = 1024
    conversation_tokens: int = 32768
    request_tokens: int = 2**20
    queue: int = 4096
    queue_characters: int = 64 * 2**20
    deadline: float = 170.0
    head_seconds: float = 10.0
    prefix_bytes: int = 2**30

    @property
    def conversation_bytes(self) -> int:
        """Longest conversation in bytes of UTF-8, checked before it is tokenized."""
        return BYTES_PER_TOKEN * self.conversation_tokens

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if name == "prefix_bytes" and self.prefix_bytes < 0:
                raise ValueError(f"prefix_bytes={self.prefix_bytes} must not be negative; 0 keeps no prefixes")
            if name != "prefix_bytes" and getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        if self.queue < self.conversations:
            raise ValueError(
                f"queue={self.queue} is smaller than one request may be, conversations={self.conversations}"
            )


class Admission:
    """The conversations that wait for one model. Used by the event loop's thread only.

    Attributes:
        waiting, characters: conversations that were admitted and are not answered, and the length of their texts.
        rate: conversations computed per second; 0 before the first batch.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.waiting = self.characters = 0
        self.rate = 0.0

    @contextmanager
    def admit(self, conversations: int, characters: int) -> Iterator[None]:
        """Reserve places in the queue for a request, until the block ends.

        Raises:
            Refused: 413, it is too large; 429, too much is waiting.
        """
        limits = self.limits
        if conversations > limits.conversations:
            raise Refused(413, f"{conversations} conversations are more than the {limits.conversations} of one request")
        full = self.waiting + conversations > limits.queue
        if full or (self.waiting and self.characters + characters > limits.queue_characters):
            raise Refused(429, f"{self.waiting} conversations are waiting", self.retry_after())
        self.waiting += conversations
        self.characters += characters
        try:
            yield
        finally:
            self.waiting -= conversations
            self.characters -= characters

    def retry_after(self) -> int:
        """Whole seconds until half of the waiting conversations are answered, at least 1."""
        return max(1, min(LONGEST_WAIT, round(self.waiting / 2 / self.rate))) if self.rate else 1

    def computed(self, conversations: int, seconds: float) -> None:
        """Update the rate by a batch."""
        rate = conversations / max(seconds, 1e-6)
        self.rate = rate if not self.rate else (1 - SMOOTHING) * self.rate + SMOOTHING * rate
