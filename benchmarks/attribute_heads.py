"""Attribute heads against one pairwise model and an ensemble of three, at equal data.

    python benchmarks/attribute_heads.py --out benchmarks/results/attribute_heads.json

The data kit in ``KEEL_DATA`` has no rated responses, so ratings from 0 to 4 are made of its pairs. Helpfulness is four
times the share of its pairs that a response wins (half of one for a tie); verbosity is the fifth of the training
responses that its number of words falls into, complexity the same of the mean length of its words. The last two are
properties of the text and no judgement: they test whether a combination of outputs takes the length out of a score.

A group has an ``init_seed``: the three members of ``warm.py``, trained on pairs, and one model with attribute heads,
trained on the same files with the same settings and as many responses a step. The ways to score:

- ``single``: the mean over the members;
- ``heads``: the helpfulness output, less a share of the verbosity output;
- ``ensemble``, less a share of the logarithm of the number of words; both in standard units.

The share is 0, one of ``SHARES``, or ``even``: the one with which the score prefers the longer response in half of the
test pairs, which needs no verdicts. ``ratio`` is the median over the groups of the members' mean error over that of the
helpfulness output alone. Finished models are not trained again.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from harness import DATA, ROOT, environment, median_ratio, parser, settings, write
from warm import MEMBERS, TEST, TRAIN, chosen, evaluated, keel, member

from reward_models import RewardModel
from reward_models.attributes import attribute_figures
from reward_models.calibration import Calibration
from reward_models.data.encode import label_value, ordered_responses
from reward_models.data.records import ATTRIBUTES, Comparison, Conversation
from reward_models.data.sources import load
from reward_models.evaluation.figures import evaluate
from reward_models.evaluation.scored_set import ScoredSet, scored_set, together

SHARES = (0.05, 0.1, 0.2, 0.4)
FIGURES = ("accuracy", "accuracy_equal_length", "prefers_longer")
PAIRS = 32  # of a step, as in helpful_cpu.yaml
HELPFULNESS, VERBOSITY = ATTRIBUTES.index("helpfulness"), ATTRIBUTES.index("verbosity")


# --- ratings from pairs -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scales:
    """Borders between the fifths of the training responses; mean and deviation of the logarithm of their words."""

    words: list[float]
    letters: list[float]
    log_mean: float
    log_deviation: float

    def row(self, response: Conversation, won: float) -> dict[str, float]:
        """The ratings of a response that wins a share ``won`` of its pairs."""
        words, letters = measured(response)
        return {
            "helpfulness": 4 * won,
            "verbosity": float(np.searchsorted(self.words, words, side="right")),
            "complexity": float(np.searchsorted(self.letters, letters, side="right")),
        }


def measured(response: Conversation) -> tuple[int, float]:
    """The number of words, and their mean length in characters."""
    words = " ".join(message.content for message in response).split()
    return len(words), statistics.fmean(map(len, words)) if words else 0.0


def pairs(names: Sequence[str], part: str) -> dict[str, list[Comparison]]:
    return {name: load([str(DATA / "helpful" / f"{name}.{part}.jsonl.gz")], "comparison").records for name in names}


def shares_won(records: Sequence[Comparison]) -> dict[tuple[Conversation, Conversation], float]:
    """(prompt, response) → share of its pairs that it wins."""
    found: dict[tuple[Conversation, Conversation], list[float]] = defaultdict(list)
    for record in records:
        better, worse = ordered_responses(record)
        found[record.prompt, better].append(label_value(record))
        found[record.prompt, worse].append(1 - label_value(record))
    return {key: statistics.fmean(each) for key, each in found.items()}


def prepare(folder: Path) -> tuple[Scales, dict[str, int]]:
    """Write the rated responses of the training files and of one test file, which the trainer evaluates on."""
    folder.mkdir(parents=True, exist_ok=True)
    records = [record for each in pairs(TRAIN, "train").values() for record in each]
    won = shares_won(records)
    sizes = np.array([measured(response) for _, response in won])
    fifths = np.linspace(0, 1, 6)[1:-1]
    logs = np.log1p(sizes[:, 0])
    words, letters = (np.quantile(column, fifths).tolist() for column in sizes.T)
    scales = Scales(words, letters, float(logs.mean()), float(logs.std()))
    write_rows(folder / "train.jsonl", scales, won)
    write_rows(folder / "test.jsonl", scales, shares_won(pairs(["tulu_human"], "test")["tulu_human"]))
    between = sum(0 < share < 1 for share in won.values())
    return scales, {"pairs": len(records), "responses": len(won), "won some pairs and lost others": between}


def write_rows(file: Path, scales: Scales, won: dict[tuple[Conversation, Conversation], float]) -> None:
    with file.open("w", encoding="utf-8") as lines:
        for (prompt, response), share in won.items():
            texts = {"prompt": [m.to_dict() for m in prompt], "response": [m.to_dict() for m in response]}
            lines.write(json.dumps(texts | scales.row(response, share), ensure_ascii=False) + "\n")


# --- models and their scores ------------------------------------------------------------------------------------------


def heads(group: int, runs: Path, steps: int) -> Path:
    """A model with attribute heads; one that an earlier call has finished is used again."""
    out = runs / f"heads{group}"
    if not (out / "manifest.json").is_file():
        words = [f"output_dir={out}", f"init_seed={group}", f"seed={100 * group}", f"max_steps={steps}", "save_every=0"]
        words += [f"data.train=[{runs / 'train.jsonl'}]", f"data.eval=[{runs / 'test.jsonl'}]"]
        words += ["attributes={helpfulness: 1.0}", f"batch_size={2 * PAIRS}"]
        keel("train", "rm", "--config", str(ROOT / "configs" / "reward_model" / "helpful_cpu.yaml"), *words)
    return out


def kept(file: Path, records: dict[str, list[Comparison]], model: Path) -> dict[str, np.ndarray]:
    """The outputs for each file; found again where they were computed before."""
    if not file.is_file():
        loaded = RewardModel.load(model)
        arrays: Any = {name: outputs(loaded, each) for name, each in records.items()}
        np.savez(file, **arrays)
    return dict(np.load(file))


def ensemble_scores(folder: Path, records: dict[str, list[Comparison]]) -> dict[str, np.ndarray]:
    """``[n, 2]`` of each file, better response first, as ``keel evaluate rm`` wrote them."""
    found: dict[str, dict[str, list[float]]] = defaultdict(dict)
    with (folder / "evaluation_scores.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            found[Path(row["source"]).name.partition(".")[0]][row["id"]] = row["scores"]
    return {name: np.array([found[name][record.id] for record in each]) for name, each in records.items()}


def outputs(model: RewardModel, records: Sequence[Comparison]) -> np.ndarray:
    """``[n, 2, attributes]``, better response first, in standard units of the training ratings; nan: never rated."""
    assert model.scorer.head is not None
    turns = [[*record.prompt, *reply] for record in records for reply in ordered_responses(record)]
    rows = [[math.nan if v is None else v for v in each.values()] for each in model.score_attributes(turns)]
    return model.scorer.head.standard(np.array(rows)).reshape(-1, 2, len(ATTRIBUTES))


def log_words(scales: Scales, records: Sequence[Comparison]) -> np.ndarray:
    """``[n, 2]``, better response first, in standard units of the training responses."""
    words = np.array([[measured(reply)[0] for reply in ordered_responses(record)] for record in records])
    return (np.log1p(words) - scales.log_mean) / scales.log_deviation


def even_share(scores: np.ndarray, sizes: np.ndarray, lengths: np.ndarray) -> float:
    """The share of ``sizes`` with which the score prefers the longer response in half of the pairs; at least 0."""
    longer = np.sign(lengths[:, 0] - lengths[:, 1])
    margins, differences = scores[:, 0] - scores[:, 1], sizes[:, 0] - sizes[:, 1]
    low, high = 0.0, 64.0
    for _ in range(50):
        middle = (low + high) / 2
        if (np.sign(margins - middle * differences) * longer).mean() > 0:
            low = middle
        else:
            high = middle
    return low


# --- figures ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tests:
    """The test pairs of every file, and a set of each that waits for its scores."""

    records: dict[str, list[Comparison]]
    sets: dict[str, ScoredSet]

    def figures(self, scores: dict[str, np.ndarray]) -> dict[str, Any]:
        """Of all files together, and the accuracy of each; ``scores``: ``[n, 2]`` of each file."""
        found = evaluate([replace(part, scores=scores[name]) for name, part in self.sets.items()])
        by_source = {name: each["accuracy"] for name, each in found["by_source"].items()}
        return {name: found[name] for name in FIGURES} | {"by_source": by_source}

    def less(self, scores: dict[str, np.ndarray], sizes: dict[str, np.ndarray]) -> dict[str, Any]:
        """The figures of ``scores`` less each share of ``sizes``."""
        lengths = together(list(self.sets.values())).lengths
        joined, joined_sizes = (np.concatenate([each[name] for name in self.sets]) for each in (scores, sizes))
        even = even_share(joined, joined_sizes, lengths)
        return {
            str(name): {"share": share}
            | self.figures({file: each - share * sizes[file] for file, each in scores.items()})
            for name, share in [(0, 0.0), *((share, share) for share in SHARES), ("even", even)]
        }


def waiting(records: dict[str, list[Comparison]]) -> Tests:
    made = partial(scored_set, task="preference", span="summary", calibration=Calibration(), baseline=None)
    return Tests(records, {name: made(name, each, np.zeros((len(each), 2))) for name, each in records.items()})


def predicted(found: dict[str, np.ndarray], model: Path, tests: Tests, scales: Scales) -> dict[str, Any]:
    """Correlation and error of every output on the responses of the test pairs."""
    records = [record for each in tests.records.values() for record in each]
    won = shares_won(records)
    rows = [
        [scales.row(reply, won[record.prompt, reply]).get(name, math.nan) for name in ATTRIBUTES]
        for record in records
        for reply in ordered_responses(record)
    ]
    head = RewardModel.load(model).scorer.head
    assert head is not None
    given = np.concatenate([found[name].reshape(-1, len(ATTRIBUTES)) for name in tests.records])
    return {k: v for k, v in attribute_figures(head.ratings(given), np.array(rows)).items() if v["n"]}


def run_group(group: int, arguments: Any, tests: Tests, scales: Scales) -> dict[str, Any]:
    began = time.perf_counter()
    model = heads(group, arguments.runs, arguments.steps)
    members = [member(group, number, arguments.members, arguments.steps) for number in range(MEMBERS)]
    evaluation = arguments.members / f"group{group}_evaluation"
    singles = [chosen(each) for each in evaluated(members, evaluation)["members"].values()]
    found = kept(arguments.runs / f"{model.name}.npz", tests.records, model)
    sizes = {name: log_words(scales, each) for name, each in tests.records.items()}
    helpfulness, verbosity = ({name: each[..., at] for name, each in found.items()} for at in (HELPFULNESS, VERBOSITY))
    return {
        "group": group,
        "single": {name: statistics.fmean(each[name] for each in singles) for name in FIGURES}
        | {
            "by_source": {
                name: statistics.fmean(each["by_source"][f"{name}.test"] for each in singles) for name in TEST
            }
        },
        "heads": tests.less(helpfulness, verbosity),
        "ensemble": tests.less(ensemble_scores(evaluation, tests.records), sizes),
        "deviations": {
            ATTRIBUTES[at]: float(np.concatenate([each[..., at].ravel() for each in found.values()]).std())
            for at in (HELPFULNESS, VERBOSITY)
        },
        "outputs": predicted(found, model, tests, scales),
        "seconds": round(time.perf_counter() - began, 1),
    }


def ways(group: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every way by name, with its figures."""
    yield "single", group["single"]
    for name in ("heads", "ensemble"):
        yield from ((f"{name}, share {share}", found) for share, found in group[name].items())


