"""One reward model, an ensemble of three, and the mean of their weights (WARM), at equal data.

    python benchmarks/warm.py --out benchmarks/results/warm.json

Every group has an ``init_seed`` of its own and three members that differ in ``seed``, the order of the data. They are
trained with ``helpful_cpu.yaml`` on the training files of the kit in ``KEEL_DATA`` and averaged by ``keel average``.
Members, ensemble and average are evaluated on the test files, and the average and the first member are probed with the
built-in texts. ``ratio`` is the median over the groups of the members' mean error over the average's error.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness import DATA, ROOT, environment, median_ratio, parser, settings, write

MEMBERS = 3
TRAIN = ("hh_helpful_base", "oasst_ranked_trees", "pandalm_human", "qa_feedback", "qlora_vicuna_gpt4_judged")
TRAIN += ("truthfulqa", "tulu_human", "ultrafeedback")
TEST = ("hh_helpful_base", "pandalm_human", "rm_bench_chat", "tulu_human", "ultrafeedback")
FIGURES = ("accuracy", "accuracy_equal_length", "prefers_longer", "ece")


def keel(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "keel.cli", *words], check=True, cwd=ROOT)


def member(group: int, number: int, runs: Path, steps: int) -> Path:
    """A trained member; one that an earlier call has finished is used again."""
    out = runs / f"group{group}_{number}"
    if not (out / "manifest.json").is_file():
        files = ",".join(str(DATA / "helpful" / f"{name}.train.jsonl.gz") for name in TRAIN)
        held_out = str(DATA / "helpful" / "tulu_human.test.jsonl.gz")
        words = [f"output_dir={out}", f"init_seed={group}", f"seed={100 * group + number}", f"max_steps={steps}"]
        words += [f"data.train=[{files}]", f"data.eval=[{held_out}]", "save_every=0"]
        keel("train", "rm", "--config", str(ROOT / "configs" / "reward_model" / "helpful_cpu.yaml"), *words)
    return out


def evaluated(models: list[Path], out: Path) -> dict[str, Any]:
    """``evaluation.json`` of a model, or of the ensemble of several."""
    if not (out / "evaluation.json").is_file():
        tests = [w for name in TEST for w in ("--data", str(DATA / "helpful" / f"{name}.test.jsonl.gz"))]
        keel("evaluate", "rm", *(w for m in models for w in ("--model", str(m))), *tests, "--out", str(out))
    return json.loads((out / "evaluation.json").read_text(encoding="utf-8"))


def probed(model: Path, out: Path) -> dict[str, Any]:
    """The effect of every probe on a model."""
    if not (out / "probe.json").is_file():
        keel("probe", "rm", "--model", str(model), "--out", str(out))
    found = json.loads((out / "probe.json").read_text(encoding="utf-8"))
    return {"n_pass": found["n_pass"], "effects": {name: each["effect"] for name, each in found["probes"].items()}}


def chosen(evaluation: dict[str, Any]) -> dict[str, Any]:
    by_source = {name: each["accuracy"] for name, each in evaluation["by_source"].items()}
    return {name: evaluation[name] for name in FIGURES} | {"by_source": by_source}


def run_group(group: int, runs: Path, steps: int) -> dict[str, Any]:
    """Train, average and evaluate one group."""
    began = time.perf_counter()
    members = [member(group, number, runs, steps) for number in range(MEMBERS)]
    average = runs / f"group{group}_average"
    if not (average / "manifest.json").is_file():
        keel("average", *(w for m in members for w in ("--model", str(m))), "--out", str(average))
    ensemble = evaluated(members, runs / f"group{group}_evaluation")
    singles = [chosen(each) for each in ensemble["members"].values()]
    warm = chosen(evaluated([average], runs / f"group{group}_average_evaluation"))
    return {
        "group": group,
        "members": singles,
        "single": {name: statistics.fmean(each[name] for each in singles) for name in FIGURES},
        "ensemble": chosen(ensemble),
        "warm": warm,
        "probes": {
            "single": probed(members[0], runs / f"group{group}_0_probes"),
            "warm": probed(average, runs / f"group{group}_average_probes"),
        },
        "seconds": round(time.perf_counter() - began, 1),
    }


def summarise(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the groups of every figure of each way."""
    table: dict[str, Any] = {}
    for way in ("single", "ensemble", "warm"):
        for name in FIGURES:
            values = [group[way][name] for group in groups]
            spread = statistics.stdev(values) if len(values) > 1 else None
            table.setdefault(way, {})[name] = {"mean": statistics.fmean(values), "standard_deviation": spread}
    return table


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--runs", type=Path, default=ROOT / "runs" / "warm", help="where models go; finished ones stay")
    made.add_argument("--groups", nargs="+", type=int, default=[0, 1, 2])
    made.add_argument("--steps", type=int, default=60, help="optimizer steps of each member")
    arguments = made.parse_args()
    if not (DATA / "MANIFEST.json").is_file():
        made.error(f"no data kit at {DATA}; set KEEL_DATA to its directory")
    result: dict[str, Any] = {"benchmark": "warm", "settings": settings(arguments, "runs")}
    result |= {"environment": environment(arguments.groups[0]), "groups": []}
    for group in arguments.groups:
        result["groups"].append(run_group(group, arguments.runs, arguments.steps))
        errors = [[1 - each[way]["accuracy"] for each in result["groups"]] for way in ("single", "warm")]
        result |= {"summary": summarise(result["groups"]), "ratio": median_ratio(*errors)}
        write(arguments.out, result, ("summary", "ratio"))


if __name__ == "__main__":
    main()
