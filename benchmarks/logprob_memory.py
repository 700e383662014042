"""Memory and time of the log-probability pass over a large vocabulary: forward and backward of the output layer.

    python benchmarks/logprob_memory.py --out benchmarks/results/logprob_memory_cpu.json

Full logits (``log_softmax`` over all of them), TRL's ``ChunkedLogProbFunction``, and ours, each alone in a process, on
the same hidden states and weights in fp32. Memory is the peak over what was resident before, the weight's gradient
included. Values and gradients must agree.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from environment import environment

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
    weight.grad = torch.zeros_like(weight)  # resident in training anyway, and the same for every way
    resident = memory(device)
    began = time.perf_counter()
    if way == "full":
        values = (hidden @ weight.t()).log_softmax(1).gather(1, target[:, None])[:, 0]
    elif way == "trl":
        from trl.kernels import ChunkedLogProbFunction
        from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE as TRL_CHUNK

        # as GRPOTrainer's fused output layer calls it: temperature, its size of chunks, the entropy besides
        values = ChunkedLogProbFunction.apply(hidden, weight, None, target, 1.0, TRL_CHUNK, None, 1.0, ("entropy",))[0]
    else:
        values, _ = token_logprobs(hidden, weight, target)
    values.sum().backward()
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    assert hidden.grad is not None
    return {
        "peak_mib": round(memory(device) - resident, 1),
        "seconds": round(seconds, 3),
        "sums": [
            float(values.double().sum()),
            float(hidden.grad.double().abs().sum()),
            float(weight.grad.double().abs().sum()),
        ],
    }


def memory(device: torch.device) -> float:
    """The highest so far, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="JSON file to write")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--tokens", type=int, default=8 * 1024)
    add("--vocabulary", type=int, default=150_000)
    add("--hidden", type=int, default=256)
    add("--repeats", type=int, default=3)
    add("--threads", type=int, default=os.cpu_count())
    add("--seed", type=int, default=0)
    add("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.way:
        print(json.dumps(run(arguments.way, arguments)))
        return
    found = environment(arguments.seed, arguments.threads)
    measured: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(arguments.repeats):
        for way in WAYS:
            command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            measured[way].append(json.loads(done.stdout.splitlines()[-1]))
            print(way, measured[way][-1], flush=True)
    peaks = {way: min(r["peak_mib"] for r in rows) for way, rows in measured.items()}
    sums = {way: rows[0]["sums"] for way, rows in measured.items()}
    result = {
        "benchmark": "logprob_memory",
        "ratio": round(peaks["full"] / peaks["keel"], 2),
        "ratio_is": "peak memory of full logits over ours, forward and backward of the output layer",
        "ratio_to_trl": round(peaks["trl"] / peaks["keel"], 2),
        "peak_mib": peaks,
        "seconds": {way: sorted(r["seconds"] for r in rows)[len(rows) // 2] for way, rows in measured.items()},
        "largest_relative_difference": max(
            abs(a - b) / abs(b) for w in WAYS for a, b in zip(sums[w], sums["full"], strict=True)
        ),
        "repeats": arguments.repeats,
        "settings": {k: str(v) for k, v in vars(arguments).items() if k not in ("out", "way")},
        "environment": found,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: result[k] for k in ("ratio", "ratio_to_trl", "peak_mib", "seconds")}, indent=1))


if __name__ == "__main__":
    main()
