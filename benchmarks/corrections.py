"""Corrections of the rollout engine's probabilities under a deliberate mismatch: which of them keep training stable.

    python benchmarks/corrections.py --out benchmarks/results/corrections.json

A decoder of 0.1 million parameters is cold-started on additions, until some of its responses have the layout, and then
trained on the reward for it, at a rate that is too high for comfort. The rollout engine samples from a copy of the
policy that differs from it on purpose:

- ``none``: it does not differ.
- ``bf16``: the copy computes in bf16, the trainer in fp32.
- ``stale``: the copy has the weights of one rollout before.

Each correction of `loss.correction` is an arm, with its default bounds; ``off_policy_mask`` is the mask of
DeepSeek-V3.2 alone. An arm counts as stable if the mean reward of the last quarter of its rollouts is at least 0.9
times that of its best quarter, and not 0. Shown besides: the largest gradient norm, the divergence from the first
policy at the end, the mismatch, the effective share of the weights and the share of tokens that are masked or
limited. Writes a JSON file and the figure beside it. Finished runs are not run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import deque
from pathlib import Path
from typing import Any

import torch
from gdpo import MODEL
from gdpo import run as run_program
from harness import ROOT, environment, in_process, parser, write

from align.reporting.manifest import is_complete
from align.rollouts.base import Sampling
from align.rollouts.local import LocalRollout
from align.training.rollout import Rollout
from reward_models.runtime.metrics import read_metrics

MISMATCHES = {"none": ("fp32", 0), "bf16": ("bf16", 0), "stale": ("fp32", 1)}  # data type, rollouts behind
ARMS = {
    "never": ["loss.correction=never"],
    "token_cap": ["loss.correction=token_cap"],
    "token_mask": ["loss.correction=token_mask"],
    "sequence_cap": ["loss.correction=sequence_cap"],
    "sequence_mask": ["loss.correction=sequence_mask"],
    "geometric_mask": ["loss.correction=geometric_mask"],
    "off_policy_mask": ["loss.correction=never", "loss.off_policy_threshold=0.05"],
}
SERIES = {
    "reward": "reward",
    "grad_norm": "gradient norm",
    "kl_first": "divergence from the first policy, nats per token",
    "effective_share": "effective share of the weights",
}
OTHERS = ("mismatch", "correction_limited", "correction_masked", "off_policy_masked", "entropy")
Course = dict[str, list[float | None]]  # metric → its value in every step
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class MismatchedRollout:
    """Samples from a copy of the policy in another data type, and with the weights of some rollouts before.

    Args:
        behind: rollouts.
    """

    def __init__(self, model: Any, world: Any, dtype: torch.dtype, behind: int) -> None:
        self._policy, self._behind = model, behind
        self._copy = type(model)(model.config)
        for parameter in self._copy.parameters():  # not the buffers: positions stay in fp32, as in every engine
            parameter.data = parameter.data.to(dtype)
        self._engine = LocalRollout(self._copy, world)
        self._weights: deque[dict[str, torch.Tensor]] = deque(maxlen=behind + 1)

    def sync_weights(self, step: int) -> None:
        """Take over the weights of so many calls before, or the first ones."""
        self._weights.append({name: value.detach().clone() for name, value in self._policy.state_dict().items()})
        self._copy.load_state_dict(self._weights[0])

    def generate(self, prompts: Any, sampling: Sampling) -> Rollout:
        """Sample from the copy."""
        return self._engine.generate(prompts, sampling)

    def shutdown(self) -> None:
        """Do nothing: the engine holds nothing outside of this process."""


def train_all(runs: list[dict[str, Any]]) -> None:
    """Train one run after the other in this process, each with the engine of its mismatch."""
    import align.run
    from align.config import AlignConfig
    from align.trainer import train
    from reward_models.runtime.config import load_config

    torch.set_num_threads(1)
    for job in runs:
        dtype, behind = MISMATCHES[job["mismatch"]]
        align.run.build_rollout = lambda config, policy, tokenizer, world, *_, made=(DTYPES[dtype], behind): (
            MismatchedRollout(policy.model, world, *made)
        )
        train(load_config(AlignConfig, "cpu", job["words"]))


def course(out: Path) -> Course:
    """The metrics of every step; ``None`` where a step has none."""
    lines = [line for line in read_metrics(out / "metrics.jsonl") if line["step"] > 0]
    return {name: [line.get(name) for line in lines] for name in (*SERIES, *OTHERS)}


def known(values: list[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def quarters(rewards: list[float]) -> list[float]:
    size = max(1, len(rewards) // 4)
    return [statistics.fmean(rewards[at : at + size]) for at in range(len(rewards) - size, -1, -size)][::-1]


def summary(steps: Course) -> dict[str, Any]:
    rewards = quarters(known(steps["reward"]))
    means = {name: known(steps[name]) for name in ("effective_share", *OTHERS[:-1])}
    return {
        "stable": max(rewards) > 0 and rewards[-1] >= 0.9 * max(rewards),
        "reward_last": round(rewards[-1], 4),
        "reward_best": round(max(rewards), 4),
        "grad_norm_max": round(max(known(steps["grad_norm"])), 4),
        "kl_first_last": round(known(steps["kl_first"])[-1], 4),
        **{name: round(statistics.fmean(values), 5) for name, values in means.items() if values},
    }


def draw(courses: dict[str, dict[str, list[Course]]], path: Path) -> None:
    """A row for each mismatch, a column for each series, the mean over the seeds for each arm."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    rows = len(courses)
    figure, axes = plt.subplots(rows, len(SERIES), figsize=(15, 3.1 * rows), constrained_layout=True, squeeze=False)
    for row, (mismatch, arms) in zip(axes, courses.items(), strict=True):
        for axis, (name, title) in zip(row, SERIES.items(), strict=True):
            for number, (arm, seeds) in enumerate(arms.items()):
                places = [at for at, value in enumerate(seeds[0][name]) if value is not None]
                means = [statistics.fmean(known([each[name][at] for each in seeds])) for at in places]
                if places:
                    axis.plot([at + 1 for at in places], means, f"C{number}", label=arm, linewidth=1.4)
            axis.set_title(f"{mismatch}: {title}", fontsize=9)
            axis.set_xlabel("step")
    axes[0, 0].legend(fontsize=7)
    figure.savefig(path, dpi=110)


