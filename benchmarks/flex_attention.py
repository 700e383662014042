"""Tree attention by the compiled FlexAttention kernel of GPUs, against the same attention path by path.

    python benchmarks/flex_attention.py --device cuda --dtype bf16 --out benchmarks/results/flex_attention_gpu.json

A training step has a new shape every time. So the batches differ in their number of tokens, trees and branches: the
first one compiles forward and backward, the following ones show what a new shape costs, and the repeats of all of them
what a known one does. ``ratio`` is the seconds path by path over those of the kernel, forward and backward, median over
the repeats. On a CPU the kernel runs uncompiled and without its backward pass, which only shows that this script works.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from harness import clock, environment, in_turn, median_ratio, parser, settings, write

from reward_models.backbone import tree_attention
from reward_models.data.tree_batches import TreeBatch, pack
from reward_models.data.trees import PromptTree

Kernel = Callable[..., torch.Tensor]


def forest(rng: np.random.Generator, tokens: int) -> TreeBatch:
    """Trees of 1, 2, 4 or 16 branches until the batch has about so many tokens."""
    trees: list[PromptTree] = []
    while (left := tokens - sum(tree.tokens for tree in trees)) > 64:
        branches = int(rng.choice([1, 2, 4, 16]))
        prompt = int(min(left // 2, rng.integers(tokens // 32 + 1, tokens // 8 + 2)))
        longest = max(2, min((left - prompt) // branches, tokens // 16))
        lengths = rng.integers(1, longest + 1, branches)
        trees.append(PromptTree(np.zeros(prompt, np.int32), tuple(np.zeros(n, np.int32) for n in lengths)))
    return pack(trees)


def once(kernel: Kernel, batch: TreeBatch, arguments: Any) -> float:
    """Seconds of attention, forward and on a GPU backward, masks included."""
    learns = arguments.device == "cuda"  # on a CPU FlexAttention has no backward pass
    dtype = torch.bfloat16 if arguments.dtype == "bf16" else torch.float32
    heads = (arguments.heads, arguments.kv_heads, arguments.kv_heads)
    query, key, value = (
        torch.randn(1, n, batch.tokens, arguments.head_dim, device=arguments.device, dtype=dtype, requires_grad=learns)
        for n in heads
    )
    fresh = batch.to(arguments.device)  # without the masks of the pass before
    began = clock(arguments.device)
    total = kernel(query, key, value, fresh, None, None).sum()
    if learns:
        total.backward()
    return clock(arguments.device) - began


def largest_difference(batch: TreeBatch, arguments: Any) -> float:
    """Between the outputs of the two kernels, in fp32, relative to the largest output."""
    generator = torch.Generator(arguments.device).manual_seed(arguments.seed)
    inputs = [
        torch.randn(1, n, batch.tokens, arguments.head_dim, device=arguments.device, generator=generator)
        for n in (arguments.heads, arguments.kv_heads, arguments.kv_heads)
    ]
    with torch.no_grad():
        flex = tree_attention._flex(*inputs, batch.to(arguments.device), None, None)
        paths = tree_attention._path_by_path(*inputs, batch.to(arguments.device), None, None)
    return float((flex - paths).abs().max() / paths.abs().max())


def main() -> None:
    made = parser(__doc__, repeats=3, device=True)
    add = made.add_argument
    add("--tokens", type=int, nargs="+", default=[8192, 6500, 16384, 12000])
    add("--heads", type=int, default=16)
    add("--kv-heads", type=int, default=8)
    add("--head-dim", type=int, default=128)
    arguments = made.parse_args()
    if arguments.device == "cpu":
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        tree_attention._compiled_flex = functools.cache(lambda: (flex_attention, create_block_mask))  # type: ignore[assignment]
    found = environment(arguments.seed, arguments.threads)
    rng = np.random.default_rng(arguments.seed)
    batches = [forest(rng, tokens) for tokens in arguments.tokens]
    first = [once(tree_attention._flex, batch, arguments) for batch in batches]
    for batch in batches:
        once(tree_attention._path_by_path, batch, arguments)
    kernels = {"flex": tree_attention._flex, "path_by_path": tree_attention._path_by_path}
    ways = {name: functools.partial(_all, kernel, batches, arguments) for name, kernel in kernels.items()}
    seconds = in_turn(ways, arguments.repeats)
    totals = {name: [sum(each) for each in repeats] for name, repeats in seconds.items()}
    result = {
        "benchmark": "flex_attention",
        "ratio": median_ratio(totals["path_by_path"], totals["flex"]),
        "peer": "scaled-dot-product attention path by path, the kernel of CPUs",
        "compiled": arguments.device == "cuda",
        "batches": [{"tokens": b.tokens, "sequences": len(b.last_N)} for b in batches],
        "seconds_of_the_first_pass_over_each_batch": [round(s, 4) for s in first],
        "median_seconds": {
            name: [round(statistics.median(values), 5) for values in zip(*repeats, strict=True)]
            for name, repeats in seconds.items()
        },
        "relative_difference": largest_difference(batches[0], arguments),
        "settings": settings(arguments),
        "environment": found,
    }
    write(arguments.out, result, ("ratio", "seconds_of_the_first_pass_over_each_batch", "relative_difference"))


def _all(kernel: Kernel, batches: list[TreeBatch], arguments: Any) -> list[float]:
    return [once(kernel, batch, arguments) for batch in batches]


if __name__ == "__main__":
    main()