def summarise(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the groups of every figure of each way."""
    table: dict[str, Any] = {}
    for way in dict(ways(groups[0])):
        found = [dict(ways(group))[way] for group in groups]
        for name in FIGURES:
            values = [each[name] for each in found]
            spread = statistics.stdev(values) if len(values) > 1 else None
            table.setdefault(way, {})[name] = {"mean": statistics.fmean(values), "standard_deviation": spread}
        table[way]["by_source"] = {
            name: round(statistics.fmean(each["by_source"][name] for each in found), 4) for name in TEST
        }
    return table


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--runs", type=Path, default=ROOT / "runs" / "attribute_heads", help="finished models stay there")
    made.add_argument("--members", type=Path, default=ROOT / "runs" / "warm", help="the models of warm.py")
    made.add_argument("--groups", nargs="+", type=int, default=[0, 1, 2])
    made.add_argument("--steps", type=int, default=60, help="optimizer steps of each model")
    arguments = made.parse_args()
    if not (DATA / "MANIFEST.json").is_file():
        made.error(f"no data kit at {DATA}; set KEEL_DATA to its directory")
    scales, counts = prepare(arguments.runs)
    tests = waiting(pairs(TEST, "test"))
    result: dict[str, Any] = {"benchmark": "attribute_heads", "settings": settings(arguments, "runs", "members")}
    result |= {"environment": environment(arguments.groups[0]), "data": counts, "groups": []}
    for group in arguments.groups:
        result["groups"].append(run_group(group, arguments, tests, scales))
        errors = [
            [1 - dict(ways(each))[way]["accuracy"] for each in result["groups"]] for way in ("single", "heads, share 0")
        ]
        result |= {"summary": summarise(result["groups"]), "ratio": median_ratio(*errors)}
        write(arguments.out, result, ("summary", "ratio"))


if __name__ == "__main__":
    main()
