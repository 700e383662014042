"""The reward model: a transformers sequence classifier with one label, run on prompt trees where it can be."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from reward_models.data.trees import Batch, PromptTree, TreeBatch, pack, pad
from reward_models.runtime.tree_attention import TREE_ATTENTION, supports_trees, tree_hidden_states

Layout = Literal["tree", "padded"]
KEEL_KEY = "keel"  # everything of ours in a saved model's config.json stands under this one key


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters (arXiv:2106.09685); the score head is always trained in full.

    Attributes:
        target_modules: names of linear layers, or ``["all-linear"]``.
        merge: save one plain model (the default) rather than the adapter with its head.
    """

    r: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: list[str] | None = None
    merge: bool = True


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which model to train.

    Attributes:
        path: hub name or directory of a pretrained model. Leave empty to build one from ``config``.
        revision: branch, tag or commit of a hub model.
        config: architecture of a new model: ``model_type`` and that type's own settings.
        tokenizer: hub name or directory; default: the model's own. A new model without one trains its own BPE tokenizer
            of ``vocab_size`` entries on the training texts.
        chat_template: a Jinja file to use in place of the tokenizer's template.
        layout: ``tree`` packs trees without padding and computes a shared prompt once, ``padded`` is the plain way;
            ``auto`` takes trees for the architectures that compute them exactly.
        trust_remote_code: run model code from the hub.
    """

    path: str | None = None
    revision: str | None = None
    config: dict[str, Any] | None = None
    tokenizer: str | None = None
    vocab_size: int = 2048
    chat_template: str | None = None
    layout: Literal["auto", "tree", "padded"] = "auto"
    gradient_checkpointing: bool = False
    lora: LoraConfig | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.config is not None and "model_type" not in self.config:
            raise ValueError("model.config needs a model_type, e.g. qwen3")
        if (
            self.path is not None
            and self.path.startswith((".", "/", "~"))
            and not Path(self.path).expanduser().is_dir()
        ):
            raise ValueError(f"model.path: no directory {self.path}")
        if self.lora is not None and not self.lora.merge and self.path is None:
            raise ValueError(
                "model.lora.merge=false needs a pretrained model (model.path): an adapter alone is no model"
            )
        if self.chat_template is not None and not Path(self.chat_template).is_file():
            raise ValueError(f"model.chat_template: no file {self.chat_template}")


class SequenceScorer(nn.Module):
    """Scores whole sequences: ``forward(batch) -> scores_N``, float32, one per sequence of the batch, in its order."""

    def __init__(self, model: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.model = model  # a PreTrainedModel, or peft's wrapper around one
        self.layout = layout

    @property
    def classifier(self) -> PreTrainedModel:
        """The transformers model, without peft's wrapper."""
        model: Any = self.model
        return model.get_base_model() if hasattr(model, "peft_config") else model

    def collate(self, trees: list[PromptTree]) -> Batch:
        return pack(trees) if self.layout == "tree" else pad(trees, self.classifier.config.pad_token_id)

    def forward(self, batch: Batch) -> torch.Tensor:
        classifier: Any = self.classifier
        if isinstance(batch, TreeBatch):
            hidden_T = tree_hidden_states(classifier.base_model, batch)
            return classifier.score(hidden_T[batch.last_N])[:, 0].float()
        if hasattr(classifier, "score"):  # decoders: the position is ours, not guessed from pad ids
            output = classifier.base_model(batch.input_ids_NL, attention_mask=batch.attention_mask_NL, use_cache=False)
            rows = torch.arange(len(batch.last_N), device=batch.last_N.device)
            return classifier.score(output.last_hidden_state[rows, batch.last_N])[:, 0].float()
        return classifier(batch.input_ids_NL, attention_mask=batch.attention_mask_NL).logits[:, 0].float()


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase | None:
    """The tokenizer that the configuration names, with a pad token that is not the end token; ``None``: train one."""
    name = config.tokenizer or config.path
    if name is None:
        return None
    tokenizer = AutoTokenizer.from_pretrained(
        name, revision=config.revision if name == config.path else None, trust_remote_code=config.trust_remote_code
    )
    if config.chat_template is not None:
        tokenizer.chat_template = Path(config.chat_template).read_text(encoding="utf-8")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        # transformers pools at the last token that is not padding: were pad the end token, it would read one too early
        tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    return tokenizer


