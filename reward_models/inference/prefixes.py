"""Keys and values of token prefixes, kept from one forward pass to the next within a bound of memory.

A prefix is kept in blocks of :data:`BLOCK` tokens. The key of a block is a digest of its tokens and of all tokens
before it, so a block is found only behind the very prefix that it was computed behind (the scheme of vLLM's prefix
caching, https://docs.vllm.ai/en/latest/design/prefix_caching.html). The digest is a cryptographic one: clients cannot
make two prefixes that collide. The blocks that were used least recently make room for new ones.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from reward_models.backbone.tree_attention import Keep
from reward_models.data.tree_batches import Past
from reward_models.data.trees import PromptTree, TokenIds

BLOCK = 32  # tokens
DIGEST_BYTES = 16


class PrefixCache:
    """The kept prefixes of one model. Not safe to use from several threads at once.

    Of a tree with several branches the prompt is kept. A single sequence is kept as a whole, since nothing tells where
    its prompt ends; the blocks at its end are the first to go.

    Args:
        config: of the decoder.
        max_bytes: bound of the memory of all keys and values.

    Attributes:
        reused, computed: tokens read from here instead of being computed, and tokens computed, since the beginning.

    Raises:
        ValueError: ``max_bytes`` does not hold one block.
    """

    def __init__(self, config: Any, max_bytes: int, *, dtype: torch.dtype, device: torch.device) -> None:
        heads = config.num_attention_heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        shape = (config.num_hidden_layers, 2, kv_heads, BLOCK, size)
        self.block_bytes = math.prod(shape) * dtype.itemsize
        self.capacity = max_bytes // self.block_bytes
        if self.capacity < 1:
            raise ValueError(
                f"{max_bytes} bytes do not hold {BLOCK} tokens of this model, which take {self.block_bytes}: "
                "give prefix_bytes more, or 0 to keep no prefixes"
            )
        self.reused = self.computed = 0
        self._pool = torch.empty((self.capacity, *shape), dtype=dtype, device=device)
        self._free = list(range(self.capacity))
        self._blocks: OrderedDict[bytes, int] = OrderedDict()  # least recently used first

    @property
    def used_bytes(self) -> int:
        """Memory of the blocks in use."""
        return len(self._blocks) * self.block_bytes

    @contextmanager
    def reading(self, trees: Sequence[PromptTree]) -> Iterator[tuple[list[PromptTree], Past | None, Keep | None]]:
        """One forward pass over trees: what is left of them, what comes before, and the function to show layers to.

        The new blocks are kept if the block ends without an exception.
        """
        chains = [_chain(tree.prompt if len(tree.branches) > 1 else tree.sequences[0][:-1]) for tree in trees]
        known = [self._known(chain) for chain in chains]
        rest = [_without(tree, BLOCK * blocks) for tree, blocks in zip(trees, known, strict=True)]
        past = self._past(chains, known)
        self._touch(chains)
        places = self._new(chains, known, rest)
        blocks = self._reserve(len(places), chains)
        try:
            yield rest, past, self._keeper(blocks, list(places.values())[: len(blocks)])
        except BaseException:
            self._free += blocks
            raise
        self._blocks.update(zip(places, blocks, strict=False))
        self._touch(chains)
        self.reused += BLOCK * sum(known)
        self.computed += sum(tree.tokens for tree in rest)

    def _known(self, chain: Sequence[bytes]) -> int:
        """Number of blocks at the beginning of a chain that are kept."""
        return next((depth for depth, digest in enumerate(chain) if digest not in self._blocks), len(chain))

    def _past(self, chains: Sequence[Sequence[bytes]], known: Sequence[int]) -> Past | None:
        if not any(known):
            return None
        numbers = [self._blocks[d] for chain, blocks in zip(chains, known, strict=True) for d in chain[:blocks]]
        found = self._pool[torch.tensor(numbers, device=self._pool.device)]
        # [blocks, layers, 2, kv_heads, BLOCK, d] to [layers, 2, kv_heads, P, d]
        return Past(found.permute(1, 2, 3, 0, 4, 5).flatten(3, 4), tuple(BLOCK * blocks for blocks in known))

    def _touch(self, chains: Sequence[Sequence[bytes]]) -> None:
        """The first blocks last: a block is of no use without those before it."""
        for chain in chains:
            for digest in reversed(chain):
                if digest in self._blocks:
                    self._blocks.move_to_end(digest)

    def _new(
        self, chains: Sequence[Sequence[bytes]], known: Sequence[int], rest: Sequence[PromptTree]
    ) -> dict[bytes, int]:
        """The blocks that are not kept yet, each with its first index in the packed row of ``rest``."""
        places: dict[bytes, int] = {}
        start = 0
        for chain, blocks, tree in zip(chains, known, rest, strict=True):
            # prompt and first branch stand one after the other
            for number, digest in enumerate(chain[blocks:]):
                if digest not in self._blocks:
                    places.setdefault(digest, start + BLOCK * number)
            start += tree.tokens
        return places

    def _reserve(self, wanted: int, chains: Sequence[Sequence[bytes]]) -> list[int]:
        """At most so many blocks, none of which a chain uses; the least recently used ones are given up for them."""
        held = len({digest for chain in chains for digest in chain if digest in self._blocks})
        wanted = min(wanted, self.capacity - held)
        while len(self._free) < wanted:
            self._free.append(self._blocks.popitem(last=False)[1])
        return [self._free.pop() for _ in range(wanted)]

    def _keeper(self, blocks: Sequence[int], starts: Sequence[int]) -> Keep | None:
        if not blocks:
            return None
        device = self._pool.device
        into = torch.tensor(blocks, device=device)
        rows = (torch.tensor(starts, device=device)[:, None] + torch.arange(BLOCK, device=device)).flatten()

        def keep(layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
            for which, tensor in enumerate((key, value)):
                self._pool[into, layer, which] = tensor[0][:, rows].unflatten(1, (-1, BLOCK)).transpose(0, 1)

        return keep


def _chain(ids: TokenIds) -> list[bytes]:
    """The digest of each whole block of a sequence and everything before it."""
    content = np.ascontiguousarray(ids, dtype=np.int32)
    digests, before = [], b""
    for start in range(0, len(content) - BLOCK + 1, BLOCK):
        block = content[start : start + BLOCK].tobytes()
        before = hashlib.blake2b(before + block, digest_size=DIGEST_BYTES).digest()
        digests.append(before)
    return digests


def _without(tree: PromptTree, tokens: int) -> PromptTree:
    """The tree behind its first ``tokens`` tokens, which are of its prompt, or of its only branch."""
    cut = min(tokens, len(tree.prompt))
    if cut == tokens:
        return PromptTree(tree.prompt[cut:], tree.branches)
    return PromptTree(tree.prompt[cut:], (tree.branches[0][tokens - cut :],))
