"""Memory of one long response: two ranks that share its tokens (``engine.sequence_parallel=2``) and one rank without.

    python benchmarks/sequence_parallel.py --out benchmarks/results/sequence_parallel_cpu.json

A small Llama with checkpointed layers computes the log-probabilities of one response and their gradient in fp32.
Memory is the peak of a rank over what was resident before (weights, gradients, libraries), the larger of two ranks.
The C library gives every freed tensor back at once (`MALLOC_MMAP_THRESHOLD_`): by itself it keeps some tens of MiB.
``peer`` is one rank without. Loss and gradient must agree.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import environment, in_process, in_turn, parser, peak_memory, settings, write
from transformers import AutoConfig, AutoModelForCausalLM

from align.policy.policy import Policy
from reward_models.backbone.tiled_mlp import tile_mlps
from reward_models.backbone.tree_attention import TREE_ATTENTION
from reward_models.data.trees import PromptTree
from reward_models.planning.memory import TrainingMemory, activations
from reward_models.planning.shapes import shape_from_settings
from reward_models.runtime import distributed

PROMPT = 256
TWO = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0")
GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
# Way → ranks, and parts of the MLP's tokens.
WAYS = {"one rank": (1, 1), "two ranks": (2, 1), "two ranks, mlp_tiles=8": (2, 8)}


def shape(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": arguments.hidden,
        "intermediate_size": 4 * arguments.hidden,
        "num_hidden_layers": arguments.layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 4096,
        "max_position_embeddings": 65536,
        "pad_token_id": 0,
    }


def response(tokens: int, seed: int) -> PromptTree:
    ids = np.random.default_rng(seed).integers(1, 4096, tokens).astype(np.int32)
    return PromptTree(ids[:PROMPT], (ids[PROMPT:],))


def run(job: argparse.Namespace) -> dict[str, Any] | None:
    """One update without the optimizer's step; the figures on the main rank, ``None`` on others."""
    world = distributed.start(1800, sequence_parallel=job.ranks)
    torch.set_num_threads(1)
    torch.manual_seed(job.seed)
    config = AutoConfig.for_model(**shape(job))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=TREE_ATTENTION)
    if job.tiles > 1:
        tile_mlps(model, job.tiles)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    policy = Policy(model, "tree").train()
    policy.sequence = world.sequence

    def update(tokens: int) -> float:
        policy.zero_grad(set_to_none=False)
        logprobs_T, _ = policy(policy.collate([response(tokens, job.seed)]))
        loss = -logprobs_T.mean()
        loss.backward()
        return float(loss)

    update(2 * PROMPT)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew
    resident, began = peak_memory(), time.perf_counter()
    loss = update(job.tokens)
    seconds, peak = time.perf_counter() - began, world.max(torch.tensor([float(peak_memory() - resident)]))
    norms = [world.sum(p.grad.double()).square().sum() for p in policy.parameters() if p.grad is not None]
    if not world.is_main:
        return None
    return {
        "peak_mib": round(float(peak) / 2**20, 1),
        "seconds": round(seconds, 1),
        "loss": loss,
        "gradient": float(torch.stack(norms).sum().sqrt()),
    }


def estimate(arguments: argparse.Namespace, tokens: int, way: str) -> float:
    """MiB of activations, exchange and logits, as ``--dry-run`` counts them."""
    ranks, tiles = WAYS[way]
    parts = TrainingMemory(bf16=False, checkpointing=True, tokens=tokens, sequence_parallel=ranks, mlp_tiles=tiles)
    found = activations(shape_from_settings(shape(arguments), "small", "benchmark"), parts)
    return round(sum(found.values()) / 2**20, 1)


def main() -> None:
    made = parser(__doc__, repeats=1)
    add = made.add_argument
    add("--tokens", type=int, nargs="+", default=[8192, 32768])
    add("--hidden", type=int, default=128)
    add("--layers", type=int, default=2)
    add("--seed", type=int, default=0)
    add("--job", type=Path, help=argparse.SUPPRESS)
    arguments = made.parse_args()
    if arguments.job:
        found = run(argparse.Namespace(**json.loads(arguments.job.read_text(encoding="utf-8"))))
        if found is not None:
            arguments.out.write_text(json.dumps(found), encoding="utf-8")
        return
    described = environment(arguments.seed, 1)
    ways = {}
    for tokens in arguments.tokens:
        for way, (ranks, tiles) in WAYS.items():
            job = vars(arguments) | {"tokens": tokens, "ranks": ranks, "tiles": tiles}
            launcher = TWO if ranks == 2 else ()
            ways[f"{tokens} {way}"] = partial(in_process, __file__, job, GIVING_BACK, launcher)
    measured = in_turn(ways, arguments.repeats)
    lines = [
        {"tokens": tokens, "way": way, "estimated_mib": estimate(arguments, tokens, way)}
        | min(measured[f"{tokens} {way}"], key=lambda each: each["peak_mib"])
        for tokens in arguments.tokens
        for way in WAYS
    ]
    peaks = {(line["tokens"], line["way"]): line["peak_mib"] for line in lines}
    longest = max(arguments.tokens)
    alone = {line["tokens"]: line for line in lines if line["way"] == "one rank"}
    differences = [abs(line[name] / alone[line["tokens"]][name] - 1) for line in lines for name in ("loss", "gradient")]
    result = {
        "benchmark": "sequence_parallel",
        "ratio": round(peaks[longest, "one rank"] / peaks[longest, "two ranks"], 2),
        "ratio_is": f"peak memory of one rank over that of each of two ranks, one response of {longest:,} tokens",
        "peer": "one rank without sequence parallelism",
        "ratio_with_tiles": round(peaks[longest, "one rank"] / peaks[longest, "two ranks, mlp_tiles=8"], 2),
        "largest_relative_difference": max(differences),
        "lines": lines,
        "settings": settings(arguments, "job"),
        "environment": described,
    }
    write(arguments.out, result, ("ratio", "ratio_with_tiles", "largest_relative_difference", "lines"))


if __name__ == "__main__":
    main()
