"""Demonstrations in files are those in memory, and are made once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from align.policy.templates import template_text
from align.sft.demonstrations import DemonstrationsConfig, conversation_file, load_conversations
from align.sft.encoding import Demonstrations, encode, prepared
from reward_models.data.chat import train_tokenizer
from reward_models.data.sources import BadRowsError

REPLY = "<think>adding</think><answer>{}</answer>"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    tokenizer = train_tokenizer(["What is 1 + 2? It is a sum of words"], 320)
    tokenizer.chat_template = template_text("r1_zero")
    return tokenizer


@pytest.fixture
def config(tmp_path: Path) -> DemonstrationsConfig:
    file = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"What is {n} + {n}?" * (1 + n % 7), "response": REPLY.format(2 * n)} for n in range(600)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DemonstrationsConfig(train=[str(file)])


def everything(data: Demonstrations) -> list[tuple[list[int], list[bool]]]:
    return [(data.ids(place).tolist(), data.learnt(place).tolist()) for place in range(len(data))]


def test_files_hold_what_is_encoded_in_memory(config: DemonstrationsConfig, tokenizer: Any) -> None:
    conversations, bad = load_conversations(config)
    limit = int(np.median(encode(conversations, tokenizer, 10_000).lengths))
    expected = encode(conversations, tokenizer, limit)
    file, source = conversation_file(config)
    found, made = prepared(file, source, tokenizer, limit)
    assert (list(file), source.facts["bad"]) == (conversations, bad)
    assert 0 < len(found) < 600
    assert everything(found) == everything(expected)
    assert (found.dropped, found.fingerprint) == (expected.dropped, expected.fingerprint)
    masks = [np.array(mask) for _, mask in everything(found)]
    assert found.learnt_tokens.tolist() == [mask.sum() for mask in masks]
    assert found.predicted_tokens.tolist() == [mask[1:].sum() for mask in masks]
    assert (source.made, made.made) == (True, True)

    again = conversation_file(config)
    assert not again[1].made
    assert not prepared(*again, tokenizer, limit)[1].made
    assert prepared(*again, tokenizer, limit + 1)[1].made  # another limit


def test_a_bad_row_is_named_and_nothing_is_kept(config: DemonstrationsConfig) -> None:
    with Path(config.train[0]).open("a") as file:
        file.write('{"prompt": "no reply"}\n')
    for _ in range(2):
        with pytest.raises(BadRowsError, match=r"rows\.jsonl:601: no reply"):
            conversation_file(config)


def test_nothing_left_is_an_error_each_time(config: DemonstrationsConfig, tokenizer: Any) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="no demonstration is left of 600: longer than 20 tokens 600"):
            prepared(*conversation_file(config), tokenizer, 20)
