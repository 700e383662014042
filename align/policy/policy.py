"""The policy: a transformers language model whose log-probabilities are computed over prompt trees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

from align.objective.logprobs import token_logprobs
from align.policy.config import PolicyConfig
from reward_models.backbone import pretrained
from reward_models.backbone.config import LoraConfig, ModelConfig
from reward_models.backbone.pretrained import Layout
from reward_models.backbone.tree_attention import tree_hidden_states
from reward_models.data.tree_batches import Batch, TreeBatch, pack, pad
from reward_models.data.trees import PromptTree, TokenIds
from reward_models.runtime.engine import register_external
from reward_models.runtime.sequence import SequenceGroup

# What is computed of the hidden states that predict the targets, the output layer's weights, the targets, temperature.
Measure = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], Any]
# A rank without samples of its own runs this through the model, so that collectives stay in step.
FILLER = PromptTree(np.zeros(1, np.int32), (np.zeros(1, np.int32),))


@dataclass(frozen=True, slots=True, eq=False)
class PolicyBatch:
    """Samples of a micro-batch, and the hidden state that predicts each of their tokens.

    Attributes:
        batch: the packed trees, or the padded sequences.
        predictor_T: positions in the flattened batch; the first token of every sample of a prompt is predicted by the
            prompt's last, which exists once.
        target_T: the response tokens; ``sequence_T``: which sample of the batch each belongs to.
    """

    batch: Batch
    predictor_T: torch.Tensor
    target_T: torch.Tensor
    sequence_T: torch.Tensor

    def to(self, device: torch.device | str) -> PolicyBatch:
        return PolicyBatch(
            self.batch.to(device), self.predictor_T.to(device), self.target_T.to(device), self.sequence_T.to(device)
        )


class Policy(nn.Module):
    """``forward(batch, temperature) -> (logprobs_T, entropy_T)`` of the response tokens, in the batch's order.

    ``forward`` gives what ``measure`` computes where one is given in the place of the log-probabilities. In a run of
    sequence parallelism the measure sees this rank's tokens, and every rank gets the values of all, or those of its own
    tokens where they are not wanted ``together``.
    """

    def __init__(self, model: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.model = model  # a PreTrainedModel, or peft's wrapper around one
        self.layout = layout
        self.sequence: SequenceGroup | None = None  # of a run: the ranks that share a batch's tokens
        head = self.language_model.get_output_embeddings()
        if not isinstance(head, nn.Linear):
            raise ValueError(f"the output layer of {type(self.language_model).__name__} is not a linear layer")
        for parameter in head.parameters():  # used by this module, which does not call the layer that holds it
            register_external(self, parameter)

    @property
    def language_model(self) -> Any:
        """The transformers model, without peft's wrapper."""
        model: Any = self.model
        return model.get_base_model() if hasattr(model, "peft_config") else model

    def collate(self, trees: Sequence[PromptTree]) -> PolicyBatch:
        """The batch of these prompts (none empty) and their responses."""
        responses = [branch for tree in trees for branch in tree.branches]
        lengths = [len(r) for r in responses]
        if self.layout == "tree":
            batch: Batch = pack(trees)
            starts = _packed_starts(trees)
        else:
            batch = pad(trees, self.language_model.config.pad_token_id or 0)
            width = batch.input_ids_NL.shape[1]
            prompts = [len(tree.prompt) for tree in trees for _ in tree.branches]
            starts = [(row * width + p - 1, row * width + p) for row, p in enumerate(prompts)]
        predictors = [np.arange(first - 1, first - 1 + n) for (_, first), n in zip(starts, lengths, strict=True)]
        for predictor, (before, _) in zip(predictors, starts, strict=True):
            predictor[0] = before
        return PolicyBatch(
            batch,
            torch.from_numpy(np.concatenate(predictors)),
            torch.from_numpy(np.concatenate(responses).astype(np.int64)),
            torch.from_numpy(np.repeat(np.arange(len(responses)), lengths)),
        )

    def collate_sequences(self, sequences: Sequence[TokenIds], learnt: Sequence[np.ndarray]) -> PolicyBatch:
        """The batch of whole sequences, none of which sees another.

        Args:
            learnt: for every token of a sequence, whether it is a target. The first token cannot be: nothing
                predicts it.
        """
        trees = [PromptTree(ids[:0], (ids,)) for ids in sequences]
        if self.layout == "tree":
            batch: Batch = pack(trees)
            starts = np.cumsum([0, *map(len, sequences[:-1])])
        else:
            batch = pad(trees, self.language_model.config.pad_token_id or 0)
            starts = np.arange(len(sequences)) * batch.input_ids_NL.shape[1]
        places = [np.flatnonzero(mask[1:]) for mask in learnt]  # of the token before each target
        return PolicyBatch(
            batch,
            torch.from_numpy(np.concatenate([start + each for start, each in zip(starts, places, strict=True)])),
            torch.from_numpy(
                np.concatenate([ids[each + 1] for ids, each in zip(sequences, places, strict=True)]).astype(np.int64)
            ),
            torch.from_numpy(np.repeat(np.arange(len(sequences)), [len(each) for each in places])),
        )

    def forward(
        self,
        batch: PolicyBatch,
        temperature: float = 1.0,
        measure: Measure = token_logprobs,
        *,
        together: bool = True,
    ) -> Any:
        model: Any = self.language_model
        inputs = batch.batch
        target_T, mine_T = batch.target_T, None
        if isinstance(inputs, TreeBatch):
            hidden_TH = tree_hidden_states(model.base_model, inputs, batch.predictor_T, self.sequence)
            if self.sequence is not None:
                mine_T = self.sequence.mine(batch.predictor_T, inputs.tokens)
                target_T = target_T[mine_T]
        else:
            output = model.base_model(inputs.input_ids_NL, attention_mask=inputs.attention_mask_NL, use_cache=False)
            hidden_TH = output.last_hidden_state.flatten(0, 1)[batch.predictor_T]
        head = model.get_output_embeddings()
        weight_VH = head.weight
        if head.bias is not None:  # as one more column of the weights, multiplied by a 1
            hidden_TH = torch.cat([hidden_TH, hidden_TH.new_ones(len(hidden_TH), 1)], 1)
            weight_VH = torch.cat([weight_VH, head.bias[:, None]], 1)
        values = measure(hidden_TH, weight_VH, target_T, temperature)
        if mine_T is None or not together:
            return values
        assert self.sequence is not None
        return tuple(self.sequence.whole(each, mine_T) for each in values)


