from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reward_models.data.tree_batches import Path, pack, pad
from reward_models.data.trees import PromptTree

# Two letters only, so that long common prefixes are usual.
sequence = st.lists(st.integers(1, 2), min_size=1, max_size=8).map(lambda ids: np.array(ids, np.int32))
forests = st.lists(st.lists(sequence, min_size=1, max_size=5).map(PromptTree.from_sequences), min_size=1, max_size=4)


def tree(prompt: list[int], *branches: list[int]) -> PromptTree:
    return PromptTree(np.array(prompt, np.int32), tuple(np.array(b, np.int32) for b in branches))


def test_the_common_beginning_becomes_the_prompt() -> None:
    made = PromptTree.from_sequences([np.array(s) for s in ([7, 8, 9, 1], [7, 8, 5], [7, 8, 9, 2, 3])])
    assert made.prompt.tolist() == [7, 8]
    assert [b.tolist() for b in made.branches] == [[9, 1], [5], [9, 2, 3]]
    assert (made.tokens, made.unshared_tokens, made.longest) == (8, 12, 5)


def test_a_sequence_that_begins_another_keeps_its_last_token_as_branch() -> None:
    made = PromptTree.from_sequences([np.array([4, 5, 6]), np.array([4, 5, 6, 7])])
    assert made.prompt.tolist() == [4, 5]
    assert [b.tolist() for b in made.branches] == [[6], [6, 7]]


def test_a_single_sequence_shares_nothing() -> None:
    made = PromptTree.from_sequences([np.array([4, 5, 6])])
    assert made.prompt.tolist() == []
    assert made.branches[0].tolist() == [4, 5, 6]


@given(st.lists(sequence, min_size=1, max_size=6))
def test_a_tree_stands_for_exactly_the_sequences_it_was_made_of(sequences: list[np.ndarray]) -> None:
    made = PromptTree.from_sequences(sequences)
    assert [s.tolist() for s in made.sequences] == [s.tolist() for s in sequences]
    assert all(len(b) >= 1 for b in made.branches)
    assert made.unshared_tokens == sum(len(s) for s in sequences)
    assert made.longest == max(len(s) for s in sequences)
    assert made.tokens == made.unshared_tokens - (len(sequences) - 1) * len(made.prompt)
    if len(sequences) > 1:  # nothing more could be shared
        assert min(len(b) for b in made.branches) == 1 or len({int(b[0]) for b in made.branches}) > 1


@given(forests)
def test_pack_holds_every_token_once_and_every_path_spells_its_sequence(trees: list[PromptTree]) -> None:
    batch = pack(trees)
    assert batch.tokens == sum(t.tokens for t in trees)
    at, rebuilt = 0, []
    for path in batch.paths:
        assert path.start == at  # the queries of the paths tile the batch
        at += path.length
        own = batch.input_ids_T[path.start : path.start + path.length]
        prefix = batch.input_ids_T[path.prefix_start : path.prefix_start + path.prefix]
        rebuilt.append(torch.cat((prefix, own)).tolist())
    assert at == batch.tokens
    assert rebuilt == [s.tolist() for t in trees for s in t.sequences]
    assert batch.last_N.tolist() == [p.start + p.length - 1 for p in batch.paths]


@given(forests)
def test_pack_marks_tree_branch_and_position_of_every_token(trees: list[PromptTree]) -> None:
    batch, expected = pack(trees), []
    for number, one in enumerate(trees):
        expected += [(number, 0, place) for place in range(len(one.prompt))]
        for index, branch in enumerate(one.branches):
            expected += [(number, index + 1, len(one.prompt) + place) for place in range(len(branch))]
    columns = (batch.tree_T, batch.branch_T, batch.position_ids_T)
    assert list(zip(*(c.tolist() for c in columns), strict=True)) == expected


def test_a_packed_pair_looks_like_this() -> None:
    batch = pack([tree([7, 8], [1, 2, 3], [4]), tree([], [5], [6, 9])])
    assert batch.input_ids_T.tolist() == [7, 8, 1, 2, 3, 4, 5, 6, 9]
    assert batch.position_ids_T.tolist() == [0, 1, 2, 3, 4, 2, 0, 0, 1]
    assert batch.tree_T.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1]
    assert batch.branch_T.tolist() == [0, 0, 1, 1, 1, 2, 1, 2, 2]
    assert batch.last_N.tolist() == [4, 5, 6, 8]
    assert batch.paths == (Path(0, 5, 0, 0), Path(5, 1, 0, 2), Path(6, 1, 6, 0), Path(7, 2, 6, 0))


@given(forests)
def test_pad_puts_one_sequence_per_row_and_padding_on_the_right(trees: list[PromptTree]) -> None:
    batch = pad(trees, 0)
    sequences = [s.tolist() for t in trees for s in t.sequences]
    assert batch.input_ids_NL.shape == (len(sequences), max(map(len, sequences)))
    assert batch.last_N.tolist() == [len(s) - 1 for s in sequences]
    for ids, mask, expected in zip(batch.input_ids_NL, batch.attention_mask_NL, sequences, strict=True):
        assert ids[: len(expected)].tolist() == expected
        assert ids[len(expected) :].tolist() == [0] * (len(ids) - len(expected))
        assert mask.tolist() == [1] * len(expected) + [0] * (len(ids) - len(expected))


def test_moving_a_batch_keeps_what_it_says_but_not_the_masks_of_the_old_device() -> None:
    batch = pack([tree([7, 8], [1], [2])])
    batch.masks["built"] = object()
    moved = batch.to("cpu")
    assert moved.masks == {}
    assert moved.paths == batch.paths
    for name in ("input_ids_T", "position_ids_T", "tree_T", "branch_T", "last_N"):
        assert getattr(moved, name).tolist() == getattr(batch, name).tolist()
    padded = pad([tree([7], [1], [2, 3])], 0)
    again = padded.to("cpu")
    for name in ("input_ids_NL", "attention_mask_NL", "last_N"):
        assert getattr(again, name).tolist() == getattr(padded, name).tolist()


@pytest.mark.parametrize("sequences", [[], [np.array([1]), np.array([], np.int32)]])
def test_trees_without_tokens_are_refused(sequences: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="at least one sequence, and no sequence may be empty"):
        PromptTree.from_sequences(sequences)


def test_batches_without_trees_are_refused() -> None:
    for build in (lambda: pack([]), lambda: pad([], 0)):
        with pytest.raises(ValueError, match="at least one tree"):
            build()
