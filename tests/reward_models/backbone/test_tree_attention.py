"""Trees compute what plain sequences compute.

transformers casts norms, rotations and router probabilities to float32 even in a float64 model, which leaves
differences of 1e-7 in the gradients. ``everything_in_float64`` turns those casts into float64, and then scores and
gradients agree to 1e-12.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from transformers import AutoConfig, AutoModelForSequenceClassification, PretrainedConfig
from tree_models import EXPERTS, SHAPE, VOCABULARY, grow

from reward_models.backbone import tree_attention as module
from reward_models.backbone.tree_attention import (
    TREE_ATTENTION,
    TREE_MODEL_TYPES,
    path_mask,
    supports_trees,
    tree_attention,
    tree_hidden_states,
    tree_mask_mod,
)
from reward_models.data.tree_batches import TreeBatch, pack
from reward_models.data.trees import PromptTree
from reward_models.model import SequenceScorer

TOLERANCE = {"rtol": 0.0, "atol": 1e-12}
# The windows are shorter than prompts and branches.
EXTRA: dict[str, dict[str, Any]] = {
    "gemma3_text": {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]},
    "mistral": {"sliding_window": 5},
    "phi3": {"sliding_window": 5},
    "qwen2": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    "qwen3": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    "qwen3_moe": EXPERTS,
}


@pytest.fixture
def everything_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(torch, "float", torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


@pytest.fixture(scope="module")
def forest() -> list[PromptTree]:
    """One, two, three and sixteen branches, with and without a prompt."""
    rng = np.random.default_rng(0)
    sixteen = [1 + n % 9 for n in range(16)]
    return [grow(rng, 9, 3, 8), grow(rng, 0, 6, 1, 4), grow(rng, 11, 2), grow(rng, 0, 7), grow(rng, 12, *sixteen)]


def architecture(model_type: str, **changes: Any) -> PretrainedConfig:
    return AutoConfig.for_model(model_type, **SHAPE | EXTRA.get(model_type, {}) | changes)


def build(config: PretrainedConfig, attention: str, layout: Any) -> SequenceScorer:
    torch.manual_seed(0)
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        pytest.skip(f"this transformers has no classifier for {config.model_type}")  # 5.4 none for Olmo 2
    model = AutoModelForSequenceClassification.from_config(copy.deepcopy(config), attn_implementation=attention)
    return SequenceScorer(model.double(), layout)


def scores_and_gradients(
    scorer: SequenceScorer, batches: list[list[PromptTree]]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """All scores, and every parameter's gradient of their weighted sum."""
    scorer.zero_grad()
    scores = torch.cat([scorer(scorer.collate(trees)) for trees in batches])
    (scores * torch.linspace(-1, 2, len(scores), dtype=scores.dtype)).sum().backward()
    gradients = {n: p.grad.clone() for n, p in scorer.named_parameters() if p.grad is not None}
    assert scores.std() > 0.01  # equal scores would agree whatever the attention does
    return scores.detach(), gradients


def assert_same(
    one: tuple[torch.Tensor, dict[str, torch.Tensor]], other: tuple[torch.Tensor, dict[str, torch.Tensor]]
) -> None:
    torch.testing.assert_close(one[0], other[0], **TOLERANCE)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], **TOLERANCE, msg=lambda text, n=name: f"{n}: {text}")


def one_at_a_time(forest: list[PromptTree]) -> list[list[PromptTree]]:
    return [[PromptTree.from_sequences([s])] for tree in forest for s in tree.sequences]


@pytest.mark.usefixtures("everything_in_float64")
@pytest.mark.parametrize("model_type", sorted(TREE_MODEL_TYPES))
def test_trees_equal_padded_rows_equal_one_sequence_at_a_time(model_type: str, forest: list[PromptTree]) -> None:
    config = architecture(model_type)
    assert supports_trees(config)
    tree, plain = build(config, TREE_ATTENTION, "tree"), build(config, "sdpa", "padded")
    packed = scores_and_gradients(tree, [forest])
    assert_same(packed, scores_and_gradients(plain, [forest]))
    assert_same(packed, scores_and_gradients(plain, one_at_a_time(forest)))
    assert_same(packed, scores_and_gradients(tree, one_at_a_time(forest)))
    assert_same(packed, scores_and_gradients(tree, [forest[:2], forest[2:]]))


@pytest.mark.usefixtures("everything_in_float64")
@pytest.mark.parametrize("model_type", sorted(EXTRA.keys() - {"qwen3_moe"}))
def test_the_sliding_window_matters_on_these_lengths(model_type: str, forest: list[PromptTree]) -> None:
    windowed = build(architecture(model_type), TREE_ATTENTION, "tree")
    full = build(architecture(model_type, sliding_window=1000), TREE_ATTENTION, "tree")
    batch = pack(forest)
    assert not torch.allclose(windowed(batch), full(batch.to("cpu")), atol=1e-3)