def _packed_starts(trees: Sequence[PromptTree]) -> list[tuple[int, int]]:
    """For every sample, the places of its prompt's last token and of its own first token in the packed row."""
    starts, at = [], 0
    for tree in trees:
        end = at = at + len(tree.prompt)
        for branch in tree.branches:
            starts.append((end - 1, at))
            at += len(branch)
    return starts


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase | None:
    """The tokenizer that the configuration names; ``None``: train one.

    A policy needs no pad token of its own, because every batch has a mask: without one, the end token pads.
    """
    tokenizer = pretrained.load_tokenizer(config)
    if tokenizer is not None and tokenizer.pad_token_id is None and tokenizer.eos_token_id is not None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def end_ids(config: PolicyConfig) -> list[int]:
    """Tokens that end a response, as the generation settings of a pretrained model name them; none of a new model."""
    path = pretrained.resolve(config)
    if path is None:
        return []
    try:
        named = GenerationConfig.from_pretrained(path, revision=config.revision or "main").eos_token_id
    except OSError:  # the model comes without such settings
        return []
    return list(named) if isinstance(named, list) else [named] if named is not None else []


def build_policy(config: PolicyConfig, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype) -> Policy:
    """A policy ready for the engine. Call it inside :func:`reward_models.runtime.engine.model_loading`.

    Raises:
        ValueError: the architecture cannot be trained by its log-probabilities here, see :func:`check_policy`; or a
            weight is missing.
    """
    architecture = policy_architecture(config, tokenizer)
    layout = pretrained.choose_layout(config, architecture)
    model, _ = pretrained.build_pretrained(config, architecture, AutoModelForCausalLM, tokenizer, dtype)
    frozen = pretrained.freeze(model, config.freeze_layers)
    if config.lora is None:
        return Policy(model, layout)
    return Policy(pretrained.with_lora(model, config.lora, "CAUSAL_LM", [], frozen), layout)


