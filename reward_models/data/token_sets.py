"""Tokenized data sets: prompt trees with labels, in memory-mapped files or, for a few records, in memory."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from reward_models.data.chat import ChatRenderer
from reward_models.data.columns import Flat, FlatWriter, ItemColumns, Items, hash_arrays
from reward_models.data.encode import Overlong, Rules, TokenBatch, tokenize_batch
from reward_models.data.record_files import BATCH, RecordFile
from reward_models.data.records import Comparison, SafetyLabel
from reward_models.data.trees import PromptTree
from reward_models.data.workers import in_order

_HASHED = 2**16  # items whose borders are hashed at once


@dataclass(frozen=True, slots=True, eq=False)
class TokenizedSet:
    """A tokenized data set; item ``i`` is a tree with one branch (safety) or two (comparison: chosen, rejected).

    Attributes:
        tokens: all token ids. ``starts[i]`` is the place of item i's first.
        lengths: ``[n, 1 + branches]``: tokens of the prompt and of each branch.
        tree_tokens: per item with the prompt shared; ``unshared_tokens``: with every sequence computed on its own.
        label, strength, ratings, weight: as in :class:`~reward_models.data.encode.TokenBatch`.
        source: index into ``sources``.
        ids: the records' ids, for messages and for keeping a bad batch.
        truncated: conversations whose oldest part was cut to fit; ``dropped``: reason → how many were left out.
        fingerprint: of tokens, borders, labels, strengths, ratings and weights.
    """

    tokens: Flat
    starts: np.ndarray
    lengths: np.ndarray
    tree_tokens: np.ndarray
    unshared_tokens: np.ndarray
    label: np.ndarray
    strength: np.ndarray
    ratings: np.ndarray
    weight: np.ndarray
    source: np.ndarray
    sources: tuple[str, ...]
    ids: Sequence[str]
    truncated: int
    dropped: dict[str, int]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.label)

    def tree(self, item: int) -> PromptTree:
        start, ends = int(self.starts[item]), np.cumsum(self.lengths[item]).tolist()
        whole = self.tokens["token", start, start + ends[-1]]
        return PromptTree(whole[: ends[0]], tuple(whole[a:b] for a, b in pairwise(ends)))

    @property
    def branches(self) -> int:
        """Sequences of each item."""
        return max(self.lengths.shape[1] - 1, 0)

    def branch_lengths(self, items: Sequence[int]) -> np.ndarray:
        """``[len(items), branches]``: the length of each whole sequence."""
        lengths = self.lengths[list(items)]
        return lengths[:, :1] + lengths[:, 1:]


class TokenWriter:
    """Writes a tokenized set batch by batch, into a directory or into memory."""

    def __init__(self, path: Path | None = None, name: str = "") -> None:
        self._path, self._name = path, name
        self._flat = FlatWriter(_file(path, name, "tokens"), {"token": np.int32})
        self._items = ItemColumns()
        self._names: dict[str, int] = {}
        self._state = hashlib.sha256()
        self._dropped: Counter[str] = Counter()
        self._truncated = 0

    def add(self, batch: TokenBatch) -> None:
        self._flat.add({"token": batch.tokens})
        hash_arrays(self._state, batch.tokens)
        source = np.array([self._names.setdefault(s, len(self._names)) for s in batch.sources], dtype=np.int64)
        arrays = {"lengths": batch.lengths, "label": batch.label, "strength": batch.strength, "source": source}
        if batch.ratings.size:
            arrays["ratings"] = batch.ratings
        if batch.weight.size:
            arrays["weight"] = batch.weight
        self._items.add(arrays, {"ids": batch.ids})
        self._truncated += batch.truncated
        self._dropped.update(batch.dropped)

    def close(self) -> tuple[dict[str, Any], TokenizedSet]:
        """The facts that :func:`open_set` needs beside the files, and the set."""
        lengths = self._items.array("lengths").astype(np.int32)
        lengths = lengths.reshape(len(lengths), -1 if len(lengths) else 0)
        total = lengths.sum(1, dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(total)])[:-1].astype(np.int64)
        # The order of hashing is that of earlier versions, whose checkpoints hold this hash.
        for at in range(0, len(lengths), _HASHED):
            part = lengths[at : at + _HASHED].astype(np.int64)
            ends = starts[at : at + _HASHED, None] + np.cumsum(part, axis=1)
            hash_arrays(self._state, np.concatenate([starts[at : at + _HASHED, None], ends], axis=1))
        hash_arrays(self._state, *(self._items.array(name) for name in ("label", "strength", "ratings")))
        weight = self._items.array("weight")
        if (weight != 1).any():  # without any, the hash is that of versions that knew no weights
            hash_arrays(self._state, weight)
        names = sorted(self._names)
        places = np.array([names.index(name) for name in self._names], dtype=np.int64)
        source = places[self._items.array("source").astype(np.int64)] if names else np.zeros(0, np.int64)
        prompt, branches = (lengths[:, 0], lengths.shape[1] - 1) if len(lengths) else (total, 0)
        more = {
            "starts": starts,
            "tree_tokens": total,
            "unshared_tokens": total + (branches - 1) * prompt,
            "source": source,
        }
        facts = {
            "sources": names,
            "truncated": self._truncated,
            "dropped": dict(self._dropped),
            "fingerprint": self._state.hexdigest()[:16],
        }
        tokens = self._flat.close()
        items = self._items.write(_file(self._path, self._name, "items"), more)
        if self._path is not None:
            return facts, open_set(self._path, self._name, facts)
        return facts, _of(Flat(tokens), Items(items), facts)


def open_set(path: Path, name: str, facts: dict[str, Any]) -> TokenizedSet:
    """The set that a :class:`TokenWriter` wrote into a directory."""
    files = [_file(path, name, part) for part in ("tokens", "items")]
    return _of(Flat(files[0]), Items(files[1]), facts)  # type: ignore[arg-type]


def _file(path: Path | None, name: str, part: str) -> Path | None:
    return None if path is None else path / f"{name}.{part}.arrow"


def _of(tokens: Flat, items: Items, facts: dict[str, Any]) -> TokenizedSet:
    count = len(items.array("starts"))
    columns = {name: items.array(name) for name in ("starts", "tree_tokens", "unshared_tokens", "source")}
    for name in ("label", "strength"):
        columns[name] = items.array(name) if name in items else np.zeros(0)
    columns["weight"] = items.array("weight") if "weight" in items else np.ones(count)
    for name in ("lengths", "ratings"):
        columns[name] = items.array(name) if name in items else np.zeros((count, 0), np.int32)
    return TokenizedSet(
        tokens=tokens,
        sources=tuple(facts["sources"]),
        ids=items.texts("ids"),
        truncated=facts["truncated"],
        dropped=facts["dropped"],
        fingerprint=facts["fingerprint"],
        **columns,
    )


def write_set(
    records: RecordFile[Comparison | SafetyLabel], renderer: ChatRenderer, rules: Rules, path: Path, name: str
) -> dict[str, Any]:
    """Tokenize the records of a file into a directory, by several processes where there are many; see :func:`open_set`.

    Returns the set's facts.
    """
    writer = TokenWriter(path, name)
    for batch in in_order(_BatchOf(records, renderer, rules), records.batches):
        writer.add(batch)
    return writer.close()[0]


@dataclass(frozen=True, slots=True)
class _BatchOf:
    """Number of a batch → its tokens."""

    records: RecordFile[Comparison | SafetyLabel]
    renderer: ChatRenderer
    rules: Rules

    def __call__(self, number: int) -> TokenBatch:
        return tokenize_batch(self.records.batch(number), self.renderer, self.rules)


def tokenize_records(
    records: Iterable[Comparison | SafetyLabel],
    renderer: ChatRenderer,
    max_length: int | None,
    ties: bool = True,
    overlong: Overlong = "drop",
    same: bool = True,
) -> TokenizedSet:
    """Records as a set in memory; the arguments are those of :class:`~reward_models.data.encode.Rules`."""
    rules = Rules(max_length=max_length, ties=ties, overlong=overlong, same=same)
    writer = TokenWriter()
    for batch in _batches(records):
        writer.add(tokenize_batch(batch, renderer, rules))
    return writer.close()[1]


def _batches(records: Iterable[Comparison | SafetyLabel]) -> Iterator[list[Comparison | SafetyLabel]]:
    iterator = iter(records)
    while batch := list(islice(iterator, BATCH)):
        yield batch
