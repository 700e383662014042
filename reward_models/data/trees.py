"""Prompt trees: a prompt with k continuations.

A pair of responses, sixteen samples of one prompt, or a single text are the same thing: one prompt and k branches. A
decoder that runs the prompt once and lets each branch continue it computes exactly what it would compute for k separate
sequences, at a fraction of the tokens. Nothing here knows what the result is used for.

:mod:`reward_models.data.tree_batches` makes tensors of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TokenIds = np.ndarray  # int32, one dimension


@dataclass(frozen=True, slots=True, eq=False)
class PromptTree:
    """Token ids of a prompt and of the k branches that continue it. Every branch has at least one token.

    The prompt may be empty: then the branches are unrelated sequences that merely travel together.
    """

    prompt: TokenIds
    branches: tuple[TokenIds, ...]

    @classmethod
    def from_sequences(cls, sequences: Sequence[TokenIds]) -> PromptTree:
        """The tree of k whole sequences: their longest common prefix becomes the prompt.

        Taking the prefix of the *token ids* (and not of texts) means that a tree always stands for exactly the
        sequences it was made of, however the tokenizer merges across the border.
        """
        if not sequences or min(len(s) for s in sequences) == 0:
            raise ValueError("a prompt tree needs at least one sequence, and no sequence may be empty")
        arrays = [np.asarray(s, dtype=np.int32) for s in sequences]
        shared = min(len(a) for a in arrays) - 1
        first = arrays[0]
        for other in arrays[1:]:
            differs = np.flatnonzero(first[:shared] != other[:shared])
            if differs.size:
                shared = int(differs[0])
        if len(arrays) == 1:
            shared = 0
        return cls(first[:shared], tuple(a[shared:] for a in arrays))

    def split(self, budget: int) -> list[PromptTree]:
        """Trees over the same prompt, branches in order; none exceeds ``budget`` tokens unless it has one branch."""
        parts: list[list[TokenIds]] = [[]]
        total = len(self.prompt)
        for branch in self.branches:
            if parts[-1] and total + len(branch) > budget:
                parts.append([])
                total = len(self.prompt)
            parts[-1].append(branch)
            total += len(branch)
        return [PromptTree(self.prompt, tuple(part)) for part in parts]

    @property
    def sequences(self) -> list[TokenIds]:
        """The k whole sequences."""
        return [np.concatenate((self.prompt, branch)) for branch in self.branches]

    @property
    def tokens(self) -> int:
        """Tokens a model computes when the prompt is shared."""
        return len(self.prompt) + sum(len(b) for b in self.branches)

    @property
    def unshared_tokens(self) -> int:
        """Tokens of the k whole sequences."""
        return len(self.prompt) * len(self.branches) + sum(len(b) for b in self.branches)

    @property
    def longest(self) -> int:
        """Tokens of the longest whole sequence."""
        return len(self.prompt) + max(len(b) for b in self.branches)
