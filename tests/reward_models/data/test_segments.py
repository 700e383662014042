"""Token ids of texts that were tokenized in segments are those of the whole texts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from reward_models.data import segments
from reward_models.data.chat import tokenize_texts, train_tokenizer
from reward_models.data.segments import Segments, border

TRAINED = train_tokenizer(["It is a question, of 12 words and 3 signs.\n\n", " and  some blanks "] * 9, 400)
PIECES = [
    "<|im_start|>",
    "<|im_end|>",
    "<think>",
    "user\n",
    " ",
    "\n\n",
    "It is",
    "12",
    "é",
    "e\u0301",
    "<|im_",
    "🙂",
    "ﬁ",
]
TEXTS = st.lists(st.lists(st.sampled_from(PIECES), max_size=8).map("".join), max_size=4)


def like_gpt(normalizer: Any = None, **token: bool) -> PreTrainedTokenizerFast:
    """Byte-level BPE with a regular expression, as most released models have it."""
    raw = Tokenizer.from_str(TRAINED.backend_tokenizer.to_str())
    pattern = r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=bool(token.pop("prefix", False)), use_regex=False),
        ]
    )
    if normalizer is not None:
        raw.normalizer = normalizer
    if token:
        raw.add_special_tokens([AddedToken("<|extra|>", normalized=False, **token)])
    return PreTrainedTokenizerFast(tokenizer_object=raw)


DIVIDED = {
    "trained": TRAINED,
    "regular expression": like_gpt(),
    "normalizer": like_gpt(normalizers.NFC()),
    "prefix": like_gpt(prefix=True),
}


@pytest.mark.parametrize("name", DIVIDED)
@given(first=TEXTS, second=TEXTS)
def test_segments_give_the_tokens_of_whole_texts(name: str, first: list[str], second: list[str]) -> None:
    tokenizer = DIVIDED[name]
    assert border(tokenizer, len(tokenizer)) is not None
    by_segments = Segments(tokenizer)
    for texts in (first, second):
        expected = tokenize_texts(tokenizer, texts) if texts else []
        assert [ids.tolist() for ids in by_segments(texts)] == [ids.tolist() for ids in expected]


def test_what_is_known_is_not_tokenized_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def recorded(tokenizer: Any, texts: list[str]) -> list[np.ndarray]:
        asked.extend(texts)
        return tokenize_texts(tokenizer, texts)

    monkeypatch.setattr(segments, "tokenize_texts", recorded)
    by_segments = Segments(TRAINED)
    prompt, replies = "<|im_start|>user\nIt is<|im_end|>", ["<|im_start|>yes<|im_end|>", "<|im_start|>no<|im_end|>"]
    by_segments([prompt + reply for reply in replies])
    by_segments([prompt])
    assert asked == ["<|im_start|>", "user\nIt is", "<|im_end|>", "yes", "no"]


def metaspace() -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.BPE({"▁": 0, "a": 1, "▁a": 2}, [("▁", "a")]))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    raw.add_special_tokens(["<s>"])
    return PreTrainedTokenizerFast(tokenizer_object=raw)


def test_whole_texts_are_tokenized_where_segments_would_differ() -> None:
    first = metaspace()
    whole = tokenize_texts(first, ["a<s>a"])[0].tolist()
    assert whole != [*tokenize_texts(first, ["a"])[0], 3, *tokenize_texts(first, ["a"])[0]]  # it marks the beginning
    strip = like_gpt(lstrip=True)
    for tokenizer in (first, strip, like_gpt(normalizers.Strip())):
        assert border(tokenizer, len(tokenizer)) is None
        texts = ["a<s>a", " <|extra|> a"]
        expected = tokenize_texts(tokenizer, texts)
        assert [ids.tolist() for ids in Segments(tokenizer)(texts)] == [ids.tolist() for ids in expected]


def test_a_tokenizer_without_special_tokens_is_not_divided() -> None:
    parts = json.loads(TRAINED.backend_tokenizer.to_str()) | {"added_tokens": []}
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(parts)))
    assert border(bare, len(bare)) is None
