"""Pretrained transformers models: tokenizer, architecture, loading, adapters, and saving in the plain format.

Reward models and policies both load and save here. A model is complete when it is loaded: a weight that the files lack
is an error, unless it belongs to a part that pretrained models do not have, such as a score head.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from reward_models.backbone.config import LoraConfig, ModelConfig, is_gguf
from reward_models.backbone.gguf import converted, downloaded
from reward_models.backbone.loading import load_complete
from reward_models.backbone.location import lacks_directory, reading_from_hub
from reward_models.backbone.tiled_mlp import tile_mlps
from reward_models.backbone.tree_attention import TREE_ATTENTION, sequence_problem, supports_trees
from reward_models.runtime.config import ConfigError
from reward_models.runtime.disk import explain_full_disk
from reward_models.runtime.engine import gathered

Layout = Literal["tree", "padded"]
# Settings that have an effect although a new configuration does not hold them: the code of many models reads them.
EVERYWHERE = (
    *("head_dim", "partial_rotary_factor", "is_decoder", "attn_implementation", "classifier_dropout"),
    *("rotary_pct", "rotary_emb_base"),  # of GPT-NeoX
)


def resolve(config: ModelConfig) -> str | None:
    """``config.path`` as transformers takes it: a directory or a name on the hub; ``None`` for a new model.

    Raises:
        ValueError: it is a path, and there is no such directory or file.
        OSError: it is a GGUF file on the hub, and cannot be downloaded.
    """
    path = config.locate()
    if path is not None and is_gguf(path):
        return str(converted(downloaded(path, config.revision)))
    if path is not None and lacks_directory(path):
        raise ValueError(f"model.path: no directory {config.path} here; train that model first, or correct the path")
    return path


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase | None:
    """The tokenizer that the configuration names, with its chat template; ``None``: there is none, train one."""
    name = config.tokenizer or resolve(config)
    if name is None:
        return None
    with reading_from_hub(name):
        tokenizer = AutoTokenizer.from_pretrained(
            name,
            revision=None if config.tokenizer else config.revision,
            trust_remote_code=config.trust_remote_code,
        )
    if (template := config.template()) is not None:
        tokenizer.chat_template = template
    return tokenizer


def load_architecture(config: ModelConfig, tokenizer: PreTrainedTokenizerBase | None) -> PretrainedConfig:
    """The transformers configuration of the model, without weights; ``tokenizer`` gives the vocabulary of a new one."""
    path = resolve(config)
    if path is None:
        vocabulary = {} if tokenizer is None else {"vocab_size": len(tokenizer)}
        return new_architecture({**vocabulary, **(config.config or {})})
    with reading_from_hub(path):
        return AutoConfig.from_pretrained(
            path, revision=config.revision, trust_remote_code=config.trust_remote_code, **(config.config or {})
        )


def new_architecture(settings: dict[str, Any]) -> PretrainedConfig:
    """The transformers configuration of a new model; ``settings`` are ``model.config``.

    Raises:
        ConfigError: transformers has no such architecture, or would ignore a setting that the architecture has not.
    """
    name, rest = settings["model_type"], {key: value for key, value in settings.items() if key != "model_type"}
    if name not in CONFIG_MAPPING:
        raise ConfigError(
            f"model.config.model_type={name}: transformers has no such architecture{_near(name, CONFIG_MAPPING)}"
        )
    usual = AutoConfig.for_model(name)
    for key in rest:
        # The settings of rotary positions are renamed when they are read.
        if not hasattr(usual, key) and not key.startswith("rope_") and key not in EVERYWHERE:
            raise ConfigError(f"model.config.{key}: {name} models have no such setting{_near(key, vars(usual))}")
    return AutoConfig.for_model(name, **rest)


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def choose_layout(config: ModelConfig, architecture: PretrainedConfig) -> Layout:
    """The layout of batches that ``config.layout`` means for this architecture."""
    if config.layout == "tree" and not supports_trees(architecture):
        raise ValueError(
            f"model.layout=tree: {architecture.model_type} models cannot run prompt trees; leave it at auto"
        )
    return "tree" if config.layout != "padded" and supports_trees(architecture) else "padded"


def check_sequence_parallel(config: ModelConfig, ranks: int) -> None:
    """``ConfigError`` if ``engine.sequence_parallel=ranks`` cannot be computed with this model; reads no weights."""
    if ranks > 1:
        check_shared(config, load_architecture(config, None), ranks)


def check_shared(config: ModelConfig, architecture: PretrainedConfig, ranks: int) -> None:
    """``ConfigError`` if ``ranks`` ranks cannot share the tokens of a model of this architecture."""
    problem = sequence_problem(architecture, ranks)
    if problem is None and config.layout == "padded":
        problem = "padded batches are not shared between ranks; leave model.layout at auto"
    if problem is not None:
        raise ConfigError(f"engine.sequence_parallel={ranks}: {problem} ({config.path or 'the new model'})")


def build_pretrained(
    config: ModelConfig,
    architecture: PretrainedConfig,
    kind: Any,
    tokenizer: PreTrainedTokenizerBase,
    dtype: torch.dtype,
    may_lack: Callable[[str], bool] = lambda _: False,
) -> tuple[PreTrainedModel, set[str] | None]:
    """A model with weights and a row for every token, in the layout's attention, before any adapter.

    Call it inside :func:`reward_models.runtime.engine.model_loading`, which partitions it for ZeRO stage 3.

    Args:
        architecture: as :func:`load_architecture` gives it, with the caller's changes.
        kind: one of transformers' auto classes, e.g. ``AutoModelForCausalLM``.
        may_lack: whether the weight of this name may be absent from the files; it is then initialised.

    Returns:
        The model, and the names of the modules that were initialised; ``None`` if all of it was: a new model.

    Raises:
        ValueError: a weight is absent, or has another shape; or the adapter would not fit the pretrained model.
    """
    options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": config.trust_remote_code}
    if choose_layout(config, architecture) == "tree":
        options["attn_implementation"] = TREE_ATTENTION
    pad = take_unusable_pad(architecture, tokenizer)
    path, fresh = resolve(config), None
    if path is None:
        model = kind.from_config(architecture, **options)
    else:
        model, missing = load_complete(
            kind, path, may_lack=may_lack, config=architecture, revision=config.revision, **options
        )
        fresh = {key.rpartition(".")[0] for key in missing}
    rows = model.get_input_embeddings().num_embeddings
    if rows < len(tokenizer):
        if config.lora is not None and not config.lora.merge:
            raise ValueError(
                f"model.lora.merge=false: {config.path} has {rows:,} embedding rows for {len(tokenizer):,} tokens (a "
                "pad token is added where there is none): the adapter alone would not fit. Set model.lora.merge=true, "
                "or give a model with spare rows or a tokenizer with a pad token of its own"
            )
        _add_rows(model, len(tokenizer))
    if pad is not None:
        model.config.pad_token_id = pad
    if config.mlp_tiles > 1:
        tile_mlps(model, config.mlp_tiles)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model, fresh


def take_unusable_pad(architecture: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Take out of ``architecture``, and return, a pad token that no embedding can be built with.

    torch refuses a padding index beyond the embedding, and would not train the row of an end token that also pads.
    """
    pad = architecture.pad_token_id
    if pad is None or (pad < architecture.get_text_config().vocab_size and pad != tokenizer.eos_token_id):
        return None
    architecture.pad_token_id = None
    return int(pad)


