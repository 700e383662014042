"""Time and memory until the prompts of reinforcement learning are ready, for a first start and for a resumed run.

    python benchmarks/prompt_scale.py --out benchmarks/results/prompt_scale.json --prompts 20000 100000

Prompts are generated: seven in ten are problems with an answer in LaTeX, one a program with ten tests, two have no
answer; 500 others are held out for evaluation. ``before`` is the code of an earlier commit, which reads, checks and
tokenizes all of them in memory on every rank at every start. Every figure is of a process of its own; ``resume`` is a
second such process. ``ratio`` is the CPU time of a resumed run of before over that of ours, for the most prompts: wall
time, which stands beside it, depends on what else the machine does. ``same`` says whether the prompts, their tokens and
the fingerprint in checkpoints are equal.

Results go into the file as they come, and what it holds already is not measured again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from data_scale import Words, cpu_time, resident, worktree
from harness import ROOT, environment, in_process, parser, peak_memory, settings, write

BEFORE = "11a65b9"  # the last commit whose ranks all read the prompts
HELD_OUT = 500


def rows(count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Prompts of about 100 tokens."""
    words = Words(seed)
    rng = words.rng
    for number in range(count):
        row = {"id": f"{seed}-{number}", "prompt": words.text(int(rng.integers(20, 120)))}
        a, b = (int(value) for value in rng.integers(2, 1000, 2))
        if number % 10 < 7:
            row["answer"] = (str(a), rf"\frac{{{a}}}{{{b}}}", rf"{a}\sqrt{{{b}}}", f"({a}, {b}]")[number % 4]
        elif number % 10 == 7:
            row |= {"verifier": "code", "answer": "none"}
            row["tests"] = json.dumps([{"input": f"{a} {n}\n", "output": f"{a + n}\n"} for n in range(10)])
        else:
            row["domain"] = "helpfulness"
        yield row


def prepare(workspace: Path, counts: list[int]) -> None:
    """Write the prompts, a tokenizer trained on some of them, and the shape of a policy."""
    from reward_models.data.chat import train_tokenizer

    texts = [str(row["prompt"]) for row in rows(1000)]
    train_tokenizer(texts, 8192).save_pretrained(workspace / "policy")
    shape = {"model_type": "qwen3", "vocab_size": 8192, "max_position_embeddings": 4096}
    (workspace / "policy" / "config.json").write_text(json.dumps(shape))
    for name, number, seed in [("held_out", HELD_OUT, 1), *((str(count), count, 0) for count in counts)]:
        with (workspace / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows(number, seed))


def work(job: dict[str, Any]) -> dict[str, Any]:
    """What a run does with its prompts before it builds its model; seconds, memory, and a hash of them."""
    os.environ["KEEL_CACHE"] = job["cache"]
    from align.config import AlignConfig
    from align.policy.config import PolicyConfig
    from align.policy.policy import load_tokenizer
    from align.rewards.build import TermConfig

    prompts = {"train": [f"{job['workspace']}/{job['prompts']}.jsonl"]}
    config = AlignConfig(
        model=PolicyConfig(path=f"{job['workspace']}/policy", chat_template="r1"),
        prompts=type(AlignConfig().prompts)(**prompts),
        evaluation=type(AlignConfig().evaluation)(data=[f"{job['workspace']}/held_out.jsonl"]),
        rewards=[TermConfig(term=name) for name in ("accuracy", "format")],
    )
    load_tokenizer(config.model)  # so that its libraries are loaded
    began, cpu = time.perf_counter(), cpu_time()
    train, pools, mark = before(config) if job["way"] == "before" else keel(config)
    seconds, cpu = time.perf_counter() - began, cpu_time() - cpu
    held, peak = resident(), peak_memory()
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "resident_mib": round(held / 2**20),
        "peak_mib": round(peak / 2**20),
        "kept": len(train),
        "pools": {name: len(places) for name, places in pools.items()},
        "fingerprint": mark,
        "hash": digest(train),
    }


