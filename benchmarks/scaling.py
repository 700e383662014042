"""Cost per token against the length of a sequence, the size of a group and the number of ranks, beside the arithmetic.

    python benchmarks/scaling.py --out benchmarks/results/scaling_cpu.json

A small decoder computes the log-probabilities of responses and their gradient (``update``), and samples responses with
the local engine (``sample``), in fp32, a thread a rank. Cost is the processor time of all ranks over the tokens of
the responses, so that other work on the machine does not count. The arithmetic is that of the matrix products and of
attention, which grows with the tokens that a token sees, at the speed of a square matrix product on this machine:
2 operations for each weight and token, and as many for each key, value and unit of the heads' width; three times that
with the backward pass. A prompt counts once for all samples of its group. ``share`` is the arithmetic over the cost;
where it falls, a curve bends away from the arithmetic. ``ratio`` is the cost per token of an update on two ranks over
that on one.

Beside the JSON file stands a picture (`.svg`). A point is the least of the repeats. Curves go into the file as they
come, and those that it holds already are not measured again.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import environment, in_process, matrix_product_speed, parser, settings, write
from transformers import AutoConfig, AutoModelForCausalLM

from align.policy.policy import Policy
from align.rollouts.base import Sampling
from align.rollouts.local import LocalRollout
from reward_models.backbone.tree_attention import TREE_ATTENTION
from reward_models.data.trees import PromptTree
from reward_models.planning.shapes import ModelShape, shape_from_settings
from reward_models.runtime import distributed
from reward_models.runtime.engine import backward, build_engine, optimizer_step
from reward_models.runtime.training_config import EngineConfig

VOCABULARY = 4096
PROMPT = 32  # tokens of a prompt where the length of the response changes
LONG_PROMPT, SHORT_RESPONSE = 512, 64  # where the size of the group changes
TOKENS = 2048  # of the responses of one update, at least
LAUNCHER = ("-m", "torch.distributed.run", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0")
Curves = dict[str, list[dict[str, Any]]]
Shape = tuple[int, int, int]  # tokens of a prompt, samples of each, tokens of a sample


def model_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": arguments.hidden,
        "intermediate_size": 3 * arguments.hidden,
        "num_hidden_layers": arguments.layers,
        "num_attention_heads": arguments.hidden // 64,
        "num_key_value_heads": arguments.hidden // 64,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 65536,
        "pad_token_id": 0,
    }


# --- the arithmetic ---------------------------------------------------------------------------------------------------


def forward_operations(shape: ModelShape, given: Shape) -> float:
    """Of one group: its prompt once, and all its samples; a token sees those before it and itself."""
    prompt, samples, response = given
    prefix = sum(shape.forward_flops(place + 1) for place in range(prompt))
    return prefix + samples * sum(shape.forward_flops(prompt + place + 1) for place in range(response))


def operations_of(shape: ModelShape, part: str, given: Shape) -> float:
    """Of one group; the prompt's tokens have no output layer in an update, where only responses have a loss."""
    unused = 2.0 * given[0] * shape.embedding
    forward = forward_operations(shape, given) - unused
    return 3 * forward if part == "update" else forward


# --- one process ------------------------------------------------------------------------------------------------------


def trees(given: Shape, count: int, seed: int) -> list[PromptTree]:
    rng = np.random.default_rng(seed)
    prompt, samples, response = given

    def ids(length: int) -> np.ndarray:
        return rng.integers(1, VOCABULARY, length).astype(np.int32)

    return [PromptTree(ids(prompt), tuple(ids(response) for _ in range(samples))) for _ in range(count)]


def groups_of(given: Shape, ranks: int) -> int:
    """Groups of one measurement: the responses have :data:`TOKENS` tokens, and every rank a group."""
    return max(ranks, ranks * round(TOKENS / ranks / (given[1] * given[2])))


