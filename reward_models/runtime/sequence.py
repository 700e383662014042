"""Sequence parallelism: the ranks of a group compute the same micro-batch, each a stretch of its tokens.

Everything of a decoder but attention works token by token. Before attention the ranks exchange: for a
stretch of tokens with all heads each gets all tokens with a share of the heads, and afterwards the reverse. This is
DeepSpeed Ulysses (arXiv:2309.14509). DeepSpeed's ``UlyssesSPAttentionHF`` is not used: it wants tokens that the ranks
divide evenly, gathers the positions in every layer, and refuses some numbers of key-value heads. A test compares both.

What follows from the tokens' values (log-probabilities, scores) is put together again on every rank by
:meth:`SequenceGroup.whole`. Every rank of the group then has the same loss, and its backward pass gives the part of the
gradient that runs through its own tokens; the sum over the ranks is the gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F


@dataclass(frozen=True, slots=True, eq=False)
class SequenceGroup:
    """The ranks that share the tokens of their micro-batches.

    Attributes:
        rank, size: this rank's place in the group, and the number of its ranks.
        group: torch's process group of these ranks; ``across``: of the ranks that have the same place in theirs.
    """

    rank: int
    size: int
    group: Any
    across: Any

    def width(self, tokens: int) -> int:
        """Tokens of each rank's stretch of a row of ``tokens``, padding included."""
        return math.ceil(tokens / self.size)

    def stretch(self, values_T: torch.Tensor) -> torch.Tensor:
        """This rank's stretch of a row; the last ones are padded with zeros."""
        width = self.width(len(values_T))
        padded = F.pad(values_T, (0, width * self.size - len(values_T)))
        return padded[self.rank * width : (self.rank + 1) * width]

    def mine(self, places_N: torch.Tensor, tokens: int) -> torch.Tensor:
        """True for those of the places in a row of ``tokens`` that are in this rank's stretch, bool ``[N]``."""
        return places_N // self.width(tokens) == self.rank

    def local(self, places_N: torch.Tensor, tokens: int) -> torch.Tensor:
        """Places in this rank's stretch, of places in the row that are :meth:`mine`."""
        return places_N - self.rank * self.width(tokens)

    def whole(self, values: torch.Tensor, mine_N: torch.Tensor) -> torch.Tensor:
        """The values of all ranks, ``[N, …]``, on every rank; the gradient goes back to the rank that gave a value.

        Args:
            values: this rank's, in their order. ``mine_N``: which of the N they are; each is on exactly one rank.
        """
        gathered: torch.Tensor = _Whole.apply(values, mine_N, self.group)
        return gathered

    def heads(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, tokens: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """All ``tokens`` for this rank's share of the heads, from this rank's stretch of tokens for all heads.

        Args:
            query: ``[1, heads, width, d]``.
            key, value: ``[1, kv_heads, width, d]``; a head is repeated as often as it must be for the ranks to divide
                them.

        Returns:
            ``[1, heads / size, tokens, d]``, and key and value with the heads that belong to these.
        """
        times = self.size // math.gcd(self.size, key.shape[1])
        if times > 1:
            key, value = key.repeat_interleave(times, 1), value.repeat_interleave(times, 1)
        shares = [each.shape[1] // self.size for each in (query, key, value)]
        # [size, share of the heads, width, d]: what goes to each rank, in one exchange for all three
        parts = [each[0].unflatten(0, (self.size, -1)) for each in (query, key, value)]
        received: torch.Tensor = _Exchange.apply(torch.cat(parts, 1), self.group)
        joined = received.transpose(0, 1).flatten(1, 2)[None, :, :tokens]
        q, k, v = joined.split(shares, 1)
        return q, k, v

    def tokens(self, output: torch.Tensor) -> torch.Tensor:
        """The reverse: this rank's stretch for all heads, ``[1, heads, width, d]``.

        Args:
            output: all tokens for this rank's share of the heads, ``[1, heads / size, tokens, d]``.
        """
        width = self.width(output.shape[2])
        padded = F.pad(output[0], (0, 0, 0, width * self.size - output.shape[2]))
        received: torch.Tensor = _Exchange.apply(padded.unflatten(1, (self.size, width)).transpose(0, 1), self.group)
        return received.flatten(0, 1)[None]


class _Exchange(torch.autograd.Function):
    """Slice i of the first dimension goes to rank i; slice j of the result came from rank j. It is its own reverse."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, group: Any) -> torch.Tensor:
        ctx.group = group
        return _exchanged(values, group)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _exchanged(gradient, ctx.group), None


def _exchanged(values: torch.Tensor, group: Any) -> torch.Tensor:
    values = values.contiguous()
    received = torch.empty_like(values)
    dist.all_to_all_single(received, values, group=group)
    return received


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, mine_N: torch.Tensor, group: Any) -> torch.Tensor:
        ctx.save_for_backward(mine_N)
        # of truths the sum is taken as of numbers; 0 + x is x
        kept = values.new_zeros((len(mine_N), *values.shape[1:]), dtype=_summed(values.dtype))
        kept[mine_N] = values.to(kept.dtype)
        dist.all_reduce(kept, group=group)
        whole = kept.to(values.dtype)
        if not values.is_floating_point():
            ctx.mark_non_differentiable(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (mine_N,) = ctx.saved_tensors
        return gradient[mine_N], None, None


def _summed(dtype: torch.dtype) -> torch.dtype:
    return torch.uint8 if dtype == torch.bool else dtype
