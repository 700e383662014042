"""Plans against what runs took: DeepSeek-R1-Zero's published hours, and recorded runs.

    python benchmarks/plan.py --out benchmarks/results/plan.json --runs runs/demo/stage2

Public figures (arXiv:2501.12948v2): R1-Zero, 10,400 steps in about 198 h on 64 × 8 H800; R1 about 80 h for its two
stages of reinforcement learning. No parameter was fitted by a program, but the comparison is not blind: the lengths of
responses are rough values of the curve in figure 1 of the report, from memory and not measured, and the assumptions for
the CPU were chosen with the recorded times in view. Other lengths show how much they decide. Of each run in ``--runs``
the rates are taken from its first quarter, and the time of all later steps is predicted. ``rl_step``: the recorded
steps of that benchmark, from the model's shape and the speed of matrix products of the machine. ``ratio``: planned over
published hours of R1-Zero.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import ROOT, environment, parser, write
from models import MODELS

from align.config import AlignConfig
from align.planning.assumptions import Assumptions, assumptions_for
from align.planning.cluster import Cluster
from align.planning.dry_run import reward_model_paths
from align.planning.lengths import Lengths
from align.planning.plan import Plan, ScoringModel, make_plan
from align.planning.rates import rates_of
from align.planning.report import binding, memory_binds
from reward_models.planning.devices import device
from reward_models.planning.shapes import known_shape, shape_from_settings
from reward_models.runtime.config import load_config
from reward_models.runtime.metrics import read_metrics

# Mean tokens of R1-Zero's responses over its steps: rough values of the curve in figure 1 of the report, from memory
# and not measured. The report has no table of them.
R1_ZERO_LENGTHS = [(0, 700.0), (8200, 9000.0), (10400, 15000.0)]
R1_ZERO_HOURS = 198.0
# Stage 2 of R1: 1,700 steps of the 80 h; the steps of stage 1 are not stated.
R1_LENGTHS = 4000.0
R1_HOURS = 80.0
# Matrix products of two cores: docs/lab-log.md. The bandwidth is assumed, and the words were chosen
# with the recorded times in view: the rows show that they describe these steps, not that they predict others.
CPU = {"flops": 182e9, "bandwidth": 20e9, "memory": 16e9}
CPU_WORDS = ["layer_seconds=1e-3", "mfu_update=0.7", "mfu_forward=0.7", "mfu_decode=0.7", "rollout_weight_bytes=4"]


def r1_zero(lengths: Any = R1_ZERO_LENGTHS, assume: Sequence[str] = ("tokens_per_step=1.8",)) -> Plan:
    """R1-Zero's schedule with multi-token prediction, which the report names; evaluations are not in its hours."""
    return _deepseek("r1_zero", lengths, assume)


def r1_stage2() -> Plan:
    return _deepseek("r1_stage2", R1_LENGTHS, ("tokens_per_step=1.8",))


def _deepseek(preset: str, lengths: Any, assume: Sequence[str]) -> Plan:
    config = load_config(AlignConfig, preset, ["rollout.engine=vllm", "evaluation.data=[]"])
    shape = known_shape("deepseek-ai/DeepSeek-V3")
    assert shape is not None
    given = assumptions_for("vllm", list(assume))
    cluster = Cluster(device=device("H800"), nodes=64)
    models = [ScoringModel(shape, domains) for domains in reward_model_paths(config).values()]
    return make_plan(config, shape, cluster, given, Lengths(lengths, given.length_deviation), reward_models=models)


def figures(plan: Plan, published: float | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "hours": round(plan.seconds / 3600, 1),
        "device_hours": round(plan.device_hours),
        "cost": round(plan.cost),
        "mean_response": round(plan.tokens / (plan.steps * plan.responses / 16)),
        "binds": {limit: round(share, 3) for limit, share in binding(plan).items()},
        "memory": memory_binds(plan),
    }
    return found | ({"published_hours": published, "ratio": round(found["hours"] / published, 3)} if published else {})


