"""Corrections of the rollout engine's probabilities under a deliberate mismatch: which of them keep training stable.

    python benchmarks/corrections.py --out benchmarks/results/corrections.json

The demo's policy of 1 million parameters (preset ``sft_demo``) is trained on additions, for right answers and for their
layout, at the demo's learning rate and with four updates in a rollout. The rollout engine samples from a copy of the
policy that differs from it on purpose:

- ``none``: it does not differ.
- ``bf16``: the copy computes in bf16, the trainer in fp32.
- ``fp8``: the copy's linear layers have weights of 8 bits (e4m3, a scale for each row), the trainer's 32.
- ``stale``: the copy has the weights of one rollout before, so that it samples 4 to 7 updates behind.

Each correction of `loss.correction` is an arm; ``off_policy_mask`` is the mask of DeepSeek-V3.2 alone. The bounds are
the defaults, but for the two that are made for long responses: the geometric mask keeps mean ratios from 0.95 to 1.05,
and the mask of DeepSeek-V3.2 has δ = 0.05 nats per token. A run counts as stable if the mean reward of its last quarter
is above that of its first two rollouts, and at least 0.9 times that of its best quarter. Shown besides: the largest
gradient norm, the entropy at the end, the mismatch, the effective share of the weights and the share of tokens that are
masked or limited. Writes a JSON file and the figure beside it. Finished runs are not run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import deque
from pathlib import Path
from typing import Any

import torch
from gdpo import run as run_program
from harness import ROOT, environment, in_process, parser, write

from align.reporting.manifest import is_complete
from align.rollouts.base import Sampling
from align.rollouts.local import LocalRollout
from align.training.rollout import Rollout
from reward_models.runtime.metrics import read_metrics

# Data type of the copy, bits of the weights of its linear layers, rollouts behind.
MISMATCHES = {"none": ("fp32", 32, 0), "bf16": ("bf16", 16, 0), "fp8": ("fp32", 8, 0), "stale": ("fp32", 32, 1)}
ARMS = {
    "never": ["loss.correction=never"],
    "token_cap": ["loss.correction=token_cap"],
    "token_mask": ["loss.correction=token_mask"],
    "sequence_cap": ["loss.correction=sequence_cap"],
    "sequence_mask": ["loss.correction=sequence_mask"],
    "geometric_mask": ["loss.correction=geometric_mask", "loss.correction_low=0.95", "loss.correction_high=1.05"],
    "off_policy_mask": ["loss.correction=never", "loss.off_policy_threshold=0.05"],
}
SERIES = {
    "reward": "reward",
    "grad_norm": "gradient norm",
    "entropy": "entropy, nats per token",
    "effective_share": "effective share of the weights",
}
OTHERS = ("mismatch", "correction_limited", "correction_masked", "off_policy_masked")
Course = dict[str, list[float | None]]  # metric → its value in every step
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
FIRST_ROLLOUTS = 2


class MismatchedRollout:
    """Samples from a copy of the policy in another precision, and with the weights of some rollouts before.

    Args:
        bits: of the weights of linear layers; 8: e4m3. ``behind``: rollouts.
    """

    def __init__(self, model: Any, world: Any, dtype: torch.dtype, bits: int, behind: int) -> None:
        self._policy, self._bits = model, bits
        self._copy = type(model)(model.config)
        for parameter in self._copy.parameters():  # not the buffers: positions stay in fp32, as in every engine
            parameter.data = parameter.data.to(dtype)
        self._engine = LocalRollout(self._copy, world)
        self._weights: deque[dict[str, torch.Tensor]] = deque(maxlen=behind + 1)

    def sync_weights(self, step: int) -> None:
        """Take over the weights of so many calls before, or the first ones."""
        self._weights.append({name: value.detach().clone() for name, value in self._policy.state_dict().items()})
        self._copy.load_state_dict(self._weights[0])
        if self._bits == 8:
            for module in self._copy.modules():
                if (
                    isinstance(module, torch.nn.Linear)
                    and module.weight is not self._copy.get_input_embeddings().weight
                ):
                    module.weight.data = rounded_to_8_bits(module.weight.data)

    def generate(self, prompts: Any, sampling: Sampling) -> Rollout:
        """Sample from the copy."""
        return self._engine.generate(prompts, sampling)

    def shutdown(self) -> None:
        """Do nothing: the engine holds nothing outside of this process."""


def rounded_to_8_bits(weight: torch.Tensor) -> torch.Tensor:
    """The nearest values of e4m3, scaled so that the largest of each row is its largest value."""
    scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / torch.finfo(torch.float8_e4m3fn).max
    return (weight / scale).to(torch.float8_e4m3fn).to(weight.dtype) * scale


def train_all(runs: list[dict[str, Any]]) -> None:
    """Train one run after the other in this process, each with the engine of its mismatch."""
    import align.run
    from align.config import AlignConfig
    from align.trainer import train
    from reward_models.runtime.config import load_config

    torch.set_num_threads(1)
    for job in runs:
        dtype, bits, behind = MISMATCHES[job["mismatch"]]
        align.run.build_rollout = (
            lambda config, policy, tokenizer, world, *_, made=(DTYPES[dtype], bits, behind), **__: MismatchedRollout(
                policy.model, world, *made
            )
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
    rewards = known(steps["reward"])
    first, by_quarter = statistics.fmean(rewards[:FIRST_ROLLOUTS]), quarters(rewards)
    means = {name: known(steps[name]) for name in ("effective_share", *OTHERS)}
    return {
        "stable": first < by_quarter[-1] >= 0.9 * max(by_quarter),
        "reward_first": round(first, 4),
        "reward_last": round(by_quarter[-1], 4),
        "reward_best": round(max(by_quarter), 4),
        "grad_norm_max": round(max(known(steps["grad_norm"])), 4),
        "entropy_last": round(known(steps["entropy"])[-1], 4),
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
    add("--start", type=Path, help="a policy of the preset sft_demo, such as runs/demo/cold_start; default: train it")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--steps", type=int, default=48)
    add("--arms", nargs="+", choices=tuple(ARMS), default=list(ARMS))
    add("--mismatches", nargs="+", choices=tuple(MISMATCHES), default=list(MISMATCHES))
    add("--words", nargs="*", default=["engine.lr=4e-4"], metavar="key=value", help="further settings of all runs")
    arguments = made.parse_args()
    if arguments.job:
        train_all(json.loads(arguments.job.read_text(encoding="utf-8")))
        arguments.out.write_text("{}", encoding="utf-8")
        return
    found = environment(arguments.seeds[0], 1)
    start = arguments.start or arguments.runs / "cold_start"
    if arguments.start is None:
        run_program("align.train_sft", start, ["--config", "sft_demo"])
    # Where the policies that sample and learn differ little, every correction is nearly 1: one arm is enough.
    arms = {name: arguments.arms if name == "stale" else ["never"] for name in arguments.mismatches}
    outs = {
        (mismatch, arm, seed): arguments.runs / f"{mismatch}_{arm}_{seed}"
        for seed in arguments.seeds
        for mismatch in arguments.mismatches
        for arm in arms[mismatch]
    }
    coming = [
        {
            "mismatch": mismatch,
            "words": [
                *(f"output_dir={out}", f"model.path={start}", f"seed={seed}", f"steps={arguments.steps}"),
                *("prompts.train=['synthetic:additions:train']", "prompts.limit=4000", "prompts_per_step=8"),
                *("rewards=[{term: accuracy}, {term: format, weight: 0.5}]", "samples_per_prompt=8"),
                *("steps_per_rollout=4", "max_new_tokens=80", "loss.beta=0", "max_tokens=16384", "log_every=20"),
                *("engine.dtype=fp32", "engine.schedule=constant", "engine.warmup=0", "evaluation.data=[]"),
                *("max_silent_rollouts=0", "loggers=[]", f"save_every={arguments.steps}", *ARMS[arm]),
                *arguments.words,
            ],
        }
        for (mismatch, arm, seed), out in outs.items()
        if not is_complete(out)
    ]
    if coming:
        in_process(__file__, coming, {"OMP_NUM_THREADS": "1"})
    courses = {
        mismatch: {arm: [course(outs[mismatch, arm, seed]) for seed in arguments.seeds] for arm in arms[mismatch]}
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
