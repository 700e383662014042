"""The composition of data for fine-tuning: subjects, as DeepSeek-R1's table has them, and rows of each."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from reward_models.data.records import Prompt

# DeepSeek-R1's data of stage 3 (arXiv:2501.12948v2): rows and mean tokens.
R1_DATA: dict[str, tuple[int, int]] = {
    "mathematics": (395_285, 6_094),
    "code": (211_129, 7_436),
    "stem": (10_124, 4_929),
    "logic": (10_395, 2_739),
    "general": (177_812, 1_420),
}
SUBJECTS = tuple(R1_DATA)
_BY_VERIFIER = {"math": "mathematics", "code": "code", "choice": "stem"}


class Keyed(Protocol):
    """Anything with a text that identifies it."""

    @property
    def key(self) -> str: ...


T = TypeVar("T", bound=Keyed)


def subject_of(record: Prompt) -> str:
    """The subject of a prompt: its column ``subject``, or what its domain and verifier say."""
    named = record.columns.get("subject")
    if isinstance(named, str) and named in SUBJECTS:
        return named
    if record.domain != "reasoning":
        return "general"
    return _BY_VERIFIER.get(str(record.columns.get("verifier", "math")), "logic")


def rows_wanted(
    available: Mapping[str, int], counts: Mapping[str, int], weights: Mapping[str, float]
) -> dict[str, int]:
    """Rows of each subject.

    Args:
        counts: the most rows of a subject; subjects that are not named stay whole.
        weights: the proportions; as many rows as they allow, so that one subject is used up. Subjects that are not
            named are left out. Not together with ``counts``.

    Raises:
        ValueError: a subject with a weight has no rows.
    """
    if not weights:
        return {subject: min(number, counts.get(subject, number)) for subject, number in available.items()}
    positive = {subject: weight for subject, weight in weights.items() if weight > 0}
    if missing := [subject for subject in positive if not available.get(subject)]:
        raise ValueError(
            f"weights: there are no rows of {', '.join(missing)}; subjects with rows: "
            f"{', '.join(s for s, number in available.items() if number) or 'none'}"
        )
    scale = min(available[subject] / weight for subject, weight in positive.items())
    # A product that rounding put just below a whole number is that number.
    return {subject: math.floor(positive.get(subject, 0) * scale + 1e-9) for subject in available}


def drawn(rows: Sequence[T], count: int, seed: int) -> list[T]:
    """``count`` of the rows at random, in their order. What is drawn depends on the rows' keys, not on their order."""
    if count >= len(rows):
        return list(rows)
    order = sorted(range(len(rows)), key=lambda place: lot(seed, rows[place].key))
    return [rows[place] for place in sorted(order[:count])]


def lot(seed: int, key: str) -> bytes:
    """A random value that depends on nothing but the seed and the key."""
    return hashlib.sha256(f"{seed}\0{key}".encode("utf-8", "surrogatepass")).digest()
