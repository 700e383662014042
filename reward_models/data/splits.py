"""Divide records into splits by prompt, remove copies, and remove prompts of the evaluation.

All of it works by hashes of contents, so the answer for a record does not depend on the records around it.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from reward_models.data.conversations import digest
from reward_models.data.records import (
    Candidates,
    Comparison,
    Conflicts,
    Conversation,
    Demonstration,
    Pair,
    Rated,
    Record,
    SafetyLabel,
)

if TYPE_CHECKING:
    import numpy as np

SHINGLE_WORDS = 8
MIN_SHARED = 3
MIN_CONTAINMENT = 0.6
REMEMBERED = 100_000  # prompts of which it is known whether they occur in the evaluation
LONG_TURN = 40  # letters and digits; a shorter turn ("go on", "thanks") says nothing about where it comes from

# Chinese and Japanese are written without spaces: each character counts as a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")

R = TypeVar("R", bound=Record)


# --- keys -----------------------------------------------------------------------------------------------------------


def normalised(text: str) -> str:
    """The letters, their marks and the digits of ``text`` in lower case; ``text`` itself if that leaves nothing."""
    if text.isascii():
        kept = re.sub("[^a-z0-9]+", "", text.lower())
    else:
        # Marks stay because many scripts write vowels with them.
        lower = unicodedata.normalize("NFKC", text).lower()
        kept = "".join(char for char in lower if char.isalnum() or unicodedata.category(char)[0] == "M")
    return kept or text


def prompt_key(prompt: Conversation) -> str:
    """A hash that two prompts share if they differ in case, spacing and punctuation only."""
    state = hashlib.sha256()
    for message in prompt:
        state.update(f"{message.role}\0{normalised(message.content)}\0".encode())
    return state.hexdigest()


def opening_key(prompt: Conversation) -> str:
    """:func:`prompt_key` of the first user message: equal for all the prompts that grow out of one conversation."""
    opening = next((message for message in prompt if message.role == "user"), prompt[0])
    return prompt_key((opening,))


def content_key(record: Record) -> bytes:
    """32 bytes for exactly what is judged: the prompt with its response, or with all of them in any order."""
    if isinstance(record, Comparison | Pair):
        first, second = sorted((digest(record.response_a), digest(record.response_b)))
        return hashlib.sha256(digest(record.prompt) + first + second).digest()
    if isinstance(record, SafetyLabel | Demonstration):
        return hashlib.sha256(digest(record.prompt) + digest(record.response)).digest()
    if isinstance(record, Candidates):
        responses = sorted(digest(response) for response in record.right + record.wrong)
        return hashlib.sha256(digest(record.prompt) + b"".join(responses)).digest()
    return digest(record.prompt)


def verdict(record: Record) -> str:
    """The record's statement about its content, whichever response of a comparison is stored first.

    Records of one :func:`content_key` agree if their verdicts are equal. An empty verdict (a tie, a prompt without an
    answer, a demonstration, a pair: its label is a reference) contradicts none.
    """
    if isinstance(record, Comparison):
        if record.label == "tie":
            return ""
        better, worse = record.response_a, record.response_b
        if record.label == "b":
            better, worse = worse, better
        return "first" if digest(better) < digest(worse) else "second"
    if isinstance(record, Pair | Demonstration):
        return ""
    if isinstance(record, Candidates):
        return ",".join(sorted(digest(response).hex() for response in record.right))
    if isinstance(record, Rated):
        return repr(record.ratings)
    return record.label if isinstance(record, SafetyLabel) else record.answer or ""


def contradictory(verdicts: Iterable[str]) -> bool:
    """True if ``verdicts``, all on one content, hold two that cannot both be right."""
    return len({*verdicts} - {""}) > 1


# --- split ----------------------------------------------------------------------------------------------------------


def split_by_prompt(
    records: Iterable[R], fractions: Mapping[str, float] | None = None, *, seed: int = 0
) -> dict[str, list[R]]:
    """``records`` divided by their prompts' opening, so that no conversation has branches on both sides.

    A prompt's part depends on nothing but its opening, ``fractions`` (in their order) and ``seed``: growing the data
    never moves a prompt. ``fractions`` (default 0.95 ``train``, 0.05 ``eval``) are shares of openings, not of records.

    Raises:
        ValueError: the fractions do not sum to 1.
    """
    fractions = {"train": 0.95, "eval": 0.05} if fractions is None else fractions
    if min(fractions.values()) < 0 or not math.isclose(sum(fractions.values()), 1.0):
        raise ValueError(f"fractions {dict(fractions)} do not sum to 1")
    parts: dict[str, list[R]] = {name: [] for name in fractions}
    for record in records:
        parts[part_of(record, fractions, seed=seed)].append(record)
    return parts


def part_of(record: Record, fractions: Mapping[str, float], *, seed: int = 0) -> str:
    """The part of :func:`split_by_prompt` that a record belongs to."""
    key = opening_key(record.prompt)
    position = int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode()).digest()[:8], "big") / 2**64
    border = 0.0
    for name, fraction in fractions.items():
        border += fraction
        if position < border:
            return name
    return [name for name, fraction in fractions.items() if fraction > 0][-1]  # the sum fell short of 1 by rounding


# --- duplicates -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Deduplicated(Generic[R]):
    """The records that :func:`deduplicate` kept, and the number left out as copies and as contradictions.

    ``conflicts`` counts the contents with contradicting verdicts, whatever was done about them.
    """

    kept: list[R]
    duplicates: int
    contradictions: int
    conflicts: int


def deduplicate(records: Iterable[R], *, conflicts: Conflicts = "drop") -> Deduplicated[R]:
    """One record for each content and verdict, the first; the order stays.

    Args:
        conflicts: what becomes of contents with contradicting verdicts: ``drop`` all their records, ``keep`` one of
            each verdict, or keep the ``first`` record alone.
    """
    known = Contents()
    read: list[R] = []
    for record in records:
        known.add(record)
        read.append(record)
    decided = known.decide(conflicts)
    kept = [record for record, stays in zip(read, decided.kept, strict=True) if stays]
    return Deduplicated(kept, decided.duplicates, decided.contradictions, decided.conflicts)


class Contents:
    """Contents and verdicts of records that pass by, 24 bytes each, so that many can be compared."""

    def __init__(self) -> None:
        self._keys, self._verdicts = bytearray(), bytearray()
        self._known: dict[str, bytes] = {"": bytes(8)}  # an empty verdict contradicts none

    def add(self, record: Record) -> None:
        said = verdict(record)
        if said not in self._known:
            if len(self._known) > 10_000:  # answers of prompts, ratings
                self._known = {"": bytes(8)}
            self._known[said] = hashlib.sha256(said.encode(errors="surrogatepass")).digest()[:8]
        self._keys += content_key(record)[:16]
        self._verdicts += self._known[said]

    def decide(self, conflicts: Conflicts) -> Decided:
        """The records that stay, see :func:`deduplicate`."""
        import numpy as np

        if not self._keys:
            return Decided(np.zeros(0, bool), 0, 0, 0)
        keys = np.frombuffer(self._keys, np.uint64).reshape(-1, 2)
        said = np.frombuffer(self._verdicts, np.uint64)
        count = len(said)
        order = np.lexsort((np.arange(count), said, keys[:, 1], keys[:, 0]))
        by_key = np.any(keys[order][1:] != keys[order][:-1], axis=1)  # where the next content begins
        by_verdict = by_key | (said[order][1:] != said[order][:-1])
        unique = np.concatenate([[True], by_verdict])  # the first record of each content and verdict
        content = np.cumsum(np.concatenate([[True], by_key])) - 1
        contents = int(content[-1]) + 1
        contradicted = np.bincount(content[unique & (said[order] != 0)], minlength=contents) > 1
        kept = unique.copy()
        if conflicts != "keep":
            kept &= ~contradicted[content]
        if conflicts == "first":
            first = np.full(contents, count)
            np.minimum.at(first, content, order)
            kept |= contradicted[content] & (order == first[content])
        result = np.zeros(count, bool)
        result[order] = kept
        distinct = int(unique.sum())
        return Decided(result, count - distinct, distinct - int(kept.sum()), int(contradicted.sum()))


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """For every record in ``kept`` whether it stays; the counts are those of :class:`Deduplicated`."""

    kept: np.ndarray
    duplicates: int
    contradictions: int
    conflicts: int


# --- decontamination ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Decontaminated(Generic[R]):
    """The records that :func:`decontaminate` kept, and each record it removed with the reason."""

    kept: list[R]
    removed: list[tuple[R, str]] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Number of removed records by reason."""
        return dict(Counter(reason for _, reason in self.removed))


