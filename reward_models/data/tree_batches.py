"""Batches of prompt trees as tensors: packed into one row, or padded, one sequence per row.

Shapes: ``T`` tokens of a packed batch, ``N`` sequences (branches of all trees, in order), ``L`` longest sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from reward_models.data.trees import PromptTree, TokenIds


@dataclass(frozen=True, slots=True)
class Path:
    """Position of one branch in a packed batch: its queries, and the part of the prompt that they continue.

    The first branch of a tree owns the prompt's queries too (``prefix`` = 0): prompt and first branch are one causal
    sequence. ``past`` tokens come before the prompt, from ``past_start`` on in :class:`Past`.
    """

    start: int
    length: int
    prefix_start: int
    prefix: int
    past: int = 0
    past_start: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """Keys and values of the tokens before each tree's prompt, which an earlier forward pass computed.

    Attributes:
        layers: ``[layers, 2, kv_heads, P, d]``, keys before values, the tokens of all trees one after the other.
        lengths: tokens of each tree, 0 for none; their sum is ``P``.
    """

    layers: torch.Tensor
    lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TreeBatch:
    """Trees packed one after the other into a single row, without padding.

    Attributes:
        input_ids_T, position_ids_T: positions count along each path, so every branch restarts at the prompt's end.
        tree_T, branch_T: which tree a token belongs to, and which branch (0 is the prompt). They define the attention:
            a token sees the tokens of its own tree that come before it in the prompt or in its own branch.
        last_N: index of each sequence's last token.
        paths: the same structure as stretches, for kernels that work path by path.
        masks: filled by kernels that want to build a mask once for all layers.
        past: the tokens before the trees, which every token of their tree sees; none of them is in the row.
    """

    input_ids_T: torch.Tensor
    position_ids_T: torch.Tensor
    tree_T: torch.Tensor
    branch_T: torch.Tensor
    last_N: torch.Tensor
    paths: tuple[Path, ...]
    masks: dict[object, object] = field(default_factory=dict)
    past: Past | None = None

    @property
    def tokens(self) -> int:
        return int(self.input_ids_T.numel())

    def to(self, device: torch.device | str) -> TreeBatch:
        return TreeBatch(
            self.input_ids_T.to(device, non_blocking=True),
            self.position_ids_T.to(device, non_blocking=True),
            self.tree_T.to(device, non_blocking=True),
            self.branch_T.to(device, non_blocking=True),
            self.last_N.to(device, non_blocking=True),
            self.paths,
            past=self.past and Past(self.past.layers.to(device, non_blocking=True), self.past.lengths),
        )


@dataclass(frozen=True, slots=True, eq=False)
class PaddedBatch:
    """The same sequences one per row, for models that cannot run trees.

    Attributes:
        input_ids_NL, attention_mask_NL: 1 marks real tokens; padding is on the right.
        last_N: column of each row's last real token.
    """

    input_ids_NL: torch.Tensor
    attention_mask_NL: torch.Tensor
    last_N: torch.Tensor

    @property
    def tokens(self) -> int:
        return int(self.input_ids_NL.numel())

    def to(self, device: torch.device | str) -> PaddedBatch:
        return PaddedBatch(
            self.input_ids_NL.to(device, non_blocking=True),
            self.attention_mask_NL.to(device, non_blocking=True),
            self.last_N.to(device, non_blocking=True),
        )


Batch = TreeBatch | PaddedBatch


def pack(trees: Iterable[PromptTree], past: Past | None = None) -> TreeBatch:
    """Pack trees into one row.

    Args:
        past: of what comes before each of the trees.
    """
    ids: list[TokenIds] = []
    positions: list[np.ndarray] = []
    tree_ids: list[np.ndarray] = []
    branch_ids: list[np.ndarray] = []
    last: list[int] = []
    paths: list[Path] = []
    at = past_start = 0
    for number, tree in enumerate(trees):
        prompt_start, prompt_length = at, len(tree.prompt)
        before = past.lengths[number] if past else 0
        ids.append(tree.prompt)
        positions.append(np.arange(before, before + prompt_length))
        branch_ids.append(np.zeros(prompt_length))
        at += prompt_length
        for index, branch in enumerate(tree.branches):
            ids.append(branch)
            positions.append(before + np.arange(prompt_length, prompt_length + len(branch)))
            branch_ids.append(np.full(len(branch), index + 1))
            if index == 0:
                paths.append(Path(prompt_start, prompt_length + len(branch), prompt_start, 0, before, past_start))
            else:
                paths.append(Path(at, len(branch), prompt_start, prompt_length, before, past_start))
            at += len(branch)
            last.append(at - 1)
        tree_ids.append(np.full(at - prompt_start, number))
        past_start += before
    if not last:
        raise ValueError("a batch needs at least one tree")
    return TreeBatch(
        torch.from_numpy(np.concatenate(ids).astype(np.int64)),
        torch.from_numpy(np.concatenate(positions).astype(np.int64)),
        torch.from_numpy(np.concatenate(tree_ids).astype(np.int32)),
        torch.from_numpy(np.concatenate(branch_ids).astype(np.int32)),
        torch.tensor(last),
        tuple(paths),
        past=past,
    )


def pad(trees: Iterable[PromptTree], pad_token_id: int) -> PaddedBatch:
    """The trees' whole sequences, one per row, padded on the right."""
    sequences = [sequence for tree in trees for sequence in tree.sequences]
    if not sequences:
        raise ValueError("a batch needs at least one tree")
    longest = max(len(s) for s in sequences)
    ids = np.full((len(sequences), longest), pad_token_id, dtype=np.int64)
    mask = np.zeros((len(sequences), longest), dtype=np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return PaddedBatch(
        torch.from_numpy(ids),
        torch.from_numpy(mask),
        torch.tensor([len(s) - 1 for s in sequences]),
    )