def _add_rows(model: PreTrainedModel, count: int) -> None:
    """Give the embedding, and an output layer, at least ``count`` rows; new ones are the mean of the old.

    The mean leaves the probabilities of other tokens nearly as they were, and is the same on every rank.
    """
    embedding: Any = model.get_input_embeddings()
    old = embedding.num_embeddings
    model.resize_token_embeddings(count, pad_to_multiple_of=8, mean_resizing=False)
    layers: list[Any] = [each for each in (model.get_input_embeddings(), model.get_output_embeddings()) if each]
    for weight in {id(layer.weight): layer.weight for layer in layers}.values():
        with gathered([weight]) as writes, torch.no_grad():
            if writes:
                weight[old:] = weight[:old].float().mean(0).to(weight.dtype)


def check_depth(architecture: PretrainedConfig, frozen: int) -> int:
    """The number of layers; ``ValueError`` if there are no more than ``frozen``."""
    depth: int = architecture.get_text_config().num_hidden_layers
    if frozen >= depth:
        raise ValueError(
            f"model.freeze_layers={frozen}: the model has {depth} layers, and at least one must be trained"
        )
    return depth


def freeze(model: PreTrainedModel, count: int) -> list[str]:
    """Exclude the embeddings and the ``count`` lowest layers from training; returns the names of their modules.

    Raises:
        ValueError: the model has no more layers than that, or they cannot be told.
    """
    if not count:
        return []
    depth = check_depth(model.config, count)
    stacks = [n for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    if len(stacks) != 1:
        raise ValueError(f"model.freeze_layers: the layers of a {model.config.model_type} cannot be told")
    names = {name: module for name, module in model.named_modules() if module is not model}
    inside = next(name for name, module in names.items() if module is model.get_input_embeddings())
    around = inside.rpartition(".")[0]  # BERT's embeddings are a module with a norm
    frozen = [around] if around and names[around] is not model.base_model else []
    frozen += [name for name, module in names.items() if isinstance(module, nn.Embedding)]
    frozen += [f"{stacks[0]}.{number}" for number in range(count)]
    for name in frozen:
        names[name].requires_grad_(False)
    return frozen


def with_lora(
    model: PreTrainedModel, lora: LoraConfig, task: str, whole: list[str], frozen: Sequence[str] = ()
) -> nn.Module:
    """Adapters around ``model``.

    Args:
        frozen: modules that get none, as :func:`freeze` names them.
        task: peft's task type, ``SEQ_CLS`` or ``CAUSAL_LM``.
        whole: modules without pretrained weights; they are trained and saved in full.
    """
    import peft

    targets = lora.target_modules or ["all-linear"]
    without = [*whole, *frozen]
    settings = peft.LoraConfig(
        task_type=peft.TaskType[task],
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear" if targets == ["all-linear"] else targets,
        exclude_modules=rf"(.*\.)?({'|'.join(map(re.escape, without))})(\..*)?" if without else None,
        modules_to_save=whole or None,
    )
    return peft.get_peft_model(model, settings)


def load_adapter(model: PreTrainedModel, directory: Path) -> PreTrainedModel:
    """``model`` with the adapter of ``directory`` merged into it.

    Raises:
        ValueError: the adapter's file lacks a weight, or cannot be read.
    """
    import peft
    from safetensors import safe_open

    try:
        with safe_open(directory / peft.utils.SAFETENSORS_WEIGHTS_NAME, framework="pt") as file:
            held = set(file.keys())
        wrapped = peft.PeftModel.from_pretrained(model, directory)
        missing = sorted(set(peft.get_peft_model_state_dict(wrapped)) - held)
    except KeyError as error:  # of a module that is saved whole
        missing = [str(error.args[0])]
    except (RuntimeError, OSError, SafetensorError) as error:
        raise ValueError(f"{directory}: the adapter cannot be loaded: {error}") from error
    if missing:
        raise ValueError(
            f"{directory}: the adapter is incomplete: it lacks {', '.join(missing[:5])}. Copy the model anew"
        )
    return wrapped.merge_and_unload()  # type: ignore[operator,no-any-return]


def save_adapter(model: nn.Module, weights: dict[str, torch.Tensor], directory: Path) -> None:
    """Save the adapters of peft's wrapper ``model``, and nothing else, with ``weights`` in place of its own."""
    import peft
    from safetensors.torch import save_file

    directory.mkdir(parents=True)
    held = peft.get_peft_model_state_dict(model, state_dict=weights)
    save_file(held, directory / peft.utils.SAFETENSORS_WEIGHTS_NAME)
    settings: Any = model.peft_config
    settings["default"].save_pretrained(directory)


def save_weights(model: nn.Module, weights: dict[str, torch.Tensor], directory: Path, lora: LoraConfig | None) -> None:
    """Save a transformers model, or peft's wrapper around one, with ``weights`` in place of its own.

    Args:
        weights: all weights by their name in ``model``; the module itself may be partitioned over ranks.
        lora: the adapters' configuration, which says whether they are merged or saved alone; ``None``: no wrapper.
    """
    base: Any = model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator]
    dtype = next(w.dtype for w in weights.values() if w.is_floating_point())
    model.to(dtype)
    base.config.dtype = dtype  # config.json names it, and the model will be loaded in it
    with explain_full_disk(f"the model in {directory}"):
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
