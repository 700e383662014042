"""Memory and time of the log-probability pass over a large vocabulary: forward and backward of the output layer.

    python benchmarks/logprob_memory.py --out benchmarks/results/logprob_memory_cpu.json

Full logits (``log_softmax`` over all of them), TRL's ``ChunkedLogProbFunction``, and ours, each alone in a process, on
the same hidden states and weights in fp32. Memory is the peak over what was resident before, the weight's gradient
included. Values and gradients must agree.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import clock, environment, in_process, in_turn, parser, peak_memory, settings, write

from align.objective.logprobs import token_logprobs

WAYS = ("full", "trl", "keel")


def run(way: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One forward and backward pass; memory in MiB."""
    device = torch.device(arguments.device)
    generator = torch.Generator().manual_seed(arguments.seed)
    hidden = torch.randn(arguments.tokens, arguments.hidden, generator=generator).to(device).requires_grad_()
    weight = (
        (0.02 * torch.randn(arguments.vocabulary, arguments.hidden, generator=generator)).to(device).requires_grad_()
    )
    target = torch.randint(arguments.vocabulary, (arguments.tokens,), generator=generator).to(device)
    if way == "trl":  # its imports take memory and time too
        from trl.kernels import ChunkedLogProbFunction
        from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE as TRL_CHUNK
    weight.grad = torch.zeros_like(weight)  # resident in training anyway, and the same for every way
    resident = peak_memory(arguments.device)
    began, cpu = clock(arguments.device), time.process_time()
    if way == "full":
        values = (hidden @ weight.t()).log_softmax(1).gather(1, target[:, None])[:, 0]
    elif way == "trl":
        # as GRPOTrainer's fused output layer calls it: temperature, its size of chunks, the entropy besides
        values = ChunkedLogProbFunction.apply(hidden, weight, None, target, 1.0, TRL_CHUNK, None, 1.0, ("entropy",))[0]
    else:
        values, _ = token_logprobs(hidden, weight, target)
    values.sum().backward()
    seconds = clock(arguments.device) - began
    assert hidden.grad is not None
    return {
        "peak_mib": round((peak_memory(arguments.device) - resident) / 2**20, 1),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
        "sums": [
            float(values.double().sum()),
            float(hidden.grad.double().abs().sum()),
            float(weight.grad.double().abs().sum()),
        ],
    }


def main() -> None:
    made = parser(__doc__, repeats=3, device=True, dtypes=("fp32",))
    add = made.add_argument
    add("--tokens", type=int, default=8 * 1024)
    add("--vocabulary", type=int, default=150_000)
    add("--hidden", type=int, default=256)
    add("--job", type=Path, help=argparse.SUPPRESS)
    arguments = made.parse_args()
    if arguments.job:
        job = argparse.Namespace(**json.loads(arguments.job.read_text(encoding="utf-8")))
        torch.set_num_threads(job.threads)
        arguments.out.write_text(json.dumps(run(job.way, job)), encoding="utf-8")
        return
    found = environment(arguments.seed, arguments.threads)
    jobs = {way: vars(arguments) | {"way": way} for way in WAYS}
    measured = in_turn({way: partial(in_process, __file__, job) for way, job in jobs.items()}, arguments.repeats)
    peaks = {way: min(r["peak_mib"] for r in rows) for way, rows in measured.items()}
    sums = {way: rows[0]["sums"] for way, rows in measured.items()}
    result = {
        "benchmark": "logprob_memory",
        "ratio": round(peaks["full"] / peaks["keel"], 2),
        "ratio_is": "peak memory of full logits over ours, forward and backward of the output layer",
        "ratio_to_trl": round(peaks["trl"] / peaks["keel"], 2),
        "peak_mib": peaks,
        "seconds": {way: statistics.median(r["seconds"] for r in rows) for way, rows in measured.items()},
        "cpu_seconds": {way: statistics.median(r["cpu_seconds"] for r in rows) for way, rows in measured.items()},
        "largest_relative_difference": max(
            abs(a - b) / abs(b) for w in WAYS for a, b in zip(sums[w], sums["full"], strict=True)
        ),
        "repeats": arguments.repeats,
        "settings": settings(arguments, "job"),
        "environment": found,
    }
    write(arguments.out, result, ("ratio", "ratio_to_trl", "peak_mib", "seconds", "cpu_seconds"))


if __name__ == "__main__":
    main()