def policy_architecture(config: PolicyConfig, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """The language model's configuration, with the tokenizer's special tokens."""
    architecture = pretrained.load_architecture(config, tokenizer)
    architecture.pad_token_id = tokenizer.pad_token_id
    if architecture.eos_token_id is None:
        architecture.eos_token_id = tokenizer.eos_token_id
    if getattr(architecture, "final_logit_softcapping", None):
        raise ValueError(f"{architecture.model_type} caps its logits softly, which the policy's loss does not compute")
    return architecture


@torch.no_grad()
def check_policy(policy: Policy, device: torch.device, tolerance: float = 0.1) -> None:
    """Refuse a model whose own logits differ from those that :class:`Policy` computes: one that scales or caps them.

    Every rank must call it, for under ZeRO stage 3 the model runs. ``ValueError`` if the log-probabilities of a few
    tokens differ by more than ``tolerance`` nats (bf16 rounds to about a hundredth).
    """
    model: Any = policy.language_model
    was_training = policy.training
    policy.eval()
    ids = torch.arange(1, 9, device=device) % model.config.vocab_size
    tree = PromptTree(ids[:4].cpu().numpy().astype(np.int32), (ids[4:].cpu().numpy().astype(np.int32),))
    ours, _ = policy(policy.collate([tree]).to(device))
    extra = {"tree": pack([tree]).to(device)} if policy.layout == "tree" else {}
    logits = model(
        input_ids=ids[None], use_cache=False, position_ids=torch.arange(8, device=device)[None], **extra
    ).logits
    plain = logits[0, 3:7].float().log_softmax(1).gather(1, ids[4:, None])[:, 0]
    policy.train(was_training)
    if (gap := float((ours - plain).abs().max())) > tolerance:
        raise ValueError(
            f"{type(model).__name__} changes its logits behind the output layer (log-probabilities differ by "
            f"{gap:.2g}); it cannot be trained here"
        )


def save_policy(
    policy: Policy,
    weights: dict[str, torch.Tensor],
    directory: Path,
    tokenizer: PreTrainedTokenizerBase,
    lora: LoraConfig | None,
) -> None:
    """Save a plain transformers model (or, with ``lora.merge=false``, the adapter) and its tokenizer.

    Args:
        weights: all weights by their name in ``policy.model``; the module itself may be partitioned over ranks.
    """
    policy.language_model.config.use_cache = True
    policy.language_model.generation_config = generation_settings(policy, tokenizer)
    pretrained.save_weights(policy.model, weights, directory, lora)
    policy.language_model.generation_config.save_pretrained(directory)  # an adapter is saved without it
    tokenizer.save_pretrained(directory)


def generation_settings(policy: Policy, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """DeepSeek-R1's settings of sampling for use, and the tokens that end a response.

    transformers, vLLM and SGLang take them as their defaults. Other settings of the base, such as a penalty on
    repetition, are left out: the policy was trained without them.
    """
    before = policy.language_model.generation_config
    ends = getattr(before, "eos_token_id", None)
    return GenerationConfig(
        do_sample=True,
        temperature=0.6,
        top_p=0.95,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id if ends is None else ends,
        pad_token_id=tokenizer.pad_token_id,
    )
