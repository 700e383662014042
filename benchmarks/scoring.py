"""Scoring groups of samples: ``RewardModel`` against the way TRL's ``GRPOTrainer`` scores them in its loop.

    python benchmarks/scoring.py --out benchmarks/results/scoring_cpu.json

Both load the same saved model and get the same conversations: prompts of about 150 tokens with 16 samples each, of the
lengths that replies in the data have. TRL renders all of them and runs one padded forward over the whole batch; here
``GRPOTrainer._calculate_rewards`` itself is called. Ours runs each prompt once. They take turns in one process, from
text to scores; the scores must agree.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from environment import ROOT, environment
from rm_training import MODELS

from reward_models import RewardModel
from reward_models.backbone.config import ModelConfig
from reward_models.data.chat import ChatRenderer, train_tokenizer
from reward_models.data.records import Comparison, Message
from reward_models.data.sources import load
from reward_models.model import build_model, save_model

Turns = list[dict[str, str]]


def conversations(records: list[Comparison], tokenizer: Any, arguments: argparse.Namespace) -> list[Turns]:
    """``prompts`` groups: prompts nearest to the wanted length, each with ``samples`` replies drawn from the data."""
    rng = np.random.default_rng(arguments.seed)
    by_prompt = {record.prompt: record for record in records}

    def distance(prompt: tuple[Message, ...]) -> int:
        return abs(sum(len(tokenizer.encode(m.content)) for m in prompt) - arguments.prompt_tokens)

    prompts = sorted(by_prompt, key=distance)[: arguments.prompts]
    replies = [r.content for record in records for r in (record.response_a[0], record.response_b[0])]
    return [
        [
            *({"role": m.role, "content": m.content} for m in prompt),
            {"role": "assistant", "content": replies[i]},
        ]
        for prompt in prompts
        for i in rng.choice(len(replies), arguments.samples, replace=False)
    ]


def save(directory: Path, records: list[Comparison], arguments: argparse.Namespace) -> None:
    """A model of random weights, as a finished run leaves it."""
    tokenizer = train_tokenizer((m.content for r in records for m in (*r.prompt, *r.response_a, *r.response_b)), 4096)
    torch.manual_seed(arguments.seed)
    config = ModelConfig(config=dict(MODELS[arguments.model]))
    scorer = build_model(
        config, tokenizer, "preference", torch.bfloat16 if arguments.dtype == "bf16" else torch.float32
    )
    facts = {"task": "preference", "span": "full", "template_fingerprint": ChatRenderer(tokenizer, "full").fingerprint}
    save_model(scorer, scorer.model.state_dict(), directory, tokenizer, facts, None)


def peer(directory: Path, turns: list[Turns], arguments: argparse.Namespace) -> Callable[[], list[float]]:
    """TRL's own loop code around the model; its policy is never run."""
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    policy = Qwen3ForCausalLM(
        Qwen3Config(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1)
    )
    settings = GRPOConfig(
        output_dir=str(directory / "trl"),
        per_device_train_batch_size=arguments.samples,
        num_generations=arguments.samples,
        use_cpu=arguments.device == "cpu",
        bf16=False,
        report_to="none",
    )
    trainer = GRPOTrainer(
        model=policy,
        reward_funcs=AutoModelForSequenceClassification.from_pretrained(directory, dtype="auto"),
        args=settings,
        train_dataset=Dataset.from_list([{"prompt": turns[0][:-1]}]),
        processing_class=tokenizer,
        reward_processing_classes=AutoTokenizer.from_pretrained(directory),
    )
    prompts, completions = [t[:-1] for t in turns], [t[-1:] for t in turns]
    inputs = [{"prompt": prompt} for prompt in prompts]

    def score() -> list[float]:
        return trainer._calculate_rewards(inputs, prompts, completions, [[] for _ in turns])[:, 0].tolist()

    return score


def timed(score: Callable[[], list[float]], device: str) -> tuple[float, list[float]]:
    began = time.perf_counter()
    result = score()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, result


def main() -> None:
    data = Path(os.environ.get("KEEL_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="JSON file to write")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--dtype", choices=("fp32", "bf16"), default="fp32")
    add("--model", choices=tuple(MODELS), default="12.6m")
    add("--data", default=str(data / "safety" / "hh_harmless_base_pairs.train.jsonl.gz"))
    add("--prompts", type=int, default=8)
    add("--samples", type=int, default=16)
    add("--prompt-tokens", type=int, default=150)
    add("--max-tokens", type=int, help="of a forward pass of ours; default: as keel score has it")
    add("--repeats", type=int, default=7)
    add("--threads", type=int, default=os.cpu_count())
    add("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = environment(arguments.seed, arguments.threads)
    records = load([arguments.data], "comparison").records
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "model"
        save(directory, records, arguments)
        model = RewardModel.load(directory, device=arguments.device, max_tokens=arguments.max_tokens)
        turns = conversations(records, model.renderer.tokenizer, arguments)
        ways = {
            "trl": peer(directory, turns, arguments),
            "keel": lambda: [score.raw for score in model.score(turns)],
        }
        scores = {name: timed(way, arguments.device)[1] for name, way in ways.items()}  # warm-up
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(arguments.repeats):
            for name, way in ways.items():
                seconds[name].append(timed(way, arguments.device)[0])
        result = summarise(seconds, scores, turns, model, arguments) | {"environment": found}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(
        json.dumps({k: result[k] for k in ("ratio", "median_seconds", "tokens", "largest_score_difference")}, indent=1)
    )


def summarise(
    seconds: dict[str, list[float]],
    scores: dict[str, list[float]],
    turns: list[Turns],
    model: RewardModel,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Ratio, medians, and the token counts that explain them."""
    tokenizer = model.renderer.tokenizer
    whole = [
        len(ids) for ids in model.renderer.tokenize([tokenizer.apply_chat_template(t, tokenize=False) for t in turns])
    ]
    prompts = [
        len(model.renderer.tokenize([tokenizer.apply_chat_template(t[:-1], tokenize=False)])[0])
        for t in turns[:: arguments.samples]
    ]
    shared = sum(whole) - (arguments.samples - 1) * sum(prompts)
    padded = len(turns) * max(whole)
    ratios = [peer / ours for peer, ours in zip(seconds["trl"], seconds["keel"], strict=True)]
    return {
        "benchmark": "scoring",
        "ratio": round(statistics.median(ratios), 3),
        "ratio_is": "seconds of TRL's reward computation over ours, median of the repeats' ratios",
        "ratios": [round(r, 3) for r in ratios],
        "peer": "TRL GRPOTrainer._calculate_rewards with a sequence classifier as reward function",
        "repeats": arguments.repeats,
        "median_seconds": {name: round(statistics.median(values), 4) for name, values in seconds.items()},
        "seconds": {name: [round(v, 4) for v in values] for name, values in seconds.items()},
        "tokens": {
            "padded": padded,
            "unpadded": sum(whole),
            "prompt_shared": shared,
            "ceiling": round(padded / shared, 3),
            "mean_prompt": round(float(np.mean(prompts)), 1),
            "mean_sample": round((sum(whole) - arguments.samples * sum(prompts)) / len(turns), 1),
        },
        "largest_score_difference": max(abs(a - b) for a, b in zip(scores["trl"], scores["keel"], strict=True)),
        "settings": {k: str(v) for k, v in vars(arguments).items() if k not in ("out", "data")}
        | {"data": Path(arguments.data).name},
    }


if __name__ == "__main__":
    main()