@pytest.mark.usefixtures("everything_in_float64")
@pytest.mark.parametrize("model_type", sorted(TREE_MODEL_TYPES))
def test_gradient_checkpointing_changes_nothing(model_type: str, forest: list[PromptTree]) -> None:
    scorer = build(architecture(model_type), TREE_ATTENTION, "tree")
    without = scores_and_gradients(scorer, [forest])
    scorer.model.gradient_checkpointing_enable({"use_reentrant": False})
    scorer.train()
    assert_same(without, scores_and_gradients(scorer, [forest]))


@pytest.mark.usefixtures("everything_in_float64")
def test_an_encoder_scores_padded_rows_as_it_scores_them_one_at_a_time(forest: list[PromptTree]) -> None:
    config = AutoConfig.for_model(
        "bert", **SHAPE | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "head_dim": None}
    )
    assert not supports_trees(config)
    scorer = build(config, "sdpa", "padded")
    assert_same(scores_and_gradients(scorer, [forest]), scores_and_gradients(scorer, one_at_a_time(forest)))


# --- nothing leaks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", ["qwen3", "gemma3_text"])
def test_other_branches_and_trees_do_not_touch_a_score(model_type: str, forest: list[PromptTree]) -> None:
    scorer, rng = build(architecture(model_type), TREE_ATTENTION, "tree").float(), np.random.default_rng(1)
    with torch.no_grad():
        before, place = scorer(pack(forest)), 0
        for number, tree in enumerate(forest):
            for index, branch in enumerate(tree.branches):
                changed = list(tree.branches)
                changed[index] = ((branch - 3 + rng.integers(1, VOCABULARY - 3)) % (VOCABULARY - 3) + 3).astype(
                    np.int32
                )
                others = [*forest[:number], PromptTree(tree.prompt, tuple(changed)), *forest[number + 1 :]]
                after = scorer(pack(others))
                moved = [n for n in range(len(before)) if not torch.equal(before[n], after[n])]
                assert moved == [place]
                place += 1


def test_the_prompt_touches_all_its_branches_and_no_other_tree(forest: list[PromptTree]) -> None:
    scorer = build(architecture("llama"), TREE_ATTENTION, "tree").float()
    prompt = forest[0].prompt.copy()
    prompt[0] = 3 + (prompt[0] - 2) % (VOCABULARY - 3)
    with torch.no_grad():
        before = scorer(pack(forest))
        after = scorer(pack([PromptTree(prompt, forest[0].branches), *forest[1:]]))
    assert (before != after).nonzero().flatten().tolist() == [0, 1]


# --- masks and kernels ------------------------------------------------------------------------------------------------

lengths = st.tuples(st.integers(0, 9), st.lists(st.integers(1, 9), min_size=1, max_size=4))
windows = st.one_of(st.none(), st.integers(1, 12))


def seen_by_paths(batch: TreeBatch, window: int | None) -> torch.Tensor:
    """Mask of the tokens that each token attends to, by the definition: path by path and token by token."""
    seen = torch.zeros(batch.tokens, batch.tokens, dtype=torch.bool)
    for path in batch.paths:
        own = range(path.start, path.start + path.length)
        line = [*range(path.prefix_start, path.prefix_start + path.prefix), *own]
        for query in range(path.prefix, len(line)):
            first = 0 if window is None else max(0, query - window + 1)
            seen[line[query], line[first : query + 1]] = True
    return seen


def dense(mask_mod: Any, length: int) -> torch.Tensor:
    places = torch.arange(length)
    zero = torch.zeros((), dtype=torch.long)
    return mask_mod(zero, zero, places[:, None], places[None])


@settings(max_examples=40)
@given(st.lists(lengths, min_size=1, max_size=3), windows)
def test_the_flex_mask_is_the_mask_the_paths_imply(shapes: list[tuple[int, list[int]]], window: int | None) -> None:
    rng = np.random.default_rng(0)
    batch = pack([grow(rng, prompt, *branches) for prompt, branches in shapes])
    assert torch.equal(dense(tree_mask_mod(batch, window), batch.tokens), seen_by_paths(batch, window))


@settings(max_examples=40)
@given(st.lists(lengths, min_size=1, max_size=3), windows)
def test_path_masks_are_the_rows_and_columns_of_the_whole_mask(
    shapes: list[tuple[int, list[int]]], window: int | None
) -> None:
    rng = np.random.default_rng(0)
    batch = pack([grow(rng, prompt, *branches) for prompt, branches in shapes])
    whole = seen_by_paths(batch, window)
    for path in batch.paths:
        own = list(range(path.start, path.start + path.length))
        keys = [*range(path.prefix_start, path.prefix_start + path.prefix), *own]
        mask = path_mask(path, window, torch.device("cpu"), batch)
        if mask is None:
            mask = torch.ones(path.length, path.length).tril().bool()
        assert torch.equal(mask, whole[own][:, keys])
        assert whole[own].sum() == mask.sum()  # and nothing outside them


