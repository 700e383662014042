"""Reinforcement learning of a small policy: accuracy on held-out prompts before and after, over seeds.

    python benchmarks/rl_learning.py --task calculation --out benchmarks/results/rl_learning_calculation.json
    python benchmarks/rl_learning.py --task reasoning_gym --out benchmarks/results/rl_learning_reasoning_gym.json
    python benchmarks/rl_learning.py --task gsm8k --seeds 0 --base DIR --out benchmarks/results/rl_learning_gsm8k.json

``calculation``: the presets ``sft_cpu`` and ``cpu``: additions with carries, plainly and in words, and a decoder from
scratch that is cold-started on worked solutions and stopped before it has mastered them. ``gsm8k``: the real training
prompts of the kit in ``KEEL_DATA``; a pretrained decoder (``--base``, e.g. of ``pretrain_decoder.py``) is cold-started
on their solutions. ``reasoning_gym``: two tasks of reasoning-gym (the extra ``reasoning``) with a curriculum that
opens their levels; the decoder from scratch is cold-started on answers of the lowest levels, and ``--no-curriculum``
draws all levels alike. ``keel train sft`` runs once, and from there ``keel train align`` for each seed, each going on
where it was stopped. Writes a JSON file, and beside it the curves as a picture.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness import DATA, ROOT, environment, parser, write

from align.reporting.manifest import is_complete
from reward_models.data.formats import to_row
from reward_models.data.records import Prompt
from reward_models.data.sources import load
from reward_models.runtime.metrics import read_metrics

FIGURES = ("accuracy_greedy", "accuracy_sampled", "pass@4", "format_greedy", "length_greedy", "finished_greedy")


def calculation() -> tuple[list[str], list[str]]:
    """The presets as they are."""
    return ["--config", "sft_cpu", "loggers=[]"], ["--config", "cpu", "loggers=[]"]


def gsm8k(base: Path | None) -> tuple[list[str], list[str]]:
    if base is None or not (base / "config.json").is_file():
        raise SystemExit("--task gsm8k needs --base: the directory of a pretrained decoder; see pretrain_decoder.py")
    file = DATA / "math" / "gsm8k.train.jsonl.gz"
    return (
        [
            *("--config", "sft_cpu", f"data.train=['{file}']", f"model.path={base}", "model.config=null"),
            *(
                "max_steps=80",
                "batch_size=32",
                "max_tokens=8192",
                "engine.lr=1e-3",
                "engine.schedule=cosine",
                "data.max_length=192",
                "loggers=[]",
            ),
        ],
        [
            *("--config", "cpu", f"prompts.train=['{file}']", f"evaluation.data=['{DATA}/math/gsm8k.test.jsonl.gz']"),
            *("prompts.language=en", "prompts.max_length=160", "prompts_per_step=4", "max_new_tokens=128", "steps=110"),
            *("evaluation.limit=128", "evaluation.every=55", "engine.lr=5e-5", "max_tokens=8192", "loggers=[]"),
        ],
    )


GYM_TASKS = {"chain_sum": "&min_digits=1&max_digits=1", "spell_backward": ""}  # with their options
GYM_LEVELS, GYM_HELD_OUT = 3, 40  # levels from 0, and held-out prompts of each level and task


def worked(prompt: Prompt) -> str:
    """A solution in small steps: sums one term after the other, words letter by letter."""
    question, answer = prompt.prompt[-1].content, str(prompt.answer)
    if prompt.source.endswith("spell_backward"):
        word = question.split()[-1]
        return f"<think>\n{' '.join(word)}\n{' '.join(answer)}\n</think>\n<answer>{answer}</answer>"
    expression = re.findall(r"[-+]?\s*\d+", question.rpartition(":")[2])
    terms = [int(term.replace(" ", "")) for term in expression]
    total, steps = terms[0], []
    for term in terms[1:]:
        steps.append(f"{total} {'+' if term >= 0 else '-'} {abs(term)} = {total + term}")
        total += term
    lines = "\n".join(steps)
    return f"<think>\n{lines}\n</think>\n<answer>{answer}</answer>"


def reasoning_gym(runs: Path, curriculum: bool) -> tuple[list[str], list[str]]:
    """Solutions of the lowest levels as demonstrations, prompts of all levels, held-out ones of another seed."""
    file, levels = runs / "demonstrations.jsonl", f"level=0-{GYM_LEVELS - 1}"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        shown = [f"reasoning_gym:{task}?size=2000&seed=1&level=0{more}" for task, more in GYM_TASKS.items()]
        rows = [to_row(each) | {"response": worked(each)} for each in load(shown, "prompt").records]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    train = [f"reasoning_gym:{task}?size=600&seed=2&{levels}{more}" for task, more in GYM_TASKS.items()]
    test = [f"reasoning_gym:{task}?size={GYM_HELD_OUT}&seed=3&{levels}{more}" for task, more in GYM_TASKS.items()]
    return (
        ["--config", "sft_cpu", f"data.train=['{file}']", "max_steps=200", "loggers=[]"],
        [
            *("--config", "cpu", f"prompts.train={train}", f"evaluation.data={test}", "evaluation.limit=null"),
            *("steps=120", "evaluation.every=30", "max_new_tokens=64", "prompts.decontaminate=false", "loggers=[]"),
            f"curriculum={{by: {'pass_rate' if curriculum else 'none'}, raise_at: 0.6}}",
        ],
    )


def by_gym_task(out: Path) -> dict[str, list[float]]:
    """Task → greedy accuracy on its held-out prompts before the first step and after the last one."""
    lines = [json.loads(line)["accuracy_greedy"] for line in (out / "held_out.jsonl").read_text().splitlines()]
    count = GYM_LEVELS * GYM_HELD_OUT
    if any(len(values) != count * len(GYM_TASKS) or None in values for values in lines):
        raise SystemExit(f"{out}/held_out.jsonl does not hold {count} verdicts for each task")
    return {
        task: [
            round(statistics.fmean(values[place * count : (place + 1) * count]), 4) for values in (lines[0], lines[-1])
        ]
        for place, task in enumerate(GYM_TASKS)
    }


def run(module: str, out: Path, words: list[str]) -> None:
    """Train to the end; a run that a signal stopped ends the benchmark too."""
    subprocess.run([sys.executable, "-m", module, f"output_dir={out}", *words], check=True, cwd=ROOT)
    if not is_complete(out):
        raise SystemExit(f"{out} was stopped; the same command goes on with it")


def curve(out: Path) -> list[dict[str, float]]:
    return [line for line in read_metrics(out / "metrics.jsonl") if "eval/accuracy_greedy" in line]


def summarise(curves: list[list[dict[str, float]]]) -> dict[str, Any]:
    """Before and after: mean, and each seed's figure."""
    table = {}
    for figure in FIGURES:
        rows = {
            when: [line[place].get(f"eval/{figure}") for line in curves]
            for when, place in (("before", 0), ("after", -1))
        }
        if all(value is not None for values in rows.values() for value in values):
            table[figure] = {
                when: {"mean": round(statistics.fmean(values), 4), "seeds": [round(v, 4) for v in values]}  # type: ignore[arg-type,type-var]
                for when, values in rows.items()
            }
    return table


