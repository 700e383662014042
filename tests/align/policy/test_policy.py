"""The policy's log-probabilities over trees against plain transformers, one sequence at a time; saving and loading."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from align.policy.config import PolicyConfig
from align.policy.policy import Policy, build_policy, check_policy, save_policy
from reward_models.backbone.config import LoraConfig
from reward_models.data.chat import train_tokenizer
from reward_models.data.trees import PromptTree

SHAPE: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen3": SHAPE | {"tie_word_embeddings": True},
    "llama": SHAPE,
    "gemma3_text": SHAPE | {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.3}  # no trees
    | {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0},
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(["What is 1 + 2?", "The answer is 3."], 300)


def build(family: str, tokenizer: Any, **settings: Any) -> Policy:
    torch.manual_seed(0)
    config = PolicyConfig(config={"model_type": family, **FAMILIES[family]}, **settings)
    return build_policy(config, tokenizer, torch.float32)


def forest() -> list[PromptTree]:
    rng = np.random.default_rng(0)
    shapes = [(9, 4, 1, 7), (1, 3, 3), (12, 6)]
    return [
        PromptTree(
            rng.integers(5, 250, prompt).astype(np.int32),
            tuple(rng.integers(5, 250, n).astype(np.int32) for n in branches),
        )
        for prompt, *branches in shapes
    ]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_entropy_and_gradients_are_those_of_one_sequence_at_a_time(
    family: str, temperature: float, tokenizer: Any
) -> None:
    policy = build(family, tokenizer)
    assert policy.layout == ("padded" if family == "gpt2" else "tree")
    trees = forest()
    batch = policy.collate(trees)
    logprobs_T, entropy_T = policy(batch, temperature)
    weights_T = torch.linspace(-1, 1, len(logprobs_T))
    (logprobs_T * weights_T).sum().backward()

    plain = AutoModelForCausalLM.from_config(policy.language_model.config, attn_implementation="eager")
    plain.load_state_dict(policy.language_model.state_dict())
    expected, entropies = [], []
    for tree in trees:
        for branch in tree.branches:
            ids = torch.from_numpy(np.concatenate((tree.prompt, branch)).astype(np.int64))
            logits = plain(ids[None]).logits[0, len(tree.prompt) - 1 : -1] / temperature
            log_p = logits.log_softmax(1)
            expected.append(log_p[torch.arange(len(branch)), ids[len(tree.prompt) :]])
            entropies.append(-(log_p.exp() * log_p).sum(1))
    (torch.cat(expected) * weights_T).sum().backward()
    torch.testing.assert_close(logprobs_T, torch.cat(expected), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropy_T, torch.cat(entropies), rtol=1e-5, atol=1e-5)
    ours = dict(policy.language_model.named_parameters())
    for name, parameter in plain.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(ours[name].grad, parameter.grad, rtol=1e-4, atol=1e-4, msg=name)
    lengths = torch.bincount(batch.sequence_T).tolist()
    assert lengths == [len(b) for tree in trees for b in tree.branches]


def test_a_model_that_does_more_to_its_logits_is_refused(tokenizer: Any) -> None:
    policy = build("llama", tokenizer)
    check_policy(policy, torch.device("cpu"))
    forward = policy.language_model.forward

    def scaled(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output.logits = output.logits * 2
        return output

    policy.language_model.forward = scaled  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="changes its logits"):
        check_policy(policy, torch.device("cpu"))
    config = PolicyConfig(config={"model_type": "gemma2", **SHAPE})
    with pytest.raises(ValueError, match="caps its logits softly"):
        build_policy(config, tokenizer, torch.float32)


@pytest.mark.parametrize(
    "lora", [None, LoraConfig(r=2), LoraConfig(r=2, merge=False)], ids=["full", "merged", "adapter"]
)
def test_a_saved_policy_is_a_plain_transformers_model(tmp_path: Path, tokenizer: Any, lora: LoraConfig | None) -> None:
    base = build("qwen3", tokenizer)
    save_policy(base, copy.deepcopy(base.model.state_dict()), tmp_path / "base", tokenizer, None)
    config = PolicyConfig(path=str(tmp_path / "base"), lora=lora)
    policy = build_policy(config, tokenizer, torch.float32)
    with torch.no_grad():  # adapters begin at zero: without a change merging could not go wrong
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    trees = forest()
    expected, _ = policy(policy.collate(trees))
    weights = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    save_policy(policy, weights, tmp_path / "saved", tokenizer, lora)

    if lora is not None and not lora.merge:
        import peft

        model: Any = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "saved")
    else:
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    first = trees[0]
    ids = torch.from_numpy(np.concatenate((first.prompt, first.branches[0])).astype(np.int64))
    found = model(ids[None]).logits[0, len(first.prompt) - 1 : -1].log_softmax(1)
    count = len(first.branches[0])
    torch.testing.assert_close(
        found[torch.arange(count), ids[len(first.prompt) :]], expected[:count], rtol=1e-4, atol=1e-4
    )
    assert AutoConfig.from_pretrained(tmp_path / "base").use_cache
    settings = GenerationConfig.from_pretrained(tmp_path / "saved")
    assert (settings.do_sample, settings.temperature, settings.top_p) == (True, 0.6, 0.95)
    assert settings.eos_token_id == tokenizer.eos_token_id
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").chat_template == tokenizer.chat_template
