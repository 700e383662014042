"""The tokenizer of a model that is trained from scratch, made once of its training data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reward_models.data.chat import train_tokenizer, trained_tokenizer
from reward_models.data.prepared import code, entry

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FILE = "tokenizer.json"


def new_tokenizer(texts: Iterable[str], vocab_size: int, digest: str) -> PreTrainedTokenizerBase:
    """:func:`~reward_models.data.chat.train_tokenizer`, kept in a file (:mod:`reward_models.data.prepared`).

    Args:
        texts: are read only if there is no file.
        digest: of what the texts come from.
    """
    from tokenizers import Tokenizer

    def make(path: Path) -> dict[str, Any]:
        tokenizer: Any = train_tokenizer(texts, vocab_size)
        tokenizer.backend_tokenizer.save(str(path / _FILE))
        return {}

    made = entry("tokenizer", {"texts": digest, "vocab_size": vocab_size, "versions": code()}, make)
    return trained_tokenizer(Tokenizer.from_file(str(made.path / _FILE)))
