"""Tokenized sets in files: what was tokenized in memory, by one process or by several."""

from __future__ import annotations

import hashlib
import operator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reward_models.data import segments, workers
from reward_models.data.chat import ChatRenderer, tokenize_texts, tokenizer_digest, train_tokenizer
from reward_models.data.encode import Rules, tokenize_batch
from reward_models.data.new_tokenizer import new_tokenizer
from reward_models.data.record_files import BATCH, RecordFile, RecordWriter
from reward_models.data.records import Comparison, Message, Rated, SafetyLabel
from reward_models.data.synthetic import draws
from reward_models.data.token_sets import TokenizedSet, open_set, tokenize_records, write_set
from reward_models.data.workers import in_order

ROWS = 2 * BATCH + 100
RULES = {"max_length": 56, "ties": False, "same": False}


@pytest.fixture(scope="module")
def comparisons() -> list[Any]:
    return list(draws.records("helpful", "train"))[:ROWS]


@pytest.fixture(scope="module")
def renderer(comparisons: list[Any]) -> ChatRenderer:
    return ChatRenderer(train_tokenizer([r.prompt[0].content for r in comparisons], 400), "full")


def on_disk(records: list[Any], renderer: ChatRenderer, path: Path, **rules: Any) -> TokenizedSet:
    with RecordWriter[Any](path / "records.arrow") as writer:
        for record in records:
            writer.add(record)
    facts = write_set(RecordFile[Any](path / "records.arrow"), renderer, Rules(**rules), path, "x")
    return open_set(path, "x", facts)


def equal(a: TokenizedSet, b: TokenizedSet) -> bool:
    columns = ("starts", "lengths", "tree_tokens", "unshared_tokens", "label", "strength", "ratings", "source")
    facts = ("sources", "truncated", "dropped", "fingerprint")
    return (
        all(np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True) for name in columns)
        and all(getattr(a, name) == getattr(b, name) for name in facts)
        and a.ids[:] == b.ids[:]
        and all(
            np.array_equal(x, y)
            for item in range(len(a))
            for x, y in zip(a.tree(item).sequences, b.tree(item).sequences, strict=True)
        )
    )


def test_a_set_on_disk_is_the_set_in_memory(comparisons: list[Any], renderer: ChatRenderer, tmp_path: Path) -> None:
    found = on_disk(comparisons, renderer, tmp_path, **RULES)
    expected = tokenize_records(comparisons, renderer, **RULES)
    assert found.truncated > 0
    assert found.dropped["tie"] > 0
    assert len(found) > BATCH  # several pieces
    assert equal(found, expected)
    assert not found.tree(0).prompt.flags.writeable


def test_rated_responses_and_an_empty_set(renderer: ChatRenderer, tmp_path: Path) -> None:
    reply = (Message("assistant", "yes"),)
    rows = [
        Rated(prompt=(Message("user", "is it"),), response=reply, ratings=(4.0, None, 1.0, None, float(n)), id=str(n))
        for n in range(3)
    ]
    found = on_disk(rows, renderer, tmp_path, max_length=None)
    assert np.array_equal(found.ratings[1], [4.0, np.nan, 1.0, np.nan, 1.0], equal_nan=True)
    assert (found.branches, len(found.ids), found.ids[2]) == (1, 3, "2")
    (tmp_path / "none").mkdir()
    nothing = on_disk([], renderer, tmp_path / "none", max_length=None)
    assert (len(nothing), len(nothing.ids), nothing.ratings.shape) == (0, 0, (0, 0))
    assert equal(nothing, tokenize_records([], renderer, None))


def test_the_fingerprint_is_that_of_earlier_versions(comparisons: list[Any], renderer: ChatRenderer) -> None:
    """Their checkpoints hold it: the hash of all tokens, then of each item's borders, labels, strengths, ratings."""
    data = tokenize_records(comparisons, renderer, None)
    trees = [data.tree(item) for item in range(len(data))]
    parts = [part for tree in trees for part in (tree.prompt, *tree.branches)]
    hashed = hashlib.sha256(np.concatenate(parts).astype(np.int32).tobytes())
    end = 0
    for tree in trees:
        borders = end + np.cumsum([0, len(tree.prompt), *map(len, tree.branches)])
        hashed.update(borders.astype(np.int64).tobytes())
        end = int(borders[-1])
    for array in (data.label, data.strength, np.zeros((len(data), 0))):
        hashed.update(array.astype(np.float64).tobytes())
    assert data.fingerprint == hashed.hexdigest()[:16]


