"""Attention over prompt trees, and the one function that runs a backbone on a packed batch.

Exactness is the point: a token must see its own tree's prompt and its own branch, and nothing else. Packing through
``position_ids`` alone is exact in transformers only with ``attention_mask=None`` *and* ``use_cache=False``; here the
attention function itself enforces the tree, and :func:`tree_hidden_states` owns the call.

Two kernels compute the same thing: scaled-dot-product attention path by path (CPU, and the reference), and
FlexAttention with a block mask made of tree and branch ids (CUDA).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PretrainedConfig, PreTrainedModel

from reward_models.data.tree_batches import Path, TreeBatch
from reward_models.runtime.sequence import SequenceGroup
from reward_models.runtime.training_config import heads_problem

TREE_ATTENTION = "prompt_tree"

# Decoders whose layers hand keyword arguments on to the attention function, position by `position_ids` alone, and mask
# by causality and a sliding window only. A test runs each of them against plain padded sequences.
TREE_MODEL_TYPES = frozenset(
    {"gemma", "gemma3_text", "llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3", "qwen3_moe", "smollm3"}
)


def supports_trees(config: PretrainedConfig) -> bool:
    """True if a model of this configuration computes prompt trees exactly."""
    layer_types = set(getattr(config, "layer_types", None) or ["full_attention"])  # only newer configs have the field
    bidirectional = getattr(config, "use_bidirectional_attention", None)  # Gemma 3's embedding variants
    return (
        config.model_type in TREE_MODEL_TYPES
        and layer_types <= {"full_attention", "sliding_attention"}
        and not bidirectional
    )


# Sees a tree's keys and values in a layer, ``[1, kv_heads, T, d]``.
Keep = Callable[[int, torch.Tensor, torch.Tensor], None]
# Keys and values of what comes before the trees, in a layer: ``[1, kv_heads, P, d]``.
LayerPast = tuple[torch.Tensor, torch.Tensor]


def sequence_problem(config: PretrainedConfig, ranks: int) -> str | None:
    """The reason why ``ranks`` ranks cannot share the tokens of a model of this configuration; ``None``: they can."""
    if not supports_trees(config):
        return (
            f"the attention of {config.model_type} models cannot be exchanged between ranks; that of "
            f"{', '.join(sorted(TREE_MODEL_TYPES))} can"
        )
    if undivided := heads_problem(config.num_attention_heads, ranks):
        return undivided
    if by_length := sorted(_rope_types(config) & {"dynamic", "longrope"}):
        return f"the positions of this model (rope_type {by_length[0]}) depend on the length, which no rank sees whole"
    return None


def _rope_types(config: PretrainedConfig) -> set[str]:
    """The types of rotary positions; layers may have different ones."""
    found = getattr(config, "rope_parameters", None) or {}
    parts = [found, *(each for each in found.values() if isinstance(each, dict))]
    return {str(each["rope_type"]) for each in parts if "rope_type" in each}


def tree_hidden_states(
    backbone: PreTrainedModel,
    batch: TreeBatch,
    places_N: torch.Tensor,
    sequence: SequenceGroup | None = None,
    keep: Keep | None = None,
) -> torch.Tensor:
    """Last hidden states at some places of a packed batch, shape ``[N, hidden]``.

    Args:
        backbone: the model without its head, with ``attn_implementation=TREE_ATTENTION``.
        sequence: the ranks that share the batch's tokens. Each returns those of the states that are its own, in their
            order: see :meth:`SequenceGroup.mine`.
        keep: is shown the keys and values of every layer.
    """
    ids_T, positions_T = batch.input_ids_T, batch.position_ids_T
    if sequence is not None:
        ids_T, positions_T = sequence.stretch(ids_T), sequence.stretch(positions_T)
        places_N = sequence.local(places_N[sequence.mine(places_N, batch.tokens)], batch.tokens)
    output = backbone(
        input_ids=ids_T[None],
        attention_mask=None,
        position_ids=positions_T[None],
        use_cache=False,
        tree=batch,
        keep=keep,
        sequence=sequence,
    )
    return output.last_hidden_state[0][places_N]


# Attention of one new token per sequence over all before it, from layer, query ``[N, heads, 1, d]``, key, value,
# scaling and sliding window; returns ``[N, 1, heads, d]``.
Cached = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor, "float | None", "int | None"], torch.Tensor]


def tree_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    tree: TreeBatch | None = None,
    keep: Keep | None = None,
    cached: Cached | None = None,
    sequence: SequenceGroup | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: query ``[1, heads, T, d]``, key and value ``[1, kv_heads, T, d]``.

    With a ``sequence`` group T is this rank's stretch of the tree's tokens, padded to equal length.

    ``keep`` is shown the tree's keys and values; ``cached`` takes the place of a tree and computes the attention
    itself: that is how responses are sampled, a token of each at a time.

    Returns ``[1, T, heads, d]``. Raises ``ValueError`` when called without a tree or for a variant it cannot compute,
    for a silent fallback would let sequences see each other.
    """
    if cached is not None:
        return cached(module.layer_idx, query, key, value, scaling, sliding_window), None  # type: ignore[arg-type]
    if tree is None or attention_mask is not None:
        raise ValueError("prompt-tree attention runs on packed trees only: call tree_hidden_states()")
    if softcap is not None or dropout:
        raise ValueError("prompt-tree attention computes neither soft-capped scores nor attention dropout")
    past = None
    if tree.past is not None:
        keys_and_values = tree.past.layers[module.layer_idx]  # type: ignore[index]
        past = (keys_and_values[:1], keys_and_values[1:])
    if sequence is not None:
        if past is not None or keep is not None:
            raise ValueError("ranks that share tokens neither keep nor take over keys and values")
        query, key, value = sequence.heads(query, key, value, tree.tokens)
    kernel = _flex if query.is_cuda else _path_by_path
    output = kernel(query, key, value, tree, scaling, sliding_window, past)
    if keep is not None:
        keep(module.layer_idx, key, value)  # type: ignore[arg-type]
    if sequence is not None:
        output = sequence.tokens(output)
    return output.transpose(1, 2), None


