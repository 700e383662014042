"""The reward model: a transformers sequence classifier with one label, run on prompt trees where it can be."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from reward_models.attributes import AttributeHead
from reward_models.backbone import pretrained
from reward_models.backbone.config import LoraConfig, ModelConfig
from reward_models.backbone.pretrained import Layout, load_complete
from reward_models.backbone.tree_attention import TREE_ATTENTION, Keep, supports_trees, tree_hidden_states
from reward_models.data.manifest import KEEL_KEY
from reward_models.data.records import ATTRIBUTES
from reward_models.data.tree_batches import Batch, TreeBatch, pack, pad
from reward_models.data.trees import PromptTree
from reward_models.runtime.config import ConfigError
from reward_models.runtime.engine import gathered
from reward_models.runtime.sequence import SequenceGroup

AUTO_CLASS = "AutoModelForSequenceClassification"
POSITION_TABLES = frozenset({"position_embeddings", "wpe", "embed_positions"})
# The first that a vocabulary holds becomes the pad token where a tokenizer names none; the first of all is added.
PAD_TOKENS = ("<|pad|>", "<pad>", "[PAD]", "<|padding|>", "<|finetune_right_pad_id|>")


class SequenceScorer(nn.Module):
    """Scores whole sequences: ``forward(batch) -> scores_N``, float32, one per sequence of the batch, in its order.

    A model with attribute heads gives ``outputs_NA``; with a ``head``, their weighted combination as ``scores_N``.
    """

    def __init__(self, model: nn.Module, layout: Layout, head: AttributeHead | None = None) -> None:
        super().__init__()
        self.head = head
        self.model = model  # a PreTrainedModel, or peft's wrapper around one
        self.layout = layout
        self.sequence: SequenceGroup | None = None  # of a run: the ranks that share a batch's tokens

    @property
    def classifier(self) -> PreTrainedModel:
        """The transformers model, without peft's wrapper."""
        model: Any = self.model
        return model.get_base_model() if hasattr(model, "peft_config") else model

    def collate(self, trees: list[PromptTree]) -> Batch:
        return pack(trees) if self.layout == "tree" else pad(trees, self.classifier.config.pad_token_id)

    def forward(self, batch: Batch, keep: Keep | None = None) -> torch.Tensor:
        outputs_NA = self.outputs(batch, keep)
        if outputs_NA.shape[1] == 1:
            return outputs_NA[:, 0]
        return outputs_NA if self.head is None else outputs_NA @ outputs_NA.new_tensor(self.head.weights)

    def outputs(self, batch: Batch, keep: Keep | None = None) -> torch.Tensor:
        """All outputs of the head, float32, ``[N, labels]``; ``keep`` is shown the keys and values of a tree batch."""
        classifier: Any = self.classifier
        if isinstance(batch, TreeBatch):
            hidden_NH = tree_hidden_states(classifier.base_model, batch, batch.last_N, self.sequence, keep)
            outputs_NA = classifier.score(hidden_NH).float()
            if self.sequence is not None:
                outputs_NA = self.sequence.whole(outputs_NA, self.sequence.mine(batch.last_N, batch.tokens))
            return outputs_NA
        if hasattr(classifier, "score"):  # decoders: read at the given position, which pad ids would not tell
            output = classifier.base_model(batch.input_ids_NL, attention_mask=batch.attention_mask_NL, use_cache=False)
            rows = torch.arange(len(batch.last_N), device=batch.last_N.device)
            return classifier.score(output.last_hidden_state[rows, batch.last_N]).float()
        return classifier(batch.input_ids_NL, attention_mask=batch.attention_mask_NL).logits.float()


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase | None:
    """The tokenizer that the configuration names, with a pad token that is not the end token; ``None``: train one.

    transformers reads the score at the last token that is not padding. If the end token padded too, it would read one
    token early.
    """
    tokenizer = pretrained.load_tokenizer(config)
    if tokenizer is not None and tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        known = tokenizer.get_vocab()
        tokenizer.pad_token = next((token for token in PAD_TOKENS if token in known), None)
        if tokenizer.pad_token is None:
            tokenizer.add_special_tokens({"pad_token": PAD_TOKENS[0]})
    return tokenizer


def build_model(
    config: ModelConfig,
    tokenizer: PreTrainedTokenizerBase,
    task: str,
    dtype: torch.dtype,
    *,
    attributes: bool = False,
) -> SequenceScorer:
    """A classifier with one label, or one for each attribute, ready for the engine.

    Its head is initialised if the weights bring none.

    Call it inside :func:`reward_models.runtime.engine.model_loading`, which partitions it for ZeRO stage 3.
    """
    architecture = _architecture(config, tokenizer, task)
    if attributes:
        _label(architecture, ATTRIBUTES)
        architecture.problem_type = "regression"
    layout = pretrained.choose_layout(config, architecture)
    model, fresh = pretrained.build_pretrained(
        config, architecture, AutoModelForSequenceClassification, tokenizer, dtype, _is_outside_backbone
    )
    head = getattr(model, head_name(model))
    if (fresh is None or head_name(model) in fresh) and isinstance(head, nn.Linear):
        init_head(head)
    frozen = pretrained.freeze(model, config.freeze_layers)
    if config.lora is None:
        return SequenceScorer(model, layout)
    whole = [
        head_name(model),
        *sorted(name for name in fresh or () if not f"{name}.".startswith(f"{head_name(model)}.")),
    ]
    return SequenceScorer(pretrained.with_lora(model, config.lora, "SEQ_CLS", whole, frozen), layout)