def decontaminate(records: Iterable[R], evaluation: Iterable[Record]) -> Decontaminated[R]:
    """``records`` without those whose prompt occurs in ``evaluation``.

    A prompt occurs there if an evaluation prompt has the same :func:`prompt_key` ("same prompt"), or the same first
    or last user message of some length ("same user message"), or if at least 3 runs of 8 words and 0.6 of those of the
    shorter prompt are in both ("overlapping words").
    """
    known = EvaluationPrompts(evaluation)
    result: Decontaminated[R] = Decontaminated([])
    for record in records:
        reason = known.reason(record.prompt)
        if reason is None:
            result.kept.append(record)
        else:
            result.removed.append((record, reason))
    return result


class EvaluationPrompts:
    """The evaluation's prompts by key, by user message, and by shingle."""

    def __init__(self, evaluation: Iterable[Record]) -> None:
        self.keys: set[str] = set()
        self.turns: set[str] = set()
        self.sizes: list[int] = []
        self.shingles: defaultdict[int, list[int]] = defaultdict(list)
        self._reasons: dict[str, str | None] = {}
        for record in evaluation:
            key = prompt_key(record.prompt)
            if key in self.keys:
                continue
            self.keys.add(key)
            self.turns |= _long_turns(record.prompt)
            shingles = _shingles(record.prompt)
            for shingle in shingles:
                self.shingles[shingle].append(len(self.sizes))
            self.sizes.append(len(shingles))

    def reason(self, prompt: Conversation) -> str | None:
        """The reason for which :func:`decontaminate` removes a record of this prompt; ``None``: it stays."""
        if not self.keys:
            return None
        key = prompt_key(prompt)
        if key not in self._reasons:
            if len(self._reasons) >= REMEMBERED:
                self._reasons.clear()
            self._reasons[key] = self._reason(key, prompt)
        return self._reasons[key]

    def _reason(self, key: str, prompt: Conversation) -> str | None:
        if key in self.keys:
            return "same prompt"
        if self.turns & _long_turns(prompt):
            return "same user message"
        shingles = _shingles(prompt)
        shared = Counter(index for shingle in shingles for index in self.shingles.get(shingle, ()))
        for index, count in shared.items():
            if count >= MIN_SHARED and count >= MIN_CONTAINMENT * min(len(shingles), self.sizes[index]):
                return "overlapping words"
        return None


def _long_turns(prompt: Conversation) -> set[str]:
    turns = [normalised(message.content) for message in prompt if message.role == "user"]
    return {turn for turn in turns[:1] + turns[-1:] if len(turn) >= LONG_TURN}


def _shingles(prompt: Conversation) -> set[int]:
    """Hashes of every run of 8 words in a user's message; comparable within one process only."""
    return {run for message in prompt if message.role == "user" for run in word_runs(message.content, SHINGLE_WORDS)}


def word_runs(text: str, length: int) -> set[int]:
    """Hashes of every run of ``length`` words of ``text``, in lower case; comparable within one process only."""
    words = _WORD.findall(text.lower())
    return {hash(tuple(words[i : i + length])) for i in range(len(words) - length + 1)}
