"""The reward model: a transformers sequence classifier with one label, run on prompt trees where it can be."""

from __future__ import annotations

import importlib.resources
import importlib.util
import json
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

from reward_models.backbone.tree_attention import TREE_ATTENTION, supports_trees, tree_hidden_states
from reward_models.data.trees import Batch, PromptTree, TreeBatch, pack, pad

Layout = Literal["tree", "padded"]
POSITION_TABLES = frozenset({"position_embeddings", "wpe", "embed_positions"})
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
        path: hub name or directory of a pretrained model, or ``package:NAME/FOLDER`` for one that an installed Python
            package carries. Leave empty to build a new model from ``config``.
        revision: branch, tag or commit of a hub model.
        config: architecture of a new model: ``model_type`` and that type's own settings. With ``path``: settings that
            replace the pretrained model's, such as dropout.
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
        if self.path is None and self.config is not None and "model_type" not in self.config:
            raise ValueError("model.config needs a model_type, e.g. qwen3")
        self.locate()
        if self.lora is not None and not self.lora.merge and self.path is None:
            raise ValueError(
                "model.lora.merge=false needs a pretrained model (model.path): an adapter alone is no model"
            )
        self.template()

    def template(self) -> str | None:
        """The text of ``chat_template``. ``ValueError`` if there is no such file."""
        if self.chat_template is None:
            return None
        if not Path(self.chat_template).is_file():
            raise ValueError(f"model.chat_template: no file {self.chat_template}")
        return Path(self.chat_template).read_text(encoding="utf-8")

    def locate(self) -> str | None:
        """``path`` as transformers takes it: a directory, or a name on the hub.

        Raises:
            ValueError: no such directory or package.
        """
        path = self.path
        if path is not None and path.startswith("package:"):
            package, _, folder = path.removeprefix("package:").partition("/")
            if importlib.util.find_spec(package) is None:
                raise ValueError(
                    f"model.path={path}: the Python package {package} is not installed; "
                    f"pip install {package.replace('_', '-')}"
                )
            path = str(importlib.resources.files(package) / folder)
        if path is not None and path.startswith((".", "/", "~")):
            path = str(Path(path).expanduser())
            if not Path(path).is_dir():
                raise ValueError(f"model.path: no directory {self.path}")
        return path


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
    name = config.tokenizer or config.locate()
    if name is None:
        return None
    tokenizer = AutoTokenizer.from_pretrained(
        name,
        revision=None if config.tokenizer else config.revision,
        trust_remote_code=config.trust_remote_code,
    )
    if (template := config.template()) is not None:
        tokenizer.chat_template = template
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        # transformers pools at the last token that is not padding: were pad the end token, it would read one too early
        tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    return tokenizer


def build_model(
    config: ModelConfig, tokenizer: PreTrainedTokenizerBase, task: str, dtype: torch.dtype
) -> SequenceScorer:
    """A classifier with one label, its head initialised if the weights bring none, ready for the engine.

    Call it inside :func:`reward_models.runtime.engine.model_loading`, which partitions it for ZeRO stage 3.
    """
    architecture = _architecture(config, tokenizer, task)
    layout = _layout(config, architecture)
    options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": config.trust_remote_code}
    if layout == "tree":
        options["attn_implementation"] = TREE_ATTENTION
    path = config.locate()
    if path is None:
        model = AutoModelForSequenceClassification.from_config(architecture, **options)
        fresh = {head_name(model)}
    else:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            path, config=architecture, revision=config.revision, output_loading_info=True, **options
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


