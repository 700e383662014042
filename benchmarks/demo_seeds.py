"""Results of `keel demo` over seeds: held-out figures of the policy before and after, and of the reward models.

    python benchmarks/demo_seeds.py --out benchmarks/results/demo_seeds.json

Every seed trains its own reward models, cold start and policy, in a process of its own, one after the other; a seed
whose ``summary.json`` stands already is not run again. Responses are sampled at temperature 1. Intervals: 1.96 standard
errors over the seeds' means (few seeds: an indication).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness import ROOT, environment, parser, write


def run(seed: int, out: Path) -> dict[str, Any]:
    if not (out / "summary.json").is_file():
        command = [str(Path(sys.executable).with_name("keel")), "demo", "--out", str(out), "--seed", str(seed)]
        subprocess.run(command, check=True, cwd=ROOT)
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return summary


def spread(values: list[float]) -> dict[str, Any]:
    half = 1.96 * statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return {
        "mean": round(statistics.fmean(values), 4),
        "interval": None if half is None else round(half, 4),
        "seeds": [round(value, 4) for value in values],
    }


def main() -> None:
    made = parser(__doc__)
    add = made.add_argument
    add("--runs", type=Path, default=ROOT / "runs" / "demo_seeds")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--note", default="", help="a sentence about the conditions, e.g. what else the machine did")
    arguments = made.parse_args()
    found = environment(arguments.seeds[0])
    summaries = [run(seed, arguments.runs / f"seed_{seed}") for seed in arguments.seeds]
    policy = {
        name: {
            "before": spread([s["before"][name] for s in summaries]),
            "after": spread([s["after"][name] for s in summaries]),
            "change": spread([s["after"][name] - s["before"][name] for s in summaries]),
        }
        for name in summaries[0]["after"]
    }
    result = {
        "benchmark": "demo_seeds",
        "repeats": len(summaries),
        "policy": policy,
        "reward_models": {
            "helpful_accuracy": spread([s["helpful"]["accuracy"] for s in summaries]),
            "helpful_gold_accuracy": spread([s["helpful"]["gold_accuracy"] for s in summaries]),
            "safety_auroc": spread([s["safety"]["auroc"] for s in summaries]),
        },
        "seconds": spread([s["seconds"] for s in summaries]),
        "note": arguments.note,
        "command": "keel demo --seed N",
        "environment": found,
    }
    write(arguments.out, result, ("policy", "reward_models"))


if __name__ == "__main__":
    main()
