"""The small CPU presets on real preference data: results over several seeds, beside simple baselines.

    python benchmarks/rm_real_data.py --out benchmarks/results/rm_real_data.json

For each model (helpful, safety) and start (``encoder``: the ``*_cpu.yaml`` preset as it is; ``decoder``: a small
decoder pretrained on the training text by ``pretrain_decoder.py``), ``keel train rm`` runs once per seed on all
training files of the kit in ``KEEL_DATA`` and is evaluated on each test file. The baselines come out of the same
evaluation.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import DATA, ROOT, environment, parser, write

FIGURE = {"helpful": "accuracy", "safety": "auroc"}
BASELINES = {"helpful": ("baseline_longer", "baseline_tfidf"), "safety": ("baseline_tfidf",)}
SAFETY_FILES = ("diasafety", "gptfuzz_labeled", "just_eval_safety")
# A decoder from scratch takes a larger rate than a pretrained encoder, and reads longer texts at the same cost.
DECODER = ("engine.lr=5e-4", "data.max_length=768", "max_tokens=8192", "model.config=null")


def files(data: Path, model: str, split: str) -> list[str]:
    if model == "helpful":
        return sorted(str(f) for f in (data / "helpful").glob(f"*.{split}.jsonl.gz"))
    return [str(data / "safety" / f"{name}.{split}.jsonl.gz") for name in SAFETY_FILES]


def run(model: str, start: str, seed: int, data: Path, runs: Path, words: Sequence[str]) -> dict[str, Any]:
    """Train and evaluate once, or read what an earlier call left; the figures by test file."""
    out = runs / f"{model}_{start}_{seed}"
    settings = [f"output_dir={out}", f"seed={seed}", *words]
    settings += [
        f"data.{part}=[{','.join(files(data, model, split))}]" for part, split in (("train", "train"), ("eval", "test"))
    ]
    if start == "decoder":
        settings += [f"model.path={runs / 'decoder'}", *DECODER]
    began = time.perf_counter()
    done = (out / "manifest.json").is_file()
    command = [
        sys.executable,
        "-m",
        "reward_models.train",
        "--config",
        str(ROOT / "configs" / "reward_model" / f"{model}_cpu.yaml"),
    ]
    if not done:
        subprocess.run([*command, *settings], check=True, cwd=ROOT)
        (out / "seconds").write_text(str(round(time.perf_counter() - began, 1)), encoding="utf-8")
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    return {
        "seed": seed,
        "seconds": float((out / "seconds").read_text(encoding="utf-8")) if (out / "seconds").is_file() else None,
        "calibration": manifest["calibration"],
        "evaluation": manifest["evaluation"],
    }


def summarise(model: str, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Per test file: mean, spread and each seed's figure, with the first seed's interval and the baselines."""
    name = FIGURE[model]
    evaluations = [result["evaluation"] for result in results]
    table: dict[str, Any] = {}
    for source in (*evaluations[0]["by_source"], "all"):
        rows = [e if source == "all" else e["by_source"][source] for e in evaluations]
        values = [row[name] for row in rows if row[name] is not None]
        table[source] = {
            "n": rows[0]["n"],
            name: round(statistics.fmean(values), 4) if values else None,
            "standard_deviation": round(statistics.stdev(values), 4) if len(values) > 1 else None,
            "seeds": [round(v, 4) for v in values],
            "ci95_of_first_seed": rows[0].get(f"{name}_ci95"),
            **{baseline: rows[0].get(baseline) for baseline in BASELINES[model]},
        }
    return table


def print_table(model: str, start: str, table: dict[str, Any]) -> None:
    name = FIGURE[model]
    print(f"\n{model}, {start}: {name} (mean ± standard deviation over seeds)")
    for source, row in table.items():
        spread = "" if row["standard_deviation"] is None else f" ± {row['standard_deviation']:.3f}"
        baselines = ", ".join(f"{b} {row[b]:.3f}" for b in BASELINES[model] if row[b] is not None)
        value = "–" if row[name] is None else f"{row[name]:.3f}"
        print(f"  {source:28} n {row['n']:5}  {value}{spread}  ({baselines})")


def main() -> None:
    made = parser(__doc__)
    add = made.add_argument
    add(
        "--runs",
        type=Path,
        default=ROOT / "runs" / "real_data",
        help="where models go; finished ones are not run again",
    )
    add("--models", nargs="+", choices=tuple(FIGURE), default=list(FIGURE))
    add("--starts", nargs="+", choices=("encoder", "decoder"), default=["encoder", "decoder"])
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--pretraining-steps", type=int, default=800)
    add("words", nargs="*", metavar="key=value", help="further settings of every run")
    arguments = made.parse_args()
    data, runs = DATA, arguments.runs
    if not (data / "MANIFEST.json").is_file():
        made.error(f"no data kit at {data}; set KEEL_DATA to its directory")
    found = environment(arguments.seeds[0])
    if "decoder" in arguments.starts and not (runs / "decoder" / "config.json").is_file():
        text = [
            *files(data, "helpful", "train"),
            *files(data, "safety", "train"),
            str(data / "math" / "gsm8k.train.jsonl.gz"),
        ]
        script = [sys.executable, str(Path(__file__).with_name("pretrain_decoder.py")), "--out", str(runs / "decoder")]
        subprocess.run([*script, "--steps", str(arguments.pretraining_steps), "--data", *text], check=True)
    result: dict[str, Any] = {"benchmark": "rm_real_data", "repeats": len(arguments.seeds), "environment": found}
    for model in arguments.models:
        for start in arguments.starts:
            results = [run(model, start, seed, data, runs, arguments.words) for seed in arguments.seeds]
            table = summarise(model, results)
            result[f"{model}_{start}"] = {"figure": FIGURE[model], "by_source": table, "runs": results}
            print_table(model, start, table)
            write(arguments.out, result, ())


if __name__ == "__main__":
    main()
