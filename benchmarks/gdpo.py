"""GDPO against sum-then-normalise, on a mixture of rewards of different scales, over seeds.

    python benchmarks/gdpo.py --out benchmarks/results/gdpo.json

A decoder of 0.1 million parameters is cold-started on additions, until some of its responses have the layout, and
then trained by three arms for each seed. The rewards are format (0 or 1) and minus the number of characters of the
response, which varies by dozens within a group. The weights are 1 and 0.5 but in one arm:

- ``sum``: the sum is normalised within the group. The characters have the largest deviation and decide.
- ``sum_scaled``: the same, each weight divided by its term's deviation at the beginning: scaled by hand, once.
- ``gdpo``: each term is normalised within the group, then summed.

Shown: format, characters and finished responses on held-out additions, sampled, before and after. Finished runs are
not run again.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import ROOT, environment, parser, write

from align.reporting.manifest import is_complete
from align.rewards.terms import Sample
from reward_models.runtime.metrics import read_metrics

FIGURES = ("format_sampled", "characters_sampled", "finished_sampled")
TERM = "gdpo:Characters"
WEIGHT = 0.5  # of the characters; that of the format is 1
DEVIATIONS = (0.4, 50.0)  # of format and characters within a group of the cold-started policy, about
MODEL = (
    "model.config={model_type: qwen3, hidden_size: 64, intermediate_size: 160, num_hidden_layers: 2, "
    "num_attention_heads: 2, num_key_value_heads: 1, head_dim: 32, max_position_embeddings: 512, "
    "tie_word_embeddings: true}"
)
ARMS = {
    "sum": ("loss.aggregation=sum", 1.0, WEIGHT),
    "sum_scaled": ("loss.aggregation=sum", 1.0 / DEVIATIONS[0], WEIGHT / DEVIATIONS[1]),
    "gdpo": ("loss.aggregation=gdpo", 1.0, WEIGHT),
}


class Characters:
    """Minus the number of characters of the response."""

    name = "characters"

    def applies(self, sample: Sample) -> bool:
        return True

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [-float(len(sample.response)) for sample in samples]


def run(module: str, out: Path, words: list[str]) -> None:
    """Train to the end, with this folder on the path, for the term."""
    if is_complete(out):
        return
    paths = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    command = [sys.executable, "-m", module, f"output_dir={out}", *words]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths})


def settings(arm: str, seed: int, start: Path, steps: int) -> list[str]:
    aggregation, of_format, of_characters = ARMS[arm]
    return [
        *("--config", "cpu", f"model.path={start}", f"seed={seed}", f"steps={steps}", aggregation),
        f"rewards=[{{term: format, weight: {of_format}}}, {{term: '{TERM}', weight: {of_characters}}}]",
        *("prompts_per_step=8", "evaluation.limit=64", f"evaluation.every={steps}", "evaluation.samples=2"),
        *("engine.lr=1e-3", "loggers=[]", "log_every=20"),
    ]


def ends(out: Path) -> tuple[dict[str, float], dict[str, float]]:
    """The held-out figures before and after."""
    lines = [line for line in read_metrics(out / "metrics.jsonl") if "eval/format_sampled" in line]
    first, last = ({name: line[f"eval/{name}"] for name in FIGURES} for line in (lines[0], lines[-1]))
    return first, last


def summary(values: list[float]) -> dict[str, Any]:
    return {"mean": round(statistics.fmean(values), 4), "seeds": [round(value, 4) for value in values]}


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--runs", type=Path, default=ROOT / "runs" / "gdpo", help="finished runs are not run again")
    made.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    made.add_argument("--steps", type=int, default=40)
    arguments = made.parse_args()
    found = environment(arguments.seeds[0])
    start = arguments.runs / "cold_start"
    run("align.train_sft", start, ["--config", "sft_cpu", MODEL, "max_steps=140", "loggers=[]"])
    arms: dict[str, Any] = {}
    for arm in ARMS:
        courses = []
        for seed in arguments.seeds:
            out = arguments.runs / f"{arm}_{seed}"
            run("align.train", out, settings(arm, seed, start, arguments.steps))
            courses.append(ends(out))
        arms[arm] = {
            when: {name: summary([course[place][name] for course in courses]) for name in FIGURES}
            for when, place in (("before", 0), ("after", -1))
        }
    result = {
        "benchmark": "gdpo",
        "repeats": len(arguments.seeds),
        "steps": arguments.steps,
        "arms": arms,
        "environment": found,
    }
    write(arguments.out, result, ("arms",))


if __name__ == "__main__":
    main()