def main() -> None:
    made = parser(__doc__)
    add = made.add_argument
    add("--job", type=Path, help=argparse.SUPPRESS)
    add("--runs", type=Path, default=ROOT / "runs" / "corrections", help="finished runs are not run again")
    add("--seeds", nargs="+", type=int, default=[0])
    add("--steps", type=int, default=80)
    add("--cold-start-steps", type=int, default=140)
    add("--arms", nargs="+", choices=tuple(ARMS), default=list(ARMS))
    add("--mismatches", nargs="+", choices=tuple(MISMATCHES), default=["bf16", "stale"])
    add("--words", nargs="*", default=["engine.lr=3e-3"], metavar="key=value", help="further settings of all runs")
    arguments = made.parse_args()
    if arguments.job:
        train_all(json.loads(arguments.job.read_text(encoding="utf-8")))
        arguments.out.write_text("{}", encoding="utf-8")
        return
    found = environment(arguments.seeds[0], 1)
    start = arguments.runs / "cold_start"
    limit = f"max_steps={arguments.cold_start_steps}"
    run_program("align.train_sft", start, ["--config", "sft_cpu", MODEL, limit, "loggers=[]"])
    outs = {
        (mismatch, arm, seed): arguments.runs / f"{mismatch}_{arm}_{seed}"
        for mismatch in arguments.mismatches
        for arm in arguments.arms
        for seed in arguments.seeds
    }
    coming = [
        {
            "mismatch": mismatch,
            "words": [
                *(f"output_dir={out}", f"model.path={start}", f"seed={seed}", f"steps={arguments.steps}"),
                *("rewards=[{term: format}]", "prompts_per_step=8", "steps_per_rollout=4", "evaluation.data=[]"),
                *("guards=[{watch: kl_first, above: 1e9}]", "max_silent_rollouts=0", "loggers=[]", *ARMS[arm]),
                *arguments.words,
            ],
        }
        for (mismatch, arm, seed), out in outs.items()
        if not is_complete(out)
    ]
    if coming:
        in_process(__file__, coming, {"OMP_NUM_THREADS": "1"})
    courses = {
        mismatch: {arm: [course(outs[mismatch, arm, seed]) for seed in arguments.seeds] for arm in arguments.arms}
        for mismatch in arguments.mismatches
    }
    result = {
        "benchmark": "corrections",
        "repeats": len(arguments.seeds),
        "steps": arguments.steps,
        "settings": arguments.words,
        "summary": {
            mismatch: {arm: [summary(each) for each in seeds] for arm, seeds in arms.items()}
            for mismatch, arms in courses.items()
        },
        "courses": {
            mismatch: {
                arm: [{name: [v if v is None else round(v, 5) for v in c[name]] for name in SERIES} for c in seeds]
                for arm, seeds in arms.items()
            }
            for mismatch, arms in courses.items()
        },
        "environment": found,
    }
    write(arguments.out, result, ("summary",))
    draw(courses, arguments.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