def attention_inputs(heads: int, kv_heads: int, tokens: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    shapes = (heads, kv_heads, kv_heads)
    return tuple(torch.randn(1, h, tokens, 8, generator=generator, dtype=torch.float64) for h in shapes)


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_path_by_path_attention_is_dense_attention_under_the_tree_mask(
    kv_heads: int, window: int | None, forest: list[PromptTree]
) -> None:
    batch = pack(forest)
    query, key, value = attention_inputs(4, kv_heads, batch.tokens)
    repeated = [t.repeat_interleave(4 // kv_heads, 1) for t in (key, value)]
    weights = (query @ repeated[0].mT * 0.7).masked_fill(~seen_by_paths(batch, window), -torch.inf).softmax(-1)
    output, _ = tree_attention(
        torch.nn.Identity(), query, key, value, None, tree=batch, scaling=0.7, sliding_window=window
    )
    torch.testing.assert_close(output, (weights @ repeated[1]).transpose(1, 2), **TOLERANCE)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(("kv_heads", "window"), [(4, None), (2, 5)])
def test_flex_attention_equals_path_by_path_attention(
    kv_heads: int, window: int | None, forest: list[PromptTree], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_compiled_flex", lambda: (flex_attention, create_block_mask))
    batch = pack(forest)
    inputs = attention_inputs(4, kv_heads, batch.tokens)
    flex = module._flex(*inputs, batch, 0.7, window)
    torch.testing.assert_close(flex, module._path_by_path(*inputs, batch.to("cpu"), 0.7, window), **TOLERANCE)
    assert torch.equal(flex, module._flex(*inputs, batch, 0.7, window))  # now with the mask kept in the batch


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("window", [None, 5])
def test_compiled_flex_attention_and_its_gradients_equal_path_by_path_on_a_gpu(
    window: int | None, forest: list[PromptTree]
) -> None:
    batch = pack(forest).to("cuda")
    generator = torch.Generator().manual_seed(0)
    results = []
    inputs = [torch.randn(1, h, batch.tokens, 32, generator=generator) for h in (4, 2, 2)]
    for kernel in (module._flex, module._path_by_path):
        leaves = [t.cuda().requires_grad_() for t in inputs]
        output = kernel(*leaves, batch.to("cuda"), 0.2, window)
        (output * torch.linspace(-1, 1, output.numel(), device="cuda").view_as(output)).sum().backward()
        results.append([output, *(t.grad for t in leaves)])
    for flex, path in zip(*results, strict=True):
        torch.testing.assert_close(flex, path, rtol=2e-3, atol=2e-3)  # tf32 products


# --- what is refused --------------------------------------------------------------------------------------------------


def test_attention_without_a_tree_is_refused() -> None:
    model = build(architecture("qwen3"), TREE_ATTENTION, "tree").model
    with pytest.raises(ValueError, match="runs on packed trees only"):
        model(input_ids=torch.tensor([[3, 4, 5]]))
    inputs, batch = attention_inputs(2, 2, 3), pack([PromptTree.from_sequences([np.array([3, 4, 5])])])
    with pytest.raises(ValueError, match="runs on packed trees only"):
        tree_attention(torch.nn.Identity(), *inputs, torch.ones(1, 1, 3, 3), tree=batch)


@pytest.mark.parametrize("option", [{"softcap": 30.0}, {"dropout": 0.1}])
def test_variants_that_are_not_computed_are_refused(option: dict[str, float]) -> None:
    batch = pack([PromptTree.from_sequences([np.array([3, 4, 5])])])
    with pytest.raises(ValueError, match="neither soft-capped scores nor attention dropout"):
        tree_attention(torch.nn.Identity(), *attention_inputs(2, 2, 3), None, tree=batch, **option)


def test_attention_dropout_of_a_model_is_refused_in_training_and_absent_in_evaluation() -> None:
    scorer = build(architecture("qwen3", attention_dropout=0.1), TREE_ATTENTION, "tree")
    batch = pack([PromptTree.from_sequences([np.array([3, 4, 5])])])
    scorer.eval()(batch)
    with pytest.raises(ValueError, match="attention dropout"):
        scorer.train()(batch)


@pytest.mark.parametrize(
    "config",
    [
        AutoConfig.for_model("bert"),
        AutoConfig.for_model("gemma2"),
        AutoConfig.for_model("gpt2"),
        AutoConfig.for_model("gemma3_text", use_bidirectional_attention=True),
        AutoConfig.for_model("qwen3", num_hidden_layers=2, layer_types=["full_attention", "linear_attention"]),
    ],
    ids=lambda config: config.model_type,
)
def test_architectures_that_do_not_compute_trees_exactly_are_known(config: PretrainedConfig) -> None:
    assert not supports_trees(config)


def test_hidden_states_come_in_the_order_of_the_packed_tokens(forest: list[PromptTree]) -> None:
    backbone, batch = build(architecture("qwen3"), TREE_ATTENTION, "tree").classifier.base_model, pack(forest)
    hidden_TH = tree_hidden_states(backbone, batch, torch.arange(batch.tokens))
    assert hidden_TH.shape == (batch.tokens, SHAPE["hidden_size"])
    assert torch.equal(tree_hidden_states(backbone, batch, batch.last_N), hidden_TH[batch.last_N])
