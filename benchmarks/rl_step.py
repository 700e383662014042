"""Whole steps of reinforcement learning (rollout, rewards, update) against TRL's ``GRPOTrainer``.

    python benchmarks/rl_step.py --out benchmarks/results/rl_step_cpu.json

Both train the same random policy on the same prompts with the same group size, completion length, loss and reward; the
rollout feeds one update (``steps_per_rollout=1``), without a reference model. Completions end in one of two ways:
``ragged``, where the policy ends a response with the same probability at every token, so that lengths are geometric as
far as the limit; and ``even``, where it hardly ever does and all are as long as the limit, which leaves only the shared
prompt to be saved. Each repeat runs TRL and then us in a process of its own; a ratio is TRL's seconds over ours.
``ratio`` is that of ragged completions at the longer prompts.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import DATA, clock, environment, in_process, in_turn, median_ratio, parser, ratios, settings, write
from models import MODELS
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from reward_models.data.chat import prompt_text, tokenize_texts, train_tokenizer
from reward_models.data.sources import load

PHASES = ("rollout", "rewards", "update")
ENDINGS = ("ragged", "even")


class Letters:
    """The reward: which share of a response are letters of the first half of the alphabet. It costs next to nothing."""

    name = "letters"

    def applies(self, sample: Any) -> bool:
        return True

    def score(self, samples: Sequence[Any]) -> list[float]:
        return [letters(sample.response) for sample in samples]


def letters(text: str) -> float:
    return sum("a" <= c <= "m" for c in text) / max(1, len(text))


def prepare(folder: Path, arguments: argparse.Namespace) -> dict[int, float]:
    """A random policy, and for each wanted length the prompts nearest to it; returns their mean lengths."""
    records = load([arguments.data], "comparison").records
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
        per_device_train_batch_size=arguments.prompts * arguments.samples,
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
    seconds = {name: medians(repeats) for name, repeats in runs.items()}
    steps = {name: [medians([repeat])["step"] for repeat in repeats] for name, repeats in runs.items()}
    return {
        "ratio": median_ratio(steps["trl"], steps["keel"]),
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
    made = parser(__doc__, repeats=3, device=True)
    add = made.add_argument
    add("--model", choices=tuple(MODELS), default="12.6m")
    add("--data", default=str(DATA / "safety" / "hh_harmless_base_pairs.train.jsonl.gz"))
    add("--prompts", type=int, default=4, help="of a step")
    add("--samples", type=int, default=16, help="per prompt")
    add("--prompt-tokens", type=int, nargs="+", default=[20, 150])
    add("--completion-tokens", type=int, default=64, help="the limit of a completion")
    add("--mean-completion", type=float, default=24, help="tokens of a ragged completion, were there no limit")
    add("--steps", type=int, default=4, help="timed steps of a repeat")
    add("--warmup", type=int, default=1)
    add("--job", type=Path, help=argparse.SUPPRESS)
    arguments = made.parse_args()
    if arguments.job:
        job = argparse.Namespace(**json.loads(arguments.job.read_text(encoding="utf-8")))
        torch.set_num_threads(job.threads)
        folder = Path(job.folder)
        run = run_trl if job.run == "trl" else run_keel
        arguments.out.write_text(json.dumps(run(folder, folder / f"{job.length}.jsonl", job)), encoding="utf-8")
        return
    found = environment(arguments.seed, arguments.threads)
    measured: dict[str, dict[str, Any]] = {ending: {} for ending in ENDINGS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        means = prepare(folder, arguments)
        for ending in ENDINGS:
            for wanted in arguments.prompt_tokens:
                given = vars(arguments) | {"folder": folder, "ending": ending, "length": wanted}
                ways = {run: partial(in_process, __file__, given | {"run": run}) for run in ("trl", "keel")}
                figures = summarise(in_turn(ways, arguments.repeats))
                measured[ending][str(wanted)] = figures | {"mean_prompt_tokens": round(means[wanted], 1)}
                print(ending, wanted, json.dumps(figures, indent=1), flush=True)
    longest = str(max(arguments.prompt_tokens))
    result = {
        "benchmark": "rl_step",
        "ratio": measured["ragged"][longest]["ratio"],
        "ratio_is": f"seconds of TRL's step over ours, prompts of about {longest} tokens, ragged completions; median",
        "peer": "TRL GRPOTrainer with transformers' generate",
        "repeats": arguments.repeats,
        "by_completions_and_prompt_tokens": measured,
        "settings": settings(arguments, "job"),
        "environment": found,
    }
    write(arguments.out, result, ("ratio", "ratio_is"))


if __name__ == "__main__":
    main()