def rl_step(recorded: dict[str, Any]) -> dict[str, Any]:
    """Planned seconds of a rollout and an update beside those that ``rl_step_cpu.json`` recorded."""
    settings = recorded["settings"]
    shape = shape_from_settings(
        {**MODELS[settings["model"]], "vocab_size": 4096, "tie_word_embeddings": True}, "12.6m", "benchmarks/models.py"
    )
    found: dict[str, Any] = {}
    for ending, cells in recorded["by_completions_and_prompt_tokens"].items():
        for prompt, cell in cells.items():
            given = assumptions_for("local", [*CPU_WORDS, f"prompt_tokens={cell['mean_prompt_tokens']}"])
            mean, limit = cell["mean_completion_tokens"]["keel"], int(settings["completion_tokens"])
            words = [
                *(f"prompts_per_step={settings['prompts']}", f"samples_per_prompt={settings['samples']}"),
                *("steps=4", "steps_per_rollout=1", "phases=[]", "loss.beta=0", "evaluation.data=[]"),
                *(f"max_new_tokens={limit}", "guards=[]", "keep_best=null", "rewards=[{term: accuracy}]"),
            ]
            config = load_config(AlignConfig, "cpu", words)
            cluster = Cluster(device=device("two cores", **CPU), per_node=1)
            # Ragged completions end with the same probability at every token: mean 24 before they are cut.
            lengths = Lengths(float(mean), 0.05 if ending == "even" else 0.9)
            seconds = make_plan(config, shape, cluster, given, lengths).turns[0].seconds
            sampled = ("reading prompts", "decoding", "decoding, the longest responses")
            planned = {"rollout": sum(seconds[part] for part in sampled), "update": seconds["updates"]}
            took = {part: cell["median_seconds"]["keel"][part] for part in planned}
            found[f"{ending}, prompts of {prompt}"] = {
                part: {"planned": round(value, 3), "recorded": took[part], "ratio": round(value / took[part], 3)}
                for part, value in planned.items()
            }
    return found


def from_first_quarter(run: Path) -> dict[str, Any]:
    """The time of a run's later steps by the rates of its first quarter, and with the lengths that it came to."""
    config = load_config(AlignConfig, run / "config.yaml")
    lines = [line for line in read_metrics(run / "metrics.jsonl") if line["step"]]
    cut = max(3 * config.steps_per_rollout, len(lines) // 4)
    responses = config.prompts_per_rollout * config.samples_per_prompt
    passes = (config.steps_per_rollout > 1) + bool(config.loss.beta) + ("kl_first" in {g.watch for g in config.guards})
    rates = rates_of(lines[:cut], run.name, responses, passes, config.steps_per_rollout)
    later = [line for line in lines[cut:] if "response_length" in line]
    tokens = sum(line["response_length"] for line in later) * responses
    planned = {
        "rollout": sum(line["response_length_max"] for line in later) * rates.decoding_step,
        "logprobs": tokens * passes / rates.pass_tokens,
        "update": tokens / rates.update_tokens,
    }
    took = {part: sum(line.get(f"seconds/{part}", 0.0) for line in lines[cut:]) for part in planned}
    total, whole = sum(planned.values()), sum(took.values())
    return {
        "steps": len(lines),
        "rates_from_steps": cut,
        "planned_seconds": {part: round(value, 1) for part, value in planned.items()},
        "recorded_seconds": {part: round(value, 1) for part, value in took.items()},
        "ratio": round(total / whole, 3),
    }


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--runs", type=Path, nargs="*", default=[], help="directories of finished runs")
    arguments = made.parse_args()
    recorded = json.loads((ROOT / "benchmarks" / "results" / "rl_step_cpu.json").read_text(encoding="utf-8"))
    plan = r1_zero()
    scaled = {
        f"{factor:g} × these lengths": [(step, mean * factor) for step, mean in R1_ZERO_LENGTHS]
        for factor in (0.7, 1.4)
    }
    stage2 = r1_stage2()
    result = {
        "benchmark": "plan",
        "ratio": figures(plan, R1_ZERO_HOURS)["ratio"],
        "ratio_is": "planned over published hours of DeepSeek-R1-Zero on 64 × 8 H800",
        "peer": "arXiv:2501.12948v2",
        "r1_zero": {
            "plan": figures(plan, R1_ZERO_HOURS),
            **{name: figures(r1_zero(lengths), R1_ZERO_HOURS) for name, lengths in scaled.items()},
            "without multi-token prediction": figures(r1_zero(assume=()), R1_ZERO_HOURS),
        },
        "r1": {
            "stage 2, 1,700 steps": figures(stage2),
            "hours_left_for_stage_1": round(R1_HOURS - stage2.seconds / 3600, 1),
            "note": "the report gives about 80 h for both stages, and no number of steps for stage 1",
        },
        "rl_step": rl_step(recorded),
        "runs": {f"{run.parent.name}/{run.name}": from_first_quarter(run) for run in arguments.runs},
        "lengths": {
            "r1_zero": R1_ZERO_LENGTHS,
            "r1": R1_LENGTHS,
            "of": "rough values of the curve in figure 1 of the report, from memory and not measured; of R1 assumed",
        },
        "assumptions": Assumptions().lines(),
        "cpu": {**CPU, "words": CPU_WORDS},
        "environment": environment(0),
    }
    write(arguments.out, result, ("ratio", "r1_zero", "r1", "rl_step", "runs"))


if __name__ == "__main__":
    main()
