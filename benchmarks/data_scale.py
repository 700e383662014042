"""Time and memory until training data are ready, for a first start and for a resumed run, against the number of pairs.

    python benchmarks/data_scale.py --out benchmarks/results/data_scale.json --pairs 20000 80000

Rows are generated: conversations of one to five turns with two responses, of which 15 % are longer than ``max_length``.
``before`` is the code of an earlier commit, which reads and tokenizes everything in memory at every start. ``trl`` is
TRL's reward trainer up to its first step: ``datasets.load_dataset``, its chat template and tokenization by
``Dataset.map`` with as many processes. Every figure is of a process of its own; ``resume`` is a second such process.
``ratio`` is the CPU time of TRL's start over that of ours, for the largest number of pairs that both were given: wall
time, which stands beside it, depends on what else the machine does. The peer drops what is longer than ``max_length``,
and finds no copies, contradictions or prompts of an evaluation.

Results go into the file as they come, and what it holds already is not measured again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from harness import ROOT, environment, in_process, parser, peak_memory, settings, write

BEFORE = "6ae607f"  # the last commit without prepared data
MAX_LENGTH = 1024
HASHED = 20_000  # pairs whose token ids are compared
BATCH = 64


# --- rows -------------------------------------------------------------------------------------------------------------


class Words:
    """Texts of made-up words, whose frequencies follow Zipf's law."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        letters = np.array(list("eeettaaooiinnsshhrrddllcumwfgypbvk"))
        self.words = np.array(["".join(self.rng.choice(letters, self.rng.integers(1, 11))) for _ in range(20_000)])
        share = 1 / np.arange(1, 20_001)
        self.border = np.cumsum(share / share.sum())

    def text(self, length: int) -> str:
        places = np.searchsorted(self.border, self.rng.random(length)).clip(max=len(self.words) - 1)
        return " ".join(self.words[places].tolist())


def rows(count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Pairs of about 300 tokens a transcript; every seventh or so is longer than :data:`MAX_LENGTH`."""
    words = Words(seed)
    rng = words.rng
    for number in range(count):
        turns = int(rng.integers(0, 3))
        asked = int(rng.integers(900, 2500)) if rng.random() < 0.15 else int(rng.integers(10, 120))
        share = asked if turns == 0 or rng.random() < 0.5 else asked // (2 * turns + 1)
        prompt = []
        for turn in range(2 * turns):
            length = share if share < asked else int(rng.integers(10, 60))
            prompt.append({"role": "assistant" if turn % 2 else "user", "content": words.text(length)})
        prompt.append({"role": "user", "content": words.text(share)})
        chosen, rejected = (words.text(int(rng.integers(40, 200))) for _ in range(2))
        reply = [[{"role": "assistant", "content": text}] for text in (chosen, rejected)]
        yield {"id": str(number), "prompt": prompt, "chosen": reply[0], "rejected": reply[1]}


def prepare(workspace: Path, counts: list[int]) -> None:
    """Write the rows, the smaller files being the beginning of the largest, and a tokenizer trained on some of them."""
    from reward_models.data.chat import train_tokenizer

    files = {count: (workspace / f"{count}.jsonl").open("w", encoding="utf-8") for count in counts}
    texts: list[str] = []
    for number, row in enumerate(rows(max(counts))):
        line = json.dumps(row) + "\n"
        if number < 1000:
            texts += [message["content"] for part in ("prompt", "chosen", "rejected") for message in row[part]]
        for count, file in files.items():
            if number < count:
                file.write(line)
    for file in files.values():
        file.close()
    train_tokenizer(texts, 8192).save_pretrained(workspace / "tokenizer")


# --- one process ------------------------------------------------------------------------------------------------------


def work(job: dict[str, Any]) -> dict[str, Any]:
    """What a run does before it builds its model; seconds, memory, and a hash of the first batches."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job["tokenizer"])
    ways = {"before": before, "keel": keel, "trl": trl}
    began, cpu = time.perf_counter(), cpu_time()
    found = ways[job["way"]](job, tokenizer)
    seconds, cpu = time.perf_counter() - began, cpu_time() - cpu
    held, peak = resident(), peak_memory()
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "resident_mib": round(held / 2**20),
        "peak_mib": round(peak / 2**20),
        "largest_child_mib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10),
        **({"kept": len(found), "batches": batches(found)} if job["way"] != "trl" else {"kept": found}),
    }


def before(job: dict[str, Any], tokenizer: Any) -> Any:
    from reward_models.data.chat import ChatRenderer
    from reward_models.dataset import load_records, tokenize

    config = data_config(job["rows"])
    records = load_records(config, "preference")
    data = tokenize(records, ChatRenderer(tokenizer, "full"), config)
    work.kept = records  # type: ignore[attr-defined]  # the baseline needs them at the end
    return data.train


def keel(job: dict[str, Any], tokenizer: Any) -> Any:
    from reward_models.data.chat import ChatRenderer
    from reward_models.dataset import load_records, tokenize

    os.environ["KEEL_CACHE"] = job["cache"]
    config = data_config(job["rows"])
    return tokenize(load_records(config, "preference"), ChatRenderer(tokenizer, "full"), config).train