def build_model(
    config: ModelConfig, tokenizer: PreTrainedTokenizerBase, kind: str, dtype: torch.dtype
) -> SequenceScorer:
    """A classifier with one label, its head initialised if the weights bring none, ready for the engine.

    Call it inside :func:`reward_models.runtime.engine.model_loading`, which partitions it for ZeRO stage 3.
    """
    architecture = _architecture(config, tokenizer, kind)
    layout = _layout(config, architecture)
    options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": config.trust_remote_code}
    if layout == "tree":
        options["attn_implementation"] = TREE_ATTENTION
    if config.path is None:
        model = AutoModelForSequenceClassification.from_config(architecture, **options)
        fresh = {head_name(model)}
    else:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            config.path, config=architecture, revision=config.revision, output_loading_info=True, **options
        )
        fresh = {key.rpartition(".")[0] for key in info["missing_keys"]}
    if model.get_input_embeddings().num_embeddings < len(tokenizer):
        model.resize_token_embeddings(len(tokenizer))
    head = getattr(model, head_name(model))
    if head_name(model) in fresh and isinstance(head, nn.Linear):
        init_head(head)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return SequenceScorer(_with_lora(model, config.lora, fresh) if config.lora is not None else model, layout)


def head_name(model: nn.Module) -> str:
    """Decoders call their head ``score``, encoders ``classifier``."""
    return "score" if hasattr(model, "score") else "classifier"


def init_head(head: nn.Linear) -> None:
    """Normal with standard deviation 1/√(hidden + 1) (Learning to summarize, arXiv:2009.01325, appendix B.1).

    Under ZeRO stage 3 the weight is partitioned: without gathering it, it would silently stay as it was.
    """
    import deepspeed

    with deepspeed.zero.GatheredParameters(list(head.parameters()), modifier_rank=0):
        if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
            # its own generator: how much of the global one loading has used differs between ZeRO stages
            generator = torch.Generator(head.weight.device).manual_seed(torch.initial_seed())
            nn.init.normal_(head.weight, std=1 / math.sqrt(head.in_features + 1), generator=generator)
            if head.bias is not None:
                nn.init.zeros_(head.bias)


def _architecture(config: ModelConfig, tokenizer: PreTrainedTokenizerBase, kind: str) -> PretrainedConfig:
    if config.config is not None:
        settings = {"vocab_size": len(tokenizer), **config.config}
        architecture = AutoConfig.for_model(settings.pop("model_type"), **settings)
    else:
        architecture = AutoConfig.from_pretrained(
            str(config.path), revision=config.revision, trust_remote_code=config.trust_remote_code
        )
    architecture.num_labels = 1
    architecture.id2label = {0: "helpful" if kind == "helpful" else "safe"}
    architecture.label2id = {label: number for number, label in architecture.id2label.items()}
    architecture.pad_token_id = tokenizer.pad_token_id
    architecture.eos_token_id = tokenizer.eos_token_id
    architecture.bos_token_id = tokenizer.bos_token_id
    # Without it vLLM would put a sigmoid on the score of a one-label model.
    architecture.problem_type = "regression" if kind == "helpful" else "multi_label_classification"
    architecture.use_cache = False
    return architecture


def _layout(config: ModelConfig, architecture: PretrainedConfig) -> Layout:
    if config.layout == "tree" and not supports_trees(architecture):
        raise ValueError(
            f"model.layout=tree: {architecture.model_type} models cannot run prompt trees; leave it at auto"
        )
    return "tree" if config.layout != "padded" and supports_trees(architecture) else "padded"


def _with_lora(model: PreTrainedModel, lora: LoraConfig, fresh: set[str]) -> nn.Module:
    """Adapters around ``model``; the head and ``fresh`` modules, which no pretrained weights stand behind, whole."""
    import peft

    head = head_name(model)
    whole = [head, *sorted(name for name in fresh if not f"{name}.".startswith(f"{head}."))]
    targets = lora.target_modules or ["all-linear"]
    settings = peft.LoraConfig(
        task_type=peft.TaskType.SEQ_CLS,
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear" if targets == ["all-linear"] else targets,
        exclude_modules=rf"(.*\.)?({'|'.join(map(re.escape, whole))})(\..*)?",
        modules_to_save=whole,  # left out, they are neither trained nor saved
    )
    return peft.get_peft_model(model, settings)


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
    model: Any = scorer.classifier
    setattr(model.config, KEEL_KEY, facts)
    if lora is None:
        model.save_pretrained(directory, state_dict=weights)
    elif lora.merge:
        _put(weights, scorer.model)
        scorer.model.merge_and_unload().save_pretrained(directory)  # type: ignore[operator]
    else:
        scorer.model.save_pretrained(directory, state_dict=weights)  # type: ignore[operator]
        model.config.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def _put(weights: dict[str, torch.Tensor], module: nn.Module) -> None:
    """Give ``module`` whole weights; those of ZeRO stage 3 are empty tensors, into which nothing can be loaded."""
    for name, tensor in weights.items():
        owner, _, leaf = name.rpartition(".")
        holder = module.get_submodule(owner)
        is_parameter = isinstance(getattr(holder, leaf), nn.Parameter)
        setattr(holder, leaf, nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor)
