"""The language of a conversation, for figures by language."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from reward_models.data.records import Conversation

UNKNOWN = "unknown"
SURE = 0.8  # a smaller probability of the likeliest language is no answer
FEWEST = 20  # letters of a prompt; below, the response is read too
LONGEST = 1000  # characters that are read
FEWEST_RECORDS = 10  # languages of fewer are reported together


def language_of(prompt: Conversation, response: Conversation) -> str:
    """ISO 639-1 code of the user's turns by py3langid, with the response where they are short; or ``unknown``."""
    text = " ".join(message.content for message in prompt if message.role == "user")[:LONGEST]
    if sum(map(str.isalpha, text)) < FEWEST:
        text = " ".join([text, *(message.content for message in response)])[:LONGEST]
    if not any(map(str.isalpha, text)):
        return UNKNOWN
    code, probability = _detector().classify(text)
    return str(code) if probability >= SURE else UNKNOWN


def by_language(codes: Sequence[str]) -> dict[str, list[int]]:
    """Language → indices of its records, the largest first; languages of few records together as ``other``."""
    counts = Counter(codes)
    groups: dict[str, list[int]] = {}
    for place, code in enumerate(codes):
        groups.setdefault(code if counts[code] >= FEWEST_RECORDS else "other", []).append(place)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


@functools.cache
def _detector() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # loading takes a while

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