def trl(job: dict[str, Any], tokenizer: Any) -> int:
    from datasets import load_dataset
    from transformers import AutoModelForSequenceClassification, Qwen3Config
    from trl import RewardConfig, RewardTrainer

    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    shape = Qwen3Config(vocab_size=len(tokenizer), num_labels=1, pad_token_id=tokenizer.pad_token_id, **size)
    model = AutoModelForSequenceClassification.from_config(shape)
    rows = load_dataset("json", data_files=job["rows"], split="train", cache_dir=job["cache"])
    arguments = RewardConfig(
        output_dir=job["cache"],
        max_length=MAX_LENGTH,
        dataset_num_proc=job["processes"],
        report_to=[],
        use_cpu=True,
        bf16=False,
    )
    trainer = RewardTrainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)
    return len(trainer.train_dataset)


def data_config(path: str) -> Any:
    from reward_models.dataset import DataConfig

    return DataConfig(train=[path], max_length=MAX_LENGTH, span="full")


def batches(data: Any) -> str:
    """A hash of the token ids of the first pairs that training draws."""
    from reward_models.data.batching import EpochSampler

    sampler = EpochSampler(len(data), BATCH, 0)
    digest = hashlib.sha256()
    for step in range(min(HASHED // BATCH, sampler.steps_per_epoch)):
        for item in sampler.step(step):
            for sequence in data.tree(int(item)).sequences:
                digest.update(np.asarray([len(sequence), *sequence], dtype=np.int64).tobytes())
    return digest.hexdigest()[:16]


def cpu_time() -> float:
    """Processor seconds of this process and of the children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def resident() -> int:
    """Bytes of this process in memory, without those of mapped files."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon"))


# --- all of them ------------------------------------------------------------------------------------------------------


def measure(workspace: Path, way: str, pairs: int, processes: int, commit: str) -> list[dict[str, Any]]:
    """A start and, of what keeps something, a resumed run."""
    job = {
        "way": way,
        "rows": str(workspace / f"{pairs}.jsonl"),
        "tokenizer": str(workspace / "tokenizer"),
        "cache": str(workspace / f"cache-{way}-{pairs}"),
        "processes": processes,
    }
    code = worktree(workspace, commit) if way == "before" else ROOT
    variables = {
        "PYTHONPATH": os.pathsep.join([str(code), str(ROOT / "benchmarks")]),
        "HF_DATASETS_CACHE": job["cache"],
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    found = [in_process(__file__, job, variables) for _ in range(1 if way == "before" else 2)]
    shutil.rmtree(job["cache"], ignore_errors=True)
    return found


def worktree(workspace: Path, commit: str) -> Path:
    """The code of a commit, without its git directory."""
    folder = workspace / commit
    if not folder.is_dir():
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True)
        folder.mkdir()
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def summary(runs: dict[str, dict[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    """Ratios, whether results are equal, and the growth of memory from the smallest to the largest number of pairs."""
    largest = {way: max(by_count, key=int) for way, by_count in runs.items()}
    result: dict[str, Any] = {}
    for name, peer in (("ratio", "trl"), ("ratio_before", "before")):
        if peer in runs and (both := [n for n in runs["keel"] if n in runs[peer]]):
            ours, theirs = (runs[way][max(both, key=int)] for way in ("keel", peer))
            result[name] = round(theirs[0]["cpu_seconds"] / ours[0]["cpu_seconds"], 3)
            result[f"{name}_resumed"] = round(theirs[-1]["cpu_seconds"] / ours[-1]["cpu_seconds"], 3)
    alike = [n for n in runs.get("before", {}) if n in runs["keel"]]
    same = [{run["batches"] for way in ("before", "keel") for run in runs[way][n]} for n in alike]
    result["same_batches_as_before"] = bool(same) and all(len(each) == 1 for each in same)
    result["largest"] = {way: {"pairs": int(n), "runs": runs[way][n]} for way, n in largest.items()}
    return result


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--pairs", type=int, nargs="+", default=[20_000, 80_000])
    made.add_argument("--ways", nargs="+", choices=("before", "keel", "trl"), default=["before", "keel", "trl"])
    made.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    made.add_argument("--before", default=BEFORE, help="commit of the code to compare with")
    made.add_argument("--workspace", type=Path, help="folder for rows; default: a temporary one")
    made.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    arguments = made.parse_args()
    if arguments.job is not None:
        arguments.out.write_text(json.dumps(work(json.loads(arguments.job.read_text(encoding="utf-8")))))
        return
    known = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {}
    runs: dict[str, dict[str, list[dict[str, Any]]]] = known.get("runs", {})
    with tempfile.TemporaryDirectory() as directory:
        workspace = arguments.workspace or Path(directory)
        if not all((workspace / f"{count}.jsonl").is_file() for count in arguments.pairs):
            workspace.mkdir(parents=True, exist_ok=True)
            prepare(workspace, arguments.pairs)
        for count in sorted(arguments.pairs):
            for way in arguments.ways:
                if str(count) in runs.get(way, {}):
                    continue
                found = measure(workspace, way, count, arguments.processes, arguments.before)
                runs.setdefault(way, {})[str(count)] = found
                print(way, count, json.dumps(found), flush=True)
                write(arguments.out, report(arguments, runs), ())


def report(arguments: argparse.Namespace, runs: dict[str, dict[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    found = environment()
    return {
        "benchmark": "data_scale",
        **(summary(runs) if "keel" in runs else {}),
        "ratio_is": "CPU seconds of TRL's start over keel's, most pairs that both were given",
        "peer": f"TRL {found['versions'].get('trl')} RewardTrainer on datasets {found['versions'].get('datasets')}",
        "runs": runs,
        "settings": settings(arguments, "job", "workspace") | {"max_length": MAX_LENGTH},
        "environment": found,
    }


if __name__ == "__main__":
    main()