def load_scorer(path: str, dtype: torch.dtype | None, trust_remote_code: bool = False) -> SequenceScorer:
    """A saved model, or an adapter merged into its base, ready to score on the CPU.

    Raises:
        ValueError: it has more than one label.
    """
    options: dict[str, Any] = {"dtype": dtype or "auto", "trust_remote_code": trust_remote_code}
    architecture = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    if architecture.num_labels != 1:
        raise ValueError(f"{path} has {architecture.num_labels} labels; a reward model has one")
    layout: Layout = "tree" if supports_trees(architecture) else "padded"
    if layout == "tree":
        options["attn_implementation"] = TREE_ATTENTION
    adapter = Path(path) / "adapter_config.json"
    if not adapter.is_file():
        return SequenceScorer(
            AutoModelForSequenceClassification.from_pretrained(path, config=architecture, **options), layout
        )
    import peft

    base = json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"]
    model = AutoModelForSequenceClassification.from_pretrained(base, config=architecture, **options)
    return SequenceScorer(peft.PeftModel.from_pretrained(model, path).merge_and_unload(), layout)


def position_limit(model: nn.Module) -> int | None:
    """The longest sequence that a table of learnt positions allows; ``None`` for models without such a table."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in POSITION_TABLES:
            # RoBERTa and its kin begin to count behind the padding index
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


def planned_position_limit(config: ModelConfig, tokenizer: PreTrainedTokenizerBase, task: str) -> int | None:
    """:func:`position_limit` of a model that is yet to be built."""
    with torch.device("meta"):
        return position_limit(AutoModelForSequenceClassification.from_config(_architecture(config, tokenizer, task)))


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


def _architecture(config: ModelConfig, tokenizer: PreTrainedTokenizerBase, task: str) -> PretrainedConfig:
    path = config.locate()
    if path is None:
        settings = {"vocab_size": len(tokenizer), **(config.config or {})}
        architecture = AutoConfig.for_model(settings.pop("model_type"), **settings)
    else:
        architecture = AutoConfig.from_pretrained(
            path, revision=config.revision, trust_remote_code=config.trust_remote_code, **(config.config or {})
        )
    architecture.num_labels = 1
    architecture.id2label = {0: "helpful" if task == "preference" else "safe"}
    architecture.label2id = {label: number for number, label in architecture.id2label.items()}
    architecture.pad_token_id = tokenizer.pad_token_id
    architecture.eos_token_id = tokenizer.eos_token_id
    architecture.bos_token_id = tokenizer.bos_token_id
    # Without it vLLM would put a sigmoid on the score of a one-label model.
    architecture.problem_type = "regression" if task == "preference" else "multi_label_classification"
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
    setattr(scorer.classifier.config, KEEL_KEY, facts)
    save_weights(scorer.model, weights, directory, lora)
    tokenizer.save_pretrained(directory)


def save_weights(model: nn.Module, weights: dict[str, torch.Tensor], directory: Path, lora: LoraConfig | None) -> None:
    """Save a transformers model, or peft's wrapper around one, with ``weights`` in place of its own.

    Args:
        lora: how the wrapper came about: its adapters are merged, or saved alone, as it says.
    """
    base: Any = model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator]
    dtype = next(w.dtype for w in weights.values() if w.is_floating_point())
    model.to(dtype)
    base.config.dtype = dtype  # what config.json names, and what it will be loaded in
    if lora is None:
        base.save_pretrained(directory, state_dict=weights)
    elif lora.merge:
        _put(weights, model)
        base.tie_weights()  # weights arrive one by one; tied ones would be saved twice
        model.merge_and_unload().save_pretrained(directory)  # type: ignore[operator]
    else:
        model.save_pretrained(directory, state_dict=weights)  # type: ignore[operator]
        base.config.save_pretrained(directory)


def _put(weights: dict[str, torch.Tensor], module: nn.Module) -> None:
    """Give ``module`` whole weights; those of ZeRO stage 3 are empty tensors, into which nothing can be loaded."""
    for name, tensor in weights.items():
        owner, _, leaf = name.rpartition(".")
        holder = module.get_submodule(owner)
        is_parameter = isinstance(getattr(holder, leaf), nn.Parameter)
        setattr(holder, leaf, nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor)