def test_several_processes_make_what_one_makes(
    comparisons: list[Any], renderer: ChatRenderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = on_disk(comparisons, renderer, tmp_path, **RULES)
    monkeypatch.setattr(workers, "BATCHES_PER_PROCESS", 1)
    monkeypatch.setattr(workers, "cores", lambda: 2)
    (tmp_path / "several").mkdir()
    assert equal(on_disk(comparisons, renderer, tmp_path / "several", **RULES), alone)


def test_results_of_processes_are_in_order_and_their_errors_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    squares = partial(operator.getitem, tuple(number**2 for number in range(30)))
    assert list(in_order(squares, 5)) == [0, 1, 4, 9, 16]
    monkeypatch.setattr(workers, "BATCHES_PER_PROCESS", 1)
    monkeypatch.setattr(workers, "cores", lambda: 2)
    results = in_order(squares, 40)
    assert [next(results) for _ in range(30)] == [number**2 for number in range(30)]
    with pytest.raises(IndexError):
        next(results)


def test_records_that_are_too_long_are_tokenized_together(
    renderer: ChatRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many calls of the tokenizer as one record needs, and not so many for each."""
    record = SafetyLabel(
        prompt=(Message("user", "a long question " * 40),), response=(Message("assistant", "no"),), label="safe"
    )
    calls: list[int] = []

    def counted(tokenizer: Any, texts: list[str]) -> list[np.ndarray]:
        calls.append(len(texts))
        return tokenize_texts(tokenizer, texts)

    monkeypatch.setattr(segments, "tokenize_texts", counted)
    monkeypatch.setattr(segments, "border", lambda *_: None)  # whole texts
    batch = tokenize_batch([record] * 50, renderer, Rules(max_length=60))
    assert batch.truncated == 50
    assert (batch.lengths.sum(1) <= 60).all()
    assert set(calls) == {50}
    assert len(calls) <= 5
    starts = [0, *np.cumsum(batch.lengths.sum(1)).tolist()]
    assert len({batch.tokens[a:b].tobytes() for a, b in pairwise(starts)}) == 1


def test_a_tokenizer_is_known_by_what_it_does(renderer: ChatRenderer) -> None:
    first = tokenizer_digest(renderer.tokenizer)
    assert tokenizer_digest(renderer.tokenizer) == first
    other = train_tokenizer(["other words"] * 9, 300)
    assert tokenizer_digest(other) != first
    digest = tokenizer_digest(other)
    other.chat_template = "{{ messages[0]['content'] }}"  # the template has a place of its own in the key
    assert tokenizer_digest(other) == digest
    other.add_tokens(["<new>"])
    assert tokenizer_digest(other) != digest


def test_a_refused_conversation_that_is_too_long_is_named(renderer: ChatRenderer) -> None:
    """A template may take the whole conversation, and not what is left of it."""
    template = "{% if messages|length < 3 %}{{ raise_exception('too few') }}{% endif %}" + str(
        renderer.tokenizer.chat_template
    )
    tokenizer = train_tokenizer(["some words of a tokenizer"], 300)
    turns = tuple(Message("user" if n % 2 == 0 else "assistant", "word " * 30) for n in range(5))
    record = Comparison(
        prompt=turns,
        response_a=(Message("assistant", "one"),),
        response_b=(Message("assistant", "two"),),
        label="a",
        id="rows:9",
    )
    renderer = ChatRenderer(tokenizer, "full")
    renderer.tokenizer.chat_template = template
    with pytest.raises(ValueError, match=r"rows:9: .*too few"):
        tokenize_records([record], renderer, 60)


def test_a_new_tokenizer_is_trained_once_and_kept_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_CACHE", str(tmp_path))
    texts = ["some words of a text, 12 of them"] * 9
    trained = train_tokenizer(texts, 320)
    for given in (texts, []):  # the second time they are not read
        kept = new_tokenizer(given, 320, "x")
        assert tokenizer_digest(kept) == tokenizer_digest(trained)
        assert kept.chat_template == trained.chat_template
    assert len(new_tokenizer(texts, 270, "x")) < len(trained)