def _path_by_path(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    tree: TreeBatch,
    scale: float | None,
    window: int | None,
    past: LayerPast | None = None,
) -> torch.Tensor:
    # split() and cat() rather than slices: the gradient of a slice is a full-size tensor of zeros for every path, the
    # gradient of split() is one cat().
    grouped = key.shape[1] != query.shape[1]
    lengths = [path.length for path in tree.paths]
    outputs = []
    trunk: tuple[torch.Tensor, torch.Tensor] | None = None
    for path, q, k, v in zip(
        tree.paths, query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True
    ):
        if path.prefix:
            assert trunk is not None
            k = torch.cat((trunk[0][:, :, : path.prefix], k), 2)
            v = torch.cat((trunk[1][:, :, : path.prefix], v), 2)
        else:
            trunk = (k, v)
        if path.past:
            assert past is not None
            before = slice(path.past_start, path.past_start + path.past)
            k, v = torch.cat((past[0][:, :, before], k), 2), torch.cat((past[1][:, :, before], v), 2)
        mask = path_mask(path, window, q.device, tree)
        outputs.append(
            F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=grouped
            )
        )
    return torch.cat(outputs, 2)


def path_mask(path: Path, window: int | None, device: torch.device, tree: TreeBatch) -> torch.Tensor | None:
    """The keys of its path that each query sees, ``[length, past + prefix + length]``; ``None``: the causal mask."""
    before = path.past + path.prefix
    total = before + path.length
    if window is not None and total <= window:
        window = None
    if not before and window is None:
        return None
    shape = (path.length, before, window)
    if shape not in tree.masks:
        queries = torch.arange(before, total, device=device)[:, None]
        keys = torch.arange(total, device=device)[None]
        mask = keys <= queries
        if window is not None:
            mask &= keys > queries - window
        tree.masks[shape] = mask
    return tree.masks[shape]  # type: ignore[return-value]


def tree_mask_mod(tree: TreeBatch, window: int | None) -> Any:
    """The tree as a FlexAttention mask function of (batch, head, query index, key index).

    The keys of the past come first: they belong to the prompts of their trees.
    """
    tree_T, branch_T, position_T = tree.tree_T, tree.branch_T, tree.position_ids_T
    tree_K, branch_K, position_K = tree_T, branch_T, position_T
    if tree.past is not None:
        lengths = torch.tensor(tree.past.lengths, device=tree_T.device)
        owners = torch.arange(len(lengths), device=tree_T.device, dtype=tree_T.dtype).repeat_interleave(lengths)
        places = torch.cat([torch.arange(n, device=tree_T.device) for n in tree.past.lengths])
        tree_K = torch.cat((owners, tree_T))
        branch_K = torch.cat((torch.zeros_like(owners), branch_T))
        position_K = torch.cat((places, position_T))

    def mask_mod(b: torch.Tensor, h: torch.Tensor, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        on_path = (branch_K[k] == 0) | (branch_K[k] == branch_T[q])
        seen = (tree_T[q] == tree_K[k]) & on_path & (position_K[k] <= position_T[q])
        if window is not None:
            seen = seen & (position_K[k] > position_T[q] - window)
        return seen

    return mask_mod


@functools.cache
def _compiled_flex() -> tuple[Any, Any]:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    return torch.compile(flex_attention, dynamic=True), torch.compile(create_block_mask, dynamic=True)


def _flex(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    tree: TreeBatch,
    scale: float | None,
    window: int | None,
    past: LayerPast | None = None,
) -> torch.Tensor:
    flex_attention, create_block_mask = _compiled_flex()
    if past is not None:
        key, value = torch.cat((past[0], key), 2), torch.cat((past[1], value), 2)
    if ("flex", window) not in tree.masks:
        tree.masks["flex", window] = create_block_mask(
            tree_mask_mod(tree, window), None, None, tree.tokens, key.shape[2], device=query.device
        )
    grouped = key.shape[1] != query.shape[1]
    mask = tree.masks["flex", window]
    return flex_attention(query, key, value, block_mask=mask, scale=scale, enable_gqa=grouped)


AttentionInterface.register(TREE_ATTENTION, tree_attention)
AttentionMaskInterface.register(TREE_ATTENTION, lambda *args, **kwargs: None)