def before(config: Any) -> tuple[Any, Any, str]:
    from align.run import _load_prompts, fingerprint  # type: ignore[attr-defined]

    _, train, _ = _load_prompts(config)
    return train, train.pools(), fingerprint(train)


def keel(config: Any) -> tuple[Any, Any, str]:
    from align.policy.policy import load_tokenizer
    from align.prepared_prompts import prepared_prompts

    tokenizer = load_tokenizer(config.model)
    assert tokenizer is not None
    found = prepared_prompts(config, tokenizer)
    return found.train, found.train.pools(), found.train.fingerprint


def digest(prompts: Any) -> str:
    """A hash of every seventh prompt with all that belongs to it."""
    state = hashlib.sha256()
    for place in range(0, len(prompts), 7):
        record = prompts.records[place]
        fields = [getattr(record, name) for name in ("domain", "answer", "language", "columns", "id", "source")]
        text = json.dumps([[message.to_dict() for message in record.prompt], *fields], default=dict)
        state.update(text.encode() + np.asarray(prompts.ids[place], np.int32).tobytes())
        state.update(bytes([bool(prompts.prefilled[place])]))
    return state.hexdigest()[:16]


# --- all of them ------------------------------------------------------------------------------------------------------


def measure(workspace: Path, way: str, prompts: int, commit: str) -> list[dict[str, Any]]:
    """A start, and a resumed run of what keeps something."""
    job = {"way": way, "workspace": str(workspace), "prompts": prompts, "cache": str(workspace / f"cache-{prompts}")}
    code = worktree(workspace, commit) if way == "before" else ROOT
    variables = {"PYTHONPATH": os.pathsep.join([str(code), str(ROOT / "benchmarks")]), "HF_HUB_OFFLINE": "1"}
    found = [in_process(__file__, job, variables) for _ in range(1 if way == "before" else 2)]
    shutil.rmtree(job["cache"], ignore_errors=True)
    return found


def summary(runs: dict[str, dict[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    """Ratios for the most prompts, and whether results are equal."""
    both = [count for count in runs["keel"] if count in runs.get("before", {})]
    if not both:
        return {}
    theirs, ours = (runs[way][max(both, key=int)] for way in ("before", "keel"))
    parts = ("kept", "pools", "fingerprint", "hash")
    found = [[{json.dumps([run[part] for part in parts]) for run in runs[way][n]} for way in runs] for n in both]
    return {
        "ratio": round(theirs[-1]["cpu_seconds"] / max(ours[-1]["cpu_seconds"], 0.01), 3),
        "ratio_start": round(theirs[0]["cpu_seconds"] / ours[0]["cpu_seconds"], 3),
        "same": all(len(set.union(*each)) == 1 for each in found),
    }


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--prompts", type=int, nargs="+", default=[20_000, 100_000])
    made.add_argument("--ways", nargs="+", choices=("before", "keel"), default=["before", "keel"])
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
        if not all((workspace / f"{count}.jsonl").is_file() for count in arguments.prompts):
            workspace.mkdir(parents=True, exist_ok=True)
            prepare(workspace, arguments.prompts)
        for count in sorted(arguments.prompts):
            for way in arguments.ways:
                if str(count) in runs.get(way, {}):
                    continue
                runs.setdefault(way, {})[str(count)] = measure(workspace, way, count, arguments.before)
                print(way, count, json.dumps(runs[way][str(count)]), flush=True)
                write(arguments.out, report(arguments, runs), ())


def report(arguments: argparse.Namespace, runs: dict[str, dict[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    return {
        "benchmark": "prompt_scale",
        **(summary(runs) if "keel" in runs else {}),
        "ratio_is": "CPU seconds of a resumed run of before over keel's, the most prompts",
        "peer": f"this library at {arguments.before}",
        "runs": runs,
        "settings": settings(arguments, "job", "workspace"),
        "environment": environment(),
    }


if __name__ == "__main__":
    main()
