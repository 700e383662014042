"""Curation with a stand-in for the judge: what averaging does to a position bias, and what a kill costs.

    python benchmarks/curation.py $KEEL_DATA/annotations/*.jsonl.gz --out benchmarks/results/curation.json

The stand-in (stand_in_judge.py) knows the mean vote of the annotators, −2 … 2, and answers with the nearest verdict
after adding its preference for what it is shown first and noise. `keel data curate` runs as a process of its own, is
killed with SIGKILL once half of its questions are answered, and is started again. Errors are Δ − mean vote.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

from harness import environment, parser, write
from stand_in_judge import StandInJudge, annotated_rows, mean_vote, voted_gap

Row = dict[str, Any]


def main() -> None:
    made = parser(__doc__)
    made.add_argument("files", nargs="+", help="annotated pairs: rows with an 'annotations' list of votes")
    for name, value in (("bias", 1.0), ("noise", 0.5), ("faults", 0.1), ("delay", 0.05), ("hang", 4.0)):
        made.add_argument(f"--{name}", type=float, default=value)
    settings = vars(made.parse_args())
    files, out = settings.pop("files"), settings.pop("out")
    rows = annotated_rows(files)
    with tempfile.TemporaryDirectory() as directory, StandInJudge(voted_gap(rows), **settings) as stand_in:
        cost = curate_with_a_kill(rows, Path(directory), stand_in)
        report = json.loads((Path(directory) / "out" / "report.json").read_text(encoding="utf-8"))
        lines = (Path(directory) / "out" / "judgements.jsonl").read_text(encoding="utf-8").splitlines()
    report["settings"]["data"] = [Path(file).name for file in files]
    report["counts"] = {"all": len(rows)}
    result = {
        "stand_in": settings,
        "cost": cost,
        "orders": compare_orders({row["id"]: mean_vote(row) for row in rows}, [json.loads(line) for line in lines]),
        "report": report,
        "environment": environment(seed=report["settings"]["seed"]),
    }
    write(out, result, ("cost", "orders", "report"))


def curate_with_a_kill(rows: list[Row], directory: Path, stand_in: StandInJudge) -> dict[str, int]:
    """Run the command, kill it half-way, run it again; how often the stand-in was asked and answered."""
    labels = {1: "a", 0: "tie", -1: "b"}
    data = directory / "pairs.jsonl"
    with data.open("w", encoding="utf-8") as file:
        for row in rows:
            vote = mean_vote(row)
            file.write(json.dumps(row | {"label": labels[(vote > 0) - (vote < 0)]}) + "\n")
    command = [sys.executable, "-m", "keel.cli", "data", "curate", str(data), "--out", str(directory / "out")]
    command += ["--judge", stand_in.url, "--judge-model", "stand-in", "endpoint.timeout=3"]
    process = subprocess.Popen(command)
    while sum(stand_in.answered.values()) < 2 * len(rows) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while stand_in.in_flight:  # answers on their way to nobody are paid for too
        time.sleep(0.01)
    kept = sum(line.endswith("\n") for line in (directory / "out" / "answers.jsonl").open(encoding="utf-8"))
    before = sum(stand_in.answered.values())
    subprocess.run(command, check=True)
    return {
        "questions": len(stand_in.answered),
        "requests": sum(stand_in.requests.values()),
        "answers": sum(stand_in.answered.values()),
        "answers_before_the_kill": before,
        "of_these_on_disk": kept,
        "answered_twice": sum(count > 1 for count in stand_in.answered.values()),
    }


def compare_orders(votes: dict[str, float], lines: list[Row]) -> dict[str, dict[str, float]]:
    """Other ways of asking the same judge, simulated with its judgements of each pair."""
    ways: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        by_order: dict[str, list[float]] = {"a": [], "b": []}
        for judgement in line["judgements"]:
            if judgement["score"] is not None:
                by_order[judgement["first"]].append(judgement["score"])
        if min(map(len, by_order.values())) < 2:
            continue
        dice = Random(line["id"])
        coins = [dice.choice("ab") for _ in range(4)]
        deltas = {
            "one judgement, response a first": by_order["a"][0],
            "one judgement, random order": dice.choice(by_order[dice.choice("ab")]),
            "four judgements, response a first": statistics.fmean(dice.choices(by_order["a"], k=4)),
            "four judgements, random orders": statistics.fmean(dice.choice(by_order[coin]) for coin in coins),
            "four judgements, balanced orders": line["delta"],
        }
        for way, delta in deltas.items():
            ways.setdefault(way, []).append((delta, votes[line["id"]]))
    return {way: _errors(pairs) for way, pairs in ways.items()}


def _errors(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Errors of Δ, and how often a clear verdict, |Δ| > 1, is against the votes or finds what they do not."""
    errors = [delta - vote for delta, vote in pairs]
    clear = [(delta, vote) for delta, vote in pairs if abs(delta) > 1]
    return {
        "pairs": len(pairs),
        "mean_error": round(statistics.fmean(errors), 3),
        "rms_error": round(statistics.fmean(error**2 for error in errors) ** 0.5, 3),
        "clear": len(clear),
        "clear_against_or_without_votes": round(sum(delta * vote <= 0 for delta, vote in clear) / len(clear), 4),
    }


if __name__ == "__main__":
    main()