def measured(job: argparse.Namespace) -> dict[str, Any] | None:
    """Processor seconds of all ranks for each point of the job; ``None`` on ranks other than the main one."""
    world = distributed.start(1800)
    torch.set_num_threads(1)
    torch.manual_seed(job.seed)
    config = AutoConfig.for_model(**model_settings(job))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=TREE_ATTENTION)
    policy = Policy(model, "tree")
    engine = build_engine(policy, EngineConfig(dtype="fp32", lr=1e-6, schedule="constant", warmup=0), 1000, world)
    sampler = LocalRollout(policy.model, world, max_rows=256)

    def update(given: Shape, seed: int) -> None:
        engine.train()
        mine = trees(given, groups_of(given, world.size) // world.size, seed + world.rank)
        for number, tree in enumerate(mine):
            logprobs_T, _ = engine(policy.collate([tree]))
            backward(engine, -logprobs_T.mean() / len(mine), world, last=number == len(mine) - 1)
        optimizer_step(engine, True, world)

    def sample(given: Shape, seed: int) -> None:
        policy.eval()
        prompts = [tree.prompt for tree in trees((given[0], 1, 1), groups_of(given, world.size) // world.size, seed)]
        count = len(prompts) * given[1]
        asked = Sampling(max_new_tokens=given[2], samples=given[1], seeds=list(range(count)))
        sampler.generate(prompts, asked)

    parts = {"update": update, "sample": sample}
    update((PROMPT, 2, 32), 0)
    sample((PROMPT, 2, 8), 0)
    lines = []
    for part, given in job.points:
        world.barrier()
        began, cpu = time.perf_counter(), _cpu()
        parts[part](tuple(given), job.seed)
        seconds, used = time.perf_counter() - began, world.sum(torch.tensor([_cpu() - cpu], dtype=torch.float64))
        lines.append({"seconds": seconds, "cpu_seconds": float(used), "groups": groups_of(tuple(given), world.size)})
    return {"lines": lines} if world.is_main else None


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# --- all of them ------------------------------------------------------------------------------------------------------


def points_of(arguments: argparse.Namespace) -> dict[str, list[tuple[str, Shape]]]:
    """Curve → its points: the part that is measured, and the shape of a group."""
    return {
        "update by length": [("update", (PROMPT, 1, length)) for length in arguments.lengths],
        "update by group": [("update", (LONG_PROMPT, size, SHORT_RESPONSE)) for size in arguments.groups],
        "sample by length": [("sample", (PROMPT, 8, length)) for length in arguments.sampled],
        "sample by group": [("sample", (LONG_PROMPT, size, SHORT_RESPONSE)) for size in arguments.groups],
    }


def curves(arguments: argparse.Namespace, found: Curves) -> Iterator[Curves]:
    """Every curve on one rank, and that of the length on two: those in ``found``, with one more each time."""
    asked = {(name, 1): points for name, points in points_of(arguments).items()}
    asked["update by length", 2] = asked["update by length", 1]
    shape = shape_from_settings(model_settings(arguments), "small", "benchmark")
    speed = matrix_product_speed("cpu", "fp32", 512)
    for (name, ranks), points in asked.items():
        curve = name if ranks == 1 else f"{name}, {ranks} ranks"
        if curve in found:
            continue
        job = vars(arguments) | {"points": points}
        launcher = () if ranks == 1 else (*LAUNCHER, f"--nproc_per_node={ranks}")
        runs = [in_process(__file__, job, launcher=launcher)["lines"] for _ in range(arguments.repeats)]
        lines = []
        for (part, given), *tries in zip(points, *runs, strict=True):
            best = min(tries, key=lambda each: each["cpu_seconds"])
            tokens = best["groups"] * given[1] * given[2]
            arithmetic = best["groups"] * operations_of(shape, part, given) / speed / tokens
            cost = best["cpu_seconds"] / tokens
            lines.append(
                {
                    **dict(zip(("prompt", "samples", "response"), given, strict=True)),
                    "tokens": tokens,
                    "microseconds_per_token": round(1e6 * cost, 2),
                    "arithmetic": round(1e6 * arithmetic, 2),
                    "share": round(arithmetic / cost, 3),
                    "wall_seconds": round(best["seconds"], 2),
                }
            )
        found = found | {curve: lines}
        print(curve, *(json.dumps(line) for line in lines), sep="\n  ", flush=True)
        yield found


def draw(found: Curves, path: Path) -> None:
    """One panel for each part and axis; the arithmetic is dashed."""
    import matplotlib
    from matplotlib.figure import Figure

    from reward_models.reporting.charts import STYLE

    panels = {"update by length": "response", "update by group": "samples", "sample by length": "response"}
    panels["sample by group"] = "samples"
    labels = {"response": "tokens of a response", "samples": f"responses to a prompt of {LONG_PROMPT} tokens"}
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": "scaling"}):
        figure = Figure(figsize=(10, 6.4), layout="constrained")
        for axes, (name, key) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
            if name not in found:  # not measured yet
                continue
            for number, (curve, lines) in enumerate((c, found[c]) for c in found if c.startswith(name)):
                places = [line[key] for line in lines]
                ranks = curve.partition(", ")[2] or "1 rank"
                axes.plot(places, [line["microseconds_per_token"] for line in lines], f"C{number}o-", label=ranks)
            axes.plot(places, [line["arithmetic"] for line in found[name]], "k--", label="arithmetic")
            axes.set_xscale("log", base=2)
            axes.set_ylim(bottom=0)
            axes.set_title(name, loc="left", fontsize=10)
            axes.set_xlabel(labels[key])
            axes.set_ylabel("µs of a core per token")
            axes.legend(fontsize=8)
        figure.savefig(path, format="svg", metadata={"Date": None})


def ratio_of(found: Curves) -> float | None:
    """The median over the lengths of the cost on two ranks over that on one; ``None`` before both are measured."""
    if "update by length, 2 ranks" not in found:
        return None
    pairs: Sequence[tuple[Any, Any]] = list(
        zip(found["update by length, 2 ranks"], found["update by length"], strict=True)
    )
    each = [two["microseconds_per_token"] / one["microseconds_per_token"] for two, one in pairs]
    return round(float(np.median(each)), 3)


def main() -> None:
    made = parser(__doc__, repeats=2)
    add = made.add_argument
    add("--lengths", type=int, nargs="+", default=[128, 256, 512, 1024, 2048, 4096])
    add("--groups", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    add("--sampled", type=int, nargs="+", default=[64, 128, 256, 512])
    add("--hidden", type=int, default=256)
    add("--layers", type=int, default=4)
    add("--seed", type=int, default=0)
    add("--job", type=Path, help=argparse.SUPPRESS)
    arguments = made.parse_args()
    if arguments.job:
        found = measured(argparse.Namespace(**json.loads(arguments.job.read_text(encoding="utf-8"))))
        if found is not None:
            arguments.out.write_text(json.dumps(found), encoding="utf-8")
        return
    known = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {}
    for found in curves(arguments, known.get("curves", {})):
        write(arguments.out, report(arguments, found), ())
        draw(found, arguments.out.with_suffix(".svg"))


def report(arguments: argparse.Namespace, found: Curves) -> dict[str, Any]:
    return {
        "benchmark": "scaling",
        "ratio": ratio_of(found),
        "ratio_is": "processor time per token of an update on two ranks over that on one, median over the lengths",
        "peer": "one rank",
        "curves": found,
        "settings": settings(arguments, "job"),
        "environment": environment(arguments.seed, 1),
    }


if __name__ == "__main__":
    main()
