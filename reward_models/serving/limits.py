"""How much one server takes on, and what it says to the rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

SMOOTHING = 0.2  # weight of the newest batch in the rate that Retry-After is estimated from
LONGEST_WAIT = 60  # seconds that a client is told to wait, at most


class Refused(Exception):
    """A request that is not served; ``status`` is HTTP's.

    Args:
        retry_after: seconds after which it may be sent again; ``None``: never as it is.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Attributes:
    body_bytes: largest body of a request.
    conversations: most conversations of a request.
    conversation_tokens: longest conversation; a longer one gets an error in place of a score.
    request_tokens: most tokens of a request.
    queue: most conversations that wait for one model, over all clients; beyond it clients are told to come back.
    queue_characters: most text that waits for one model.
    deadline: seconds until a request is given up; clients may ask for less. OpenRLHF waits for 180.
    """

    body_bytes: int = 16 * 2**20
    conversations: int = 1024
    conversation_tokens: int = 32768
    request_tokens: int = 2**20
    queue: int = 4096
    queue_characters: int = 64 * 2**20
    deadline: float = 170.0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        if self.queue < self.conversations:
            raise ValueError(
                f"queue={self.queue} is smaller than one request may be, conversations={self.conversations}"
            )


class Admission:
    """What waits for one model. Only the event loop's thread asks it.

    Attributes:
        waiting, characters: conversations that were let in and are not answered, and their text.
        rate: conversations a second that are computed; 0 before anything was.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.waiting = self.characters = 0
        self.rate = 0.0

    @contextmanager
    def admit(self, conversations: int, characters: int) -> Iterator[None]:
        """Hold a place for a request.

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
        """Whole seconds until half of what waits is answered, at least 1."""
        return max(1, min(LONGEST_WAIT, round(self.waiting / 2 / self.rate))) if self.rate else 1

    def computed(self, conversations: int, seconds: float) -> None:
        """Learn the rate from a batch."""
        rate = conversations / max(seconds, 1e-6)
        self.rate = rate if not self.rate else (1 - SMOOTHING) * self.rate + SMOOTHING * rate
