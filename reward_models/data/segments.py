"""Texts are tokenized in segments between special tokens, each distinct segment once.

The two conversations of a comparison have the prompt in common, and a conversation that is cut keeps most of its turns.
The texts between special tokens (``<|im_start|>``, ``<|eot_id|>``, …) are tokenized independently of each other by most
tokenizers, so what is known of one text is used for the next. For a tokenizer of which this is not certain, whole texts
are tokenized.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from reward_models.data.chat import tokenize_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Parts of a tokenizer that treat a text alike wherever it stands. Metaspace does not: it may mark the text's beginning.
_NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Replace", "Sequence"}
_PRE_TOKENIZERS = {"Split", "ByteLevel", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit", "Sequence"}


class Segments:
    """Tokenizes texts as :func:`~reward_models.data.chat.tokenize_texts` does, and remembers their segments."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._border = border(tokenizer, len(tokenizer))
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        if self._border is None:
            return tokenize_texts(self._tokenizer, texts)
        parts = [[part for part in self._border.split(text) if part] for text in texts]
        new = [part for part in dict.fromkeys(part for each in parts for part in each) if part not in self._known]
        if new:
            self._known.update(zip(new, tokenize_texts(self._tokenizer, new), strict=True))
        return [np.concatenate([_NOTHING, *(self._known[part] for part in each)]) for each in parts]


_NOTHING = np.zeros(0, np.int32)


@lru_cache(maxsize=4)
def border(tokenizer: PreTrainedTokenizerBase, _size: int) -> re.Pattern[str] | None:
    """A pattern of the tokens that divide a text into independent parts; ``None`` if there is none, or no certainty.

    Args:
        _size: the tokenizer's size, so that one with new tokens is looked at again.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.encode_special_tokens or getattr(tokenizer, "split_special_tokens", False):
        return None
    parts = json.loads(backend.to_str())
    names = {*_types(parts["normalizer"])} <= _NORMALIZERS, {*_types(parts["pre_tokenizer"])} <= _PRE_TOKENIZERS
    tokens = [token for token in parts["added_tokens"] if not token["normalized"]]
    # These take blanks beside them, or depend on the letters beside them.
    if not tokens or not all(names) or any(t["lstrip"] or t["rstrip"] or t["single_word"] for t in tokens):
        return None
    if parts["truncation"] is not None or parts["model"].get("dropout"):
        return None
    longest_first = sorted((token["content"] for token in tokens), key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, longest_first))})")


def _types(part: Any) -> list[str]:
    """The types of a component of a tokenizer and of its parts."""
    if not isinstance(part, dict):
        return []
    inner = [each for name in ("normalizers", "pretokenizers") for each in part.get(name, [])]
    return [part["type"], *(name for each in inner for name in _types(each))]
