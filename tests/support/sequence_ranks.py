"""A program for two ranks: what they compute together on shared tokens against what each computes alone.

``main(["output_dir=FILE"])`` lets the main rank write, for every case, the largest difference of each quantity as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification
from tree_models import EXPERTS, SHAPE, grow

from align.objective.logprobs import token_predictions
from align.policy.policy import Policy
from reward_models.backbone.tiled_mlp import tile_mlps
from reward_models.backbone.tree_attention import TREE_ATTENTION, TREE_MODEL_TYPES, tree_attention
from reward_models.data.tree_batches import pack
from reward_models.data.trees import PromptTree
from reward_models.model import SequenceScorer
from reward_models.runtime import distributed
from reward_models.runtime.distributed import World

# Windows shorter than the sequences, and numbers of key-value heads that two ranks divide, do not divide, or exceed.
EXTRA: dict[str, dict[str, Any]] = {
    "gemma3_text": {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]},
    "llama": {"num_key_value_heads": 1},
    "mistral": {"sliding_window": 5},
    "qwen2": {"num_attention_heads": 6, "num_key_value_heads": 3, "hidden_size": 24},
    "qwen3": {"num_key_value_heads": 4},
    "qwen3_moe": EXPERTS,
}


def forest(name: str) -> list[PromptTree]:
    """Trees, packed rows without shared prompts, and a row whose targets are all on the second rank."""
    rng = np.random.default_rng(0)
    return {
        "trees": [grow(rng, 9, 3, 8), grow(rng, 5, 6, 1, 4), grow(rng, 11, 2)],  # 49 tokens: an odd number
        "packed": [grow(rng, 1, 12), grow(rng, 1, 7), grow(rng, 1, 1)],
        "late": [grow(rng, 17, 4)],
    }[name]


def model_of(model_type: str, kind: Any, *, tiled: bool) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **SHAPE | EXTRA.get(model_type, {}))
    model = kind.from_config(config, attn_implementation=TREE_ATTENTION)
    if tiled:
        tile_mlps(model, 3)
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model.train()


def gradients(module: torch.nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    module.zero_grad()
    loss.backward()
    found = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    assert found
    return found


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest, in units of the largest number."""
    assert one.shape == other.shape
    return float((one - other).abs().max() / other.abs().max().clamp(min=1e-6))


def weighed(values: torch.Tensor) -> torch.Tensor:
    return (values * torch.linspace(-1, 2, len(values))).sum()


def compared(module: Any, batch: Any, world: World, **options: Any) -> dict[str, float]:
    """Outputs and gradients of a policy or a scorer, by the ranks together against this rank alone."""
    alone = module(batch, **options)
    alone = alone if isinstance(alone, tuple) else (alone,)
    expected = gradients(module, weighed(alone[0]))
    module.sequence = world.sequence
    together = module(batch, **options)
    together = together if isinstance(together, tuple) else (together,)
    found = gradients(module, weighed(together[0]))
    module.sequence = None
    assert found.keys() == expected.keys()
    return {
        "outputs": max(difference(a.float(), b.float()) for a, b in zip(together, alone, strict=True)),
        "gradients": max(difference(world.sum(found[name]), expected[name]) for name in expected),
        "spread": float(alone[0].detach().std()) if len(alone[0]) > 1 else 1.0,
    }


def with_deepspeed(world: World) -> dict[str, float]:
    """One causal sequence, against DeepSpeed's own class: outputs, and gradients of query, key and value."""
    from deepspeed.runtime.sequence_parallel.ulysses_sp import UlyssesSPAttentionHF

    sequence = world.sequence
    assert sequence is not None
    length, width = 12, 6
    torch.manual_seed(world.rank)
    query, key, value = (torch.randn(1, heads, width, 4, requires_grad=True) for heads in (4, 2, 2))
    tree = pack([PromptTree(np.zeros(0, np.int32), (np.zeros(length, np.int32),))])
    layer = torch.nn.Module()
    theirs = UlyssesSPAttentionHF(
        attn=lambda module, q, k, v, mask, **_: tree_attention(module, q, k, v, mask, tree=tree),
        batch_size=1,
        attn_head_count=4,
        attn_head_size=4,
        kv_head_count=2,
        num_hidden_layers=1,
        process_group=sequence.group,
        seq_length_is_variable=True,
    )
    positions = torch.arange(width)[None] + world.rank * width
    one, _ = tree_attention(layer, query, key, value, None, tree=tree, sequence=sequence)
    other, _ = theirs(layer, query, key, value, None, position_ids=positions)
    one = one.flatten(2)
    ours = torch.autograd.grad(one.square().sum(), (query, key, value))
    peers = torch.autograd.grad(other.square().sum(), (query, key, value))
    return {
        "outputs": difference(one.detach(), other.detach()),
        "gradients": max(difference(a, b) for a, b in zip(ours, peers, strict=True)),
        "spread": float(one.detach().std()),
    }


def main(arguments: list[str]) -> int:
    torch.set_num_threads(1)
    world = distributed.start(120, sequence_parallel=2)
    assert (world.data.rank, world.data.size) == (0, 1)
    assert [each.on_main(lambda: "told") for each in (world, world.data)] == ["told", "told"]
    assert [int(each.sum(torch.tensor([1]))) for each in (world, world.data)] == [2, 1]
    found: dict[str, dict[str, float]] = {"deepspeed": with_deepspeed(world)}
    for model_type in sorted(TREE_MODEL_TYPES):
        for tiled in (False, True) if model_type == "qwen3" else (False,):
            name = f"{model_type}{' tiled' if tiled else ''}"
            policy = Policy(model_of(model_type, AutoModelForCausalLM, tiled=tiled), "tree")
            for rows in ("trees", "packed", "late"):
                batch = policy.collate(forest(rows))
                options = {"temperature": 0.7, "measure": token_predictions}
                found[f"policy {name} {rows}"] = compared(policy, batch, world, **options)
            scorer = SequenceScorer(model_of(model_type, AutoModelForSequenceClassification, tiled=tiled), "tree")
            found[f"scorer {name}"] = compared(scorer, scorer.collate(forest("trees")), world)
    if world.is_main:
        Path(arguments[0].partition("=")[2]).write_text(json.dumps(found), encoding="utf-8")
    world.barrier()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