def load_scorer(path: str, dtype: torch.dtype | None, trust_remote_code: bool = False) -> SequenceScorer:
    """A saved model, or an adapter merged into its base, ready to score on the CPU.

    Raises:
        ValueError: it has more than one label, or a weight is missing.
    """
    options: dict[str, Any] = {"dtype": dtype or "auto", "trust_remote_code": trust_remote_code}
    architecture = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    saved = (getattr(architecture, KEEL_KEY, None) or {}).get("attributes")
    head = None if saved is None else AttributeHead.from_facts(saved)
    wanted = 1 if head is None else len(ATTRIBUTES)
    if architecture.num_labels != wanted:
        raise ValueError(
            f"{path} has {architecture.num_labels} labels; a reward model has one, or attribute heads of Keel"
        )
    if head is not None and tuple(architecture.id2label[number] for number in range(wanted)) != ATTRIBUTES:
        raise ValueError(f"{path}: the labels in config.json are not {', '.join(ATTRIBUTES)} in this order")
    layout: Layout = "tree" if supports_trees(architecture) else "padded"
    if layout == "tree":
        options["attn_implementation"] = TREE_ATTENTION
    adapter, auto = Path(path) / "adapter_config.json", AutoModelForSequenceClassification
    if not adapter.is_file():
        return SequenceScorer(load_complete(auto, path, config=architecture, **options)[0], layout, head)
    base = json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"]
    model, _ = load_complete(auto, base, may_lack=_is_outside_backbone, config=architecture, **options)
    return SequenceScorer(pretrained.load_adapter(model, Path(path)), layout, head)


def _is_outside_backbone(weight: str) -> bool:
    """True if pretrained language models may lack this weight: it belongs to a head, or to an encoder's pooler."""
    return bool(re.match(r"(score|classifier|pre_classifier|head)\.|(.*\.)?pooler\.", weight))


def position_limit(model: nn.Module) -> int | None:
    """Length of the table of learnt positions; ``None`` for models without such a table."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in POSITION_TABLES:
            # RoBERTa and models like it count positions from padding_idx + 1
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


def planned_position_limit(config: ModelConfig, tokenizer: PreTrainedTokenizerBase, task: str) -> int | None:
    """:func:`position_limit` of a model that is yet to be built."""
    architecture = _architecture(config, tokenizer, task)
    pretrained.take_unusable_pad(architecture, tokenizer)
    with torch.device("meta"):
        return position_limit(AutoModelForSequenceClassification.from_config(architecture))


def head_name(model: nn.Module) -> str:
    """Name of the score head: ``score`` in decoders, ``classifier`` in encoders."""
    return "score" if hasattr(model, "score") else "classifier"


def init_head(head: nn.Linear) -> None:
    """Normal with standard deviation 1/√(hidden + 1) (Learning to summarize, arXiv:2009.01325, appendix B.1)."""
    with gathered(list(head.parameters())) as writes, torch.no_grad():
        if writes:
            # a generator of its own: loading draws from the global one, by ZeRO stage more or less often
            generator = torch.Generator(head.weight.device).manual_seed(torch.initial_seed())
            nn.init.normal_(head.weight, std=1 / math.sqrt(head.in_features + 1), generator=generator)
            if head.bias is not None:
                nn.init.zeros_(head.bias)


def _architecture(config: ModelConfig, tokenizer: PreTrainedTokenizerBase, task: str) -> PretrainedConfig:
    architecture = pretrained.load_architecture(config, tokenizer)
    own = getattr(architecture, "auto_map", None) or {}  # of a repository with code of its own
    if type(architecture) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING and AUTO_CLASS not in own:
        raise ConfigError(
            f"model: transformers has no sequence classifier for {architecture.model_type} models, so that nothing "
            "could load the reward model; take a base of another architecture"
        )
    _label(architecture, ("helpful" if task == "preference" else "safe",))
    architecture.pad_token_id = tokenizer.pad_token_id
    architecture.eos_token_id = tokenizer.eos_token_id
    architecture.bos_token_id = tokenizer.bos_token_id
    # Without it vLLM would put a sigmoid on the score of a one-label model.
    architecture.problem_type = "regression" if task == "preference" else "multi_label_classification"
    architecture.use_cache = False
    return architecture


def _label(architecture: PretrainedConfig, names: Sequence[str]) -> None:
    architecture.num_labels = len(names)
    architecture.id2label = dict(enumerate(names))
    architecture.label2id = {label: number for number, label in architecture.id2label.items()}


def save_model(
    scorer: SequenceScorer,
    weights: dict[str, torch.Tensor],
    directory: Path,
    tokenizer: PreTrainedTokenizerBase,
    facts: dict[str, Any],
    lora: LoraConfig | None,
) -> None:
    """Save in the layout that transformers, vLLM, SGLang and TRL load.

    Args:
        weights: all weights by their name in ``scorer.model``; the module itself may be partitioned over ranks.
        facts: ours, written into ``config.json`` under the key ``keel``.
    """
    setattr(scorer.classifier.config, KEEL_KEY, facts)
    pretrained.save_weights(scorer.model, weights, directory, lora)
    tokenizer.save_pretrained(directory)
