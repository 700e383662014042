"""Scoring groups of samples: ``RewardModel`` against the way TRL's ``GRPOTrainer`` scores them in its loop.

    python benchmarks/scoring.py --out benchmarks/results/scoring_cpu.json

Both load the same saved model and get the same conversations: prompts of about 150 tokens with 16 samples each, of the
lengths that replies in the data have. TRL renders all of them and runs one padded forward over the whole batch; here
``GRPOTrainer._calculate_rewards`` itself is called. Ours runs each prompt once. They take turns in one process, from
text to scores; the scores must agree.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import DATA, Times, environment, in_turn, parser, ratios, settings, timed, write
from models import MODELS, Turns, conversations, save_reward_model

from reward_models import RewardModel
from reward_models.data.sources import load


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


def main() -> None:
    made = parser(__doc__, repeats=7, device=True)
    add = made.add_argument
    add("--model", choices=tuple(MODELS), default="12.6m")
    add("--data", default=str(DATA / "safety" / "hh_harmless_base_pairs.train.jsonl.gz"))
    add("--prompts", type=int, default=8)
    add("--samples", type=int, default=16)
    add("--prompt-tokens", type=int, default=150)
    add("--max-tokens", type=int, help="of a forward pass of ours; default: as keel score has it")
    arguments = made.parse_args()
    torch.set_num_threads(arguments.threads)
    found = environment(arguments.seed, arguments.threads)
    records = load([arguments.data], "comparison").records
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "model"
        save_reward_model(directory, records, arguments)
        model = RewardModel.load(directory, device=arguments.device, max_tokens=arguments.max_tokens)
        turns = conversations(records, model.renderer.tokenizer, arguments)
        ways = {
            "trl": peer(directory, turns, arguments),
            "keel": lambda: [score.raw for score in model.score(turns)],
        }
        scores = {name: way() for name, way in ways.items()}  # warm-up
        clocked = {name: partial(timed, way, arguments.device) for name, way in ways.items()}
        times = {name: [t for t, _ in each] for name, each in in_turn(clocked, arguments.repeats).items()}
        result = summarise(times, scores, turns, model, arguments) | {"environment": found}
    write(
        arguments.out, result, ("ratio", "median_seconds", "median_cpu_seconds", "tokens", "largest_score_difference")
    )


def summarise(
    times: dict[str, list[Times]],
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
    seconds = {name: [t.wall for t in each] for name, each in times.items()}
    cpu = {name: [t.cpu for t in each] for name, each in times.items()}
    each_repeat = ratios(seconds["trl"], seconds["keel"])
    return {
        "benchmark": "scoring",
        "ratio": round(statistics.median(each_repeat), 3),
        "ratio_is": "seconds of TRL's reward computation over ours, median of the repeats' ratios",
        "ratios": [round(r, 3) for r in each_repeat],
        "peer": "TRL GRPOTrainer._calculate_rewards with a sequence classifier as reward function",
        "repeats": arguments.repeats,
        "median_seconds": {name: round(statistics.median(values), 4) for name, values in seconds.items()},
        "median_cpu_seconds": {name: round(statistics.median(values), 4) for name, values in cpu.items()},
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
        "settings": settings(arguments),
    }


if __name__ == "__main__":
    main()
