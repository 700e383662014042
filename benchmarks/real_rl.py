"""DeepSeek-R1's stages on a pretrained language model: all policies of the project `r1_cpu` on the same prompts.

    python benchmarks/real_rl.py --out benchmarks/results/real_rl.json

The first seed runs the whole project (`keel run r1_cpu`: about two hours on two idle cores, resumable). Every further
seed repeats the reasoning stage from the same cold start, and its evaluation. Differences are paired by prompt, with
95 % intervals by a bootstrap over prompts. `sft` against `sft_random` says whether selecting samples did anything.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness import ROOT, environment, parser, write

from align.samples.evaluation import evaluate_samples
from align.samples.rows import read_samples
from keel.pipeline.project import load_project
from reward_models.runtime.metrics import read_metrics

PROJECT = "r1_cpu"
PAIRS = (
    ("cold_start", "base"),
    ("reasoning", "cold_start"),
    ("sft", "sft_random"),
    ("sft", "base"),
    ("sft", "reasoning"),
    ("alignment", "sft"),
    ("alignment", "base"),
)
WATCHED = ("accuracy_greedy", "accuracy_sampled", "format_sampled", "language_sampled", "length_sampled")
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--module"]


def run_project(project: Path, words: list[str]) -> None:
    keel = str(Path(sys.executable).with_name("keel"))
    subprocess.run([keel, "run", PROJECT, f"output_dir={project}", *words], check=True, cwd=ROOT)


def repeat_reasoning(project: Path, words: list[str], seed: int) -> Path:
    """The reasoning stage and its evaluation with another seed; the folder of both.

    The settings are those of the project as it is described now: files in its folder may be of an earlier version.
    """
    out = project.with_name(f"{project.name}_reasoning_{seed}")
    if (out / "evaluation" / "evaluation.json").is_file():
        return out
    _, stages = load_project(PROJECT, [f"output_dir={project}", *words])
    described = {stage.name: stage for stage in stages}
    samples = out / "evaluation" / "samples.jsonl"
    for name, changed in (
        ("reasoning", [f"seed={seed}", f"output_dir={out}"]),
        ("evaluate_reasoning", [f"model.path={out}", f"out={samples}"]),
    ):
        stage, file = described[name], out.with_name(f"{out.name}_{name}.yaml")
        file.write_text(stage.resolved, encoding="utf-8")
        command = [*TWO, stage.program.module, "--config", str(file.resolve()), *changed]
        subprocess.run(command, check=True, cwd=ROOT)
    return out


def course(run: Path) -> dict[str, list[float | None]]:
    """Held-out figures of a policy's training: at its start, on the way, and at its end."""
    lines = [line for line in read_metrics(run / "metrics.jsonl") if "eval/accuracy_sampled" in line]
    figures = {name: [_rounded(line.get(f"eval/{name}")) for line in lines] for name in WATCHED}
    return {"step": [line["step"] for line in lines], **figures}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return value


def print_table(policies: dict[str, Any]) -> None:
    shown = ("pass@1", "score/format", "score/helpful", "score/safety", "score/gold_helpfulness", "tokens_mean")
    print(f"{'':18}" + "".join(f"{name.removeprefix('score/'):>30}" for name in shown))
    for name, figures in policies.items():
        cells = []
        for figure in shown:
            value, bounds = figures.get(figure), figures.get(f"{figure}_ci95")
            cell = "–" if value is None else f"{value:.3f}"
            cells.append(cell + (f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else ""))
        print(f"{name:18}" + "".join(f"{cell:>30}" for cell in cells))


def main() -> None:
    made = parser(__doc__)
    add = made.add_argument
    add("--project", type=Path, default=ROOT / "runs" / "r1_cpu", help="folder of the project")
    add("--seeds", nargs="*", type=int, default=[1], help="further seeds of the reasoning stage")
    add("--words", nargs="*", default=[], metavar="key=value", help="settings of the project that differ")
    add("--note", default="", help="a sentence about the conditions, e.g. what else the machine did")
    arguments = made.parse_args()
    found = environment(0)
    project: Path = arguments.project
    run_project(project, arguments.words)
    repeats = {f"reasoning_{seed}": repeat_reasoning(project, arguments.words, seed) for seed in arguments.seeds}
    folders = {d.name.removeprefix("evaluate_"): d for d in project.glob("evaluate_*")}
    folders |= {name: out / "evaluation" for name, out in repeats.items()}
    groups = {name: read_samples([str(d / "samples.jsonl")]) for name, d in folders.items()}
    stages = json.loads((project / "project.json").read_text(encoding="utf-8"))
    order = ["base", *(name for name in stages if name in groups), *repeats]
    policies = {name: _rounded(evaluate_samples(groups[name])) for name in order}
    pairs = [*PAIRS, *((name, "cold_start") for name in repeats)]
    result = {
        "benchmark": "real_rl",
        "repeats": 1 + len(repeats),
        "note": arguments.note,
        "settings": arguments.words,
        "policies": policies,
        "differences": {
            f"{one} less {other}": _rounded(evaluate_samples(groups[one], groups[other])["difference"])
            for one, other in pairs
        },
        "courses": {
            name: course(run)
            for name, run in {name: project / name for name in ("reasoning", "alignment")}.items() | repeats.items()
        },
        "seconds": {name: round(stage["seconds"]) for name, stage in stages.items()},
        "environment": found,
    }
    print_table(policies)
    write(arguments.out, result, ())


if __name__ == "__main__":
    main()
