"""The policies and prompts that ``rl_step.py`` trains, and the operations of a step."""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from models import MODELS
from rm_training_pairs import write_synthetic
from transformers import AutoConfig, AutoModelForCausalLM

from reward_models.backbone.config import ModelConfig
from reward_models.backbone.pretrained import load_tokenizer, resolve
from reward_models.data.chat import prompt_text, tokenize_texts, train_tokenizer
from reward_models.data.sources import load

ENDINGS = ("ragged", "even")


def prepare(folder: Path, arguments: argparse.Namespace) -> dict[int, float]:
    """The policy, and for each wanted length the prompts nearest to it; returns their mean lengths."""
    if arguments.data == "synthetic":
        arguments.data = str(folder / "synthetic.jsonl")
        words = (min(arguments.prompt_tokens) + 32, max(arguments.prompt_tokens) * 2)
        write_synthetic(Path(arguments.data), 16 * arguments.prompts, arguments.seed, words=words)
    records = load([arguments.data], "comparison").records
    tokenizer = policies(folder, records, arguments)
    prompts = list(dict.fromkeys(r.prompt for r in records))
    lengths = [len(ids) for ids in tokenize_texts(tokenizer, [prompt_text(tokenizer, p) for p in prompts])]
    means = {}
    for wanted in arguments.prompt_tokens:
        nearest = sorted(range(len(prompts)), key=lambda i: abs(lengths[i] - wanted))[: arguments.prompts * 8]
        lines = [
            {"prompt": [{"role": m.role, "content": m.content} for m in prompts[i]], "domain": "helpfulness"}
            for i in nearest
        ]
        (folder / f"{wanted}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        means[wanted] = statistics.fmean(lengths[i] for i in nearest)
    return means


def policies(folder: Path, records: Sequence[Any], arguments: argparse.Namespace) -> Any:
    """Save a policy for each ending; returns their tokenizer."""
    if arguments.base:
        config = ModelConfig(path=arguments.base)
        tokenizer = load_tokenizer(config)
        AutoModelForCausalLM.from_pretrained(resolve(config), dtype=torch.float32).save_pretrained(folder / "natural")
        tokenizer.save_pretrained(folder / "natural")  # type: ignore[union-attr]
        return tokenizer
    tokenizer = train_tokenizer((m.content for r in records for m in (*r.prompt, *r.response_a)), 4096)
    torch.manual_seed(arguments.seed)
    shape = dict(MODELS[arguments.model])
    config = AutoConfig.for_model(
        shape.pop("model_type"),
        **(shape | {"vocab_size": len(tokenizer), "tie_word_embeddings": False}),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    for ending in ENDINGS:
        model = AutoModelForCausalLM.from_config(config)
        if ending == "ragged":
            end_often(model, tokenizer.eos_token_id, arguments)
        model.save_pretrained(folder / ending)
        tokenizer.save_pretrained(folder / ending)
    return tokenizer


@torch.no_grad()
def end_often(model: Any, end: int, arguments: argparse.Namespace) -> None:
    """Let the policy end a response after ``mean_completion`` tokens on average.

    One channel of the hidden state is made constant, and only the end token reads it.
    """
    model.get_input_embeddings().weight[:, 0] = 1.0
    head = model.get_output_embeddings().weight
    head[:, 0] = 0.0
    ids = torch.randint(5, len(head), (16, 64), generator=torch.Generator().manual_seed(arguments.seed))
    hidden = model.base_model(ids).last_hidden_state.flatten(0, 1)
    others = (hidden @ head.t()).logsumexp(1).mean()
    share = 1 / arguments.mean_completion
    head[end] = 0.0
    head[end, 0] = (others + math.log(share / (1 - share))) / hidden[:, 0].mean()


def parameters(model: Path) -> int:
    """Weights that every token is multiplied by: all but the input embedding."""
    config = AutoConfig.from_pretrained(model)
    with torch.device("meta"):
        built = AutoModelForCausalLM.from_config(config)
    tied = bool(config.tie_word_embeddings)
    return sum(p.numel() for p in built.parameters()) - (0 if tied else built.get_input_embeddings().weight.numel())


def useful_flops(model: Path, prompt: float, completion: float, arguments: argparse.Namespace) -> float:
    """Of a step in which every sample has its own prompt: 2 per weight and token to sample, 6 to update."""
    return 8.0 * parameters(model) * (prompt + completion) * arguments.prompts * arguments.samples
