"""Reward models used from the first step, compared with reward models in the last part only.

    python benchmarks/reward_hacking.py --out benchmarks/results/reward_hacking.json

Both arms start from the same cold start with the same reward models, those of `keel demo` for each seed, and make the
same number of steps, without guards. `whole`: reasoning, general and safety prompts with all rewards from step 0.
`last_part`: DeepSeek-R1's schedule in proportion (arXiv:2501.12948v2: the last 400 of 1,700 steps). Shown over steps
on held-out prompts with sampled responses: what the reward models say (the proxies), what the gold judge says, accuracy
on additions, and length. Writes a JSON file and the figure beside it; what has been run is not run again.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from demo_seeds import run as run_demo
from harness import ROOT, environment, parser, write

from align.config import AlignConfig
from align.reporting.manifest import is_complete
from reward_models.runtime.config import load_config
from reward_models.runtime.metrics import read_metrics

FIGURES = {
    "helpful": "proxy: the helpful model's score",
    "gold_helpfulness": "helpfulness to the gold judge",
    "accuracy": "accuracy on additions",
    "gold_unsafe": "rate of harmful responses",
    "safety": "proxy: the safety model's score",
    "length": "tokens of a response",
}
ARMS = {"whole": "preference rewards from step 0", "last_part": "in the last 400/1,700 of the steps"}
ALL = "mix: {reasoning: 1, helpfulness: 2, safety: 1}"


def phases(arm: str, steps: int) -> str:
    last = f"{{name: preference, until: {steps}, {ALL}}}"
    if arm == "whole":
        return f"phases=[{last}]"
    return f"phases=[{{name: reasoning, until: {round(steps * 1300 / 1700)}, mix: {{reasoning: 1}}}}, {last}]"


def train(arm: str, seed: int, demo: Path, out: Path, steps: int, words: list[str]) -> list[dict[str, Any]]:
    """One run to its end; its evaluations."""
    terms = [each.term for each in load_config(AlignConfig, "demo_cpu").rewards]
    settings = [
        *(
            f"output_dir={out}",
            f"seed={seed}",
            f"model.path={demo / 'cold_start'}",
            f"steps={steps}",
            phases(arm, steps),
        ),
        *(f"rewards.{terms.index(name)}.arguments.model={demo / f'{name}_rm'}" for name in ("helpful", "safety")),
        *(f"evaluation.every={max(1, steps // 12)}", "guards=[]", "loggers=[]", *words),
    ]
    subprocess.run([sys.executable, "-m", "align.train", "--config", "demo_cpu", *settings], check=True, cwd=ROOT)
    if not is_complete(out):
        raise SystemExit(f"{out} was stopped; the same command goes on with it")
    return [line for line in read_metrics(out / "metrics.jsonl") if "eval/accuracy_sampled" in line]


def course(lines: list[dict[str, Any]]) -> dict[str, list[float]]:
    figures = {name: [round(line[f"eval/{name}_sampled"], 4) for line in lines] for name in FIGURES}
    return {"step": [line["step"] for line in lines], **figures}


def last(courses: list[dict[str, list[float]]], name: str) -> dict[str, Any]:
    ends = [each[name][-1] for each in courses]
    changes = [each[name][-1] - each[name][0] for each in courses]
    return {"end": round(statistics.fmean(ends), 4), "change": round(statistics.fmean(changes), 4), "ends": ends}


def draw(arms: dict[str, list[dict[str, list[float]]]], path: Path) -> None:
    """Means over the seeds, each seed's course, and 1.96 standard errors."""
    import matplotlib

    matplotlib.use("agg")
    import numpy as np
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(12, 6.2), constrained_layout=True, sharex=True)
    for axis, (name, title) in zip(axes.flat, FIGURES.items(), strict=True):
        for (arm, label), colour in zip(ARMS.items(), ("C3", "C0"), strict=True):
            steps = arms[arm][0]["step"]
            seeds_ST = np.array([each[name] for each in arms[arm]])
            mean_T = seeds_ST.mean(0)
            half_T = 1.96 * seeds_ST.std(0, ddof=1) / len(seeds_ST) ** 0.5 if len(seeds_ST) > 1 else 0 * mean_T
            axis.plot(steps, mean_T, colour, label=label, linewidth=2)
            axis.fill_between(steps, mean_T - half_T, mean_T + half_T, color=colour, alpha=0.15, linewidth=0)
            axis.plot(steps, seeds_ST.T, colour, alpha=0.35, linewidth=0.8)
        axis.axvline(steps[-1] * 1300 / 1700, color="grey", linestyle=":", linewidth=1)
        axis.set_title(title, fontsize=10)
    axes[0, 0].legend(fontsize=8)
    for axis in axes[1]:
        axis.set_xlabel("step")
    figure.savefig(path, dpi=120)


def main() -> None:
    made = parser(__doc__)
    add = made.add_argument
    add("--runs", type=Path, default=ROOT / "runs" / "reward_hacking")
    add("--demos", type=Path, default=ROOT / "runs" / "demo_seeds", help="where demo_seeds.py has its runs")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--steps", type=int, default=170)
    add("--words", nargs="*", default=[], metavar="key=value", help="further settings of all runs")
    arguments = made.parse_args()
    found = environment(arguments.seeds[0])
    arms: dict[str, list[dict[str, list[float]]]] = {arm: [] for arm in ARMS}
    for seed in arguments.seeds:
        demo = arguments.demos / f"seed_{seed}"
        run_demo(seed, demo)
        for arm in ARMS:
            out = arguments.runs / f"{arm}_{seed}"
            arms[arm].append(course(train(arm, seed, demo, out, arguments.steps, arguments.words)))
    result = {
        "benchmark": "reward_hacking",
        "repeats": len(arguments.seeds),
        "steps": arguments.steps,
        "settings": arguments.words,
        "arms": ARMS,
        "summary": {name: {arm: last(courses, name) for arm, courses in arms.items()} for name in FIGURES},
        "courses": arms,
        "environment": found,
    }
    write(arguments.out, result, ("summary",))
    draw(arms, arguments.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
