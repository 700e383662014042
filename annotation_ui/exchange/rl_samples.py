"""The ``samples.jsonl`` of an RL run as items to judge, those first that its reward terms disagree about most."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from annotation_ui.store.forms import RESPONSES, Kind
from reward_models.data.files import BadRow, read_rows

NAME = "samples.jsonl"


@dataclass(frozen=True, slots=True)
class _Sample:
    """A line, with the terms that scored it in units of each term's standard deviation over the file."""

    line: int
    row: Mapping[str, Any]
    terms: Mapping[str, float]


def is_samples(spec: str) -> bool:
    return Path(spec).name == NAME and Path(spec).is_file()


def read_samples(path: Path, kind: Kind) -> Iterator[tuple[int, dict[str, Any]] | BadRow]:
    """``(line, row)`` of every item in the file, the most disputed first; bad lines before all others.

    A safety item is a response, and so is one to be rated or rewritten. A preference item is, of the responses to one
    prompt, the pair most in dispute. A ranking item is the whole group; of more than eight those are left out that are
    least in dispute with the others. Prompts with one response only give none of either, and neither do copies.
    """
    found: list[tuple[int, Mapping[str, Any]]] = []
    for item in read_rows(path):
        reason = None if isinstance(item, BadRow) else _problem(item[1])
        if isinstance(item, BadRow):
            yield item
        elif reason is not None:
            yield BadRow(str(path), item[0], reason, item[1])
        else:
            found.append(item)
    samples = _standardised(found)
    if kind in ("preference", "ranking"):
        rows = _pairs(samples) if kind == "preference" else _groups(samples)
    else:
        rows = [(_spread(s), s.line, _single(s)) for s in samples]
    for _, line, row in sorted(rows, key=lambda entry: (-entry[0], entry[1])):
        yield line, row


def _problem(row: Mapping[str, Any]) -> str | None:
    """Why a line is no sample; prompts and responses themselves are checked where every import's are."""
    terms = row.get("terms")
    if not isinstance(terms, dict) or not all(v is None or isinstance(v, int | float) for v in terms.values()):
        return "key 'terms' is not a mapping of reward terms to numbers: this is no line of an RL run's samples.jsonl"
    if not isinstance(row.get("response"), str):
        return "key 'response' is missing or not text"
    return None


def _standardised(found: Sequence[tuple[int, Mapping[str, Any]]]) -> list[_Sample]:
    values: dict[str, list[float]] = defaultdict(list)
    for _, row in found:
        for name, value in row["terms"].items():
            if value is not None:
                values[name].append(value)
    scale = {name: (fmean(known), pstdev(known)) for name, known in values.items()}
    return [
        _Sample(
            line,
            row,
            {
                name: (value - scale[name][0]) / scale[name][1]
                for name, value in row["terms"].items()
                if value is not None and scale[name][1] > 0
            },
        )
        for line, row in found
    ]


def _spread(sample: _Sample) -> float:
    """The distance between the highest and the lowest term on one response."""
    return max(sample.terms.values()) - min(sample.terms.values()) if len(sample.terms) > 1 else 0.0


def dispute(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """The dispute about two responses: the weaker of the two sides' total difference. 0 where all terms agree."""
    differences = [one[name] - other[name] for name in one.keys() & other.keys()]
    return min(sum(d for d in differences if d > 0), -sum(d for d in differences if d < 0))


def _by_prompt(samples: Sequence[_Sample]) -> list[list[_Sample]]:
    """The different responses to each prompt, where there are two or more."""
    found: dict[str, dict[str, _Sample]] = defaultdict(dict)
    for sample in samples:
        found[json.dumps(sample.row.get("prompt"))].setdefault(sample.row["response"], sample)
    return [list(responses.values()) for responses in found.values() if len(responses) > 1]


def _pairs(samples: Sequence[_Sample]) -> list[tuple[float, int, dict[str, Any]]]:
    rows = []
    for responses in _by_prompt(samples):
        one, other = max(combinations(responses, 2), key=lambda pair: dispute(pair[0].terms, pair[1].terms))
        row = {"prompt": one.row.get("prompt"), "response_a": one.row["response"]}
        row |= {"response_b": other.row["response"], "model_a": _step(one), "model_b": _step(other)}
        rows.append((dispute(one.terms, other.terms), one.line, row))
    return rows


def _groups(samples: Sequence[_Sample]) -> list[tuple[float, int, dict[str, Any]]]:
    rows = []
    for responses in _by_prompt(samples):
        total = {
            sample.line: sum(dispute(sample.terms, other.terms) for other in responses if other is not sample)
            for sample in responses
        }
        kept = sorted(responses, key=lambda sample: (-total[sample.line], sample.line))[: RESPONSES["ranking"][1]]
        kept.sort(key=lambda sample: sample.line)
        row = {"prompt": kept[0].row.get("prompt"), "responses": [sample.row["response"] for sample in kept]}
        row["models"] = [_step(sample) for sample in kept]
        most = max(dispute(one.terms, other.terms) for one, other in combinations(kept, 2))
        rows.append((most, kept[0].line, row))
    return rows


def _single(sample: _Sample) -> dict[str, Any]:
    return {"prompt": sample.row.get("prompt"), "response": sample.row["response"], "model": _step(sample)}


def _step(sample: _Sample) -> str:
    return f"step {sample.row.get('step')}"