def draw(curves: list[list[dict[str, float]]], rewards: list[list[dict[str, float]]], title: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    for name, colour in (("accuracy_greedy", "C0"), ("accuracy_sampled", "C1")):
        for number, line in enumerate(curves):
            label = name.replace("_", ", ") if number == 0 else None
            axes[0].plot(
                [p["step"] for p in line], [p[f"eval/{name}"] for p in line], f"{colour}o-", alpha=0.7, label=label
            )
    axes[0].set(xlabel="step", ylabel="accuracy on held-out prompts", ylim=(0, None), title=title)
    axes[0].legend()
    for line in rewards:
        axes[1].plot([p["step"] for p in line], [p["reward"] for p in line], "C2", alpha=0.5)
    axes[1].set(xlabel="step", ylabel="mean reward of the rollout", title=f"training, {len(rewards)} seed(s)")
    figure.savefig(path, dpi=120)


def main() -> None:
    made = parser(__doc__)
    add = made.add_argument
    add("--task", choices=("calculation", "gsm8k", "reasoning_gym"), required=True)
    add("--runs", type=Path, default=ROOT / "runs" / "rl_learning", help="finished runs are not run again")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--base", type=Path, help="gsm8k: a pretrained decoder")
    add("--no-curriculum", action="store_true", help="reasoning_gym: draw prompts of all levels alike")
    add("words", nargs="*", metavar="key=value", help="further settings of the RL runs")
    arguments = made.parse_args()
    found = environment(arguments.seeds[0])
    runs = arguments.runs / arguments.task
    if arguments.task == "calculation":
        sft, align = calculation()
    elif arguments.task == "reasoning_gym":
        sft, align = reasoning_gym(runs, not arguments.no_curriculum)
    else:
        sft, align = gsm8k(arguments.base)
    curves, rewards = [], []
    start = runs / "sft"
    run("align.train_sft", start, [*sft, "seed=0"])
    for seed in arguments.seeds:
        out = runs / f"align_{'plain_' if arguments.no_curriculum else ''}{seed}"
        run("align.train", out, [*align, f"model.path={start}", f"seed={seed}", *arguments.words])
        curves.append(curve(out))
        rewards.append([line for line in read_metrics(out / "metrics.jsonl") if "reward" in line])
    result = {
        "benchmark": f"rl_learning_{arguments.task}",
        "repeats": len(arguments.seeds),
        "summary": summarise(curves),
        "reward": {
            when: [round(statistics.fmean(p["reward"] for p in line[part]), 4) for line in rewards]
            for when, part in (("first_ten_steps", slice(0, 10)), ("last_ten_steps", slice(-10, None)))
        },
        "curves": [
            [{k: v for k, v in p.items() if k == "step" or k.startswith("eval/")} for p in line] for line in curves
        ],
        "commands": {"align.train_sft": sft, "align.train": [*align, *arguments.words]},
        "environment": found,
    }
    if arguments.task == "reasoning_gym":
        result["tasks"] = [
            by_gym_task(runs / f"align_{'plain_' if arguments.no_curriculum else ''}{seed}") for seed in arguments.seeds
        ]
    text = json.dumps(result).replace(f"{ROOT}/", "").replace(str(DATA), "$KEEL_DATA")
    write(arguments.out, json.loads(text), ("summary", "tasks"))
    draw(curves, rewards, arguments.task, arguments.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
