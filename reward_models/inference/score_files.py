"""``keel score``: whole files of responses, a line for a line, streaming and resumable."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from reward_models.data.files import BadRow
from reward_models.data.records import Conversation
from reward_models.data.sources import expand, read_responses
from reward_models.inference.reward_model import RewardModel

CHUNK = 512  # rows scored together: enough to sort by length, few enough to lose little in a kill

Item = tuple[Conversation, dict[str, Conversation]] | BadRow


class ResumeError(ValueError):
    """The output holds scores of something else; the message says of what, and the way out."""


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """Attributes:
    rows: lines in the output. ``resumed``: how many of them were there before.
    bad: rows that hold no response; their line has ``error`` in place of scores.
    truncated: responses cut to the model's position limit in this call.
    """

    rows: int
    resumed: int
    bad: int
    truncated: int


def score_files(
    model: RewardModel,
    specs: Sequence[str],
    out: Path,
    *,
    columns: Mapping[str, str] | None = None,
    overwrite: bool = False,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> ScoreReport:
    """Write one JSON line per row of ``specs``, in their order.

    A pair gives ``{"chosen": {"raw", "calibrated"}, "rejected": {…}}`` (``response_a`` and ``response_b`` for ties and
    pairs without a verdict), a single response ``{"response": {…}}``, a row that cannot be read ``{"error", "file",
    "line"}``. A call with the same model, data and output goes on after the last complete line.

    Args:
        on_rows: called with the number of rows as they are written, those resumed first.

    Raises:
        ResumeError: ``out`` holds scores of another model or of other data.
        SourceError: a spec names nothing readable.
    """
    streams = [read_responses(spec, columns=columns) for spec in specs]
    done, bad = _begin(out, _identity(model, specs, columns), overwrite)
    on_rows(done)
    truncated, rows = model.truncated, done
    items: Iterator[Item] = islice((item for stream in streams for item in stream), done, None)
    with out.open("a", encoding="utf-8") as file:
        while chunk := list(islice(items, CHUNK)):
            lines = _score(model, chunk)
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            _flush(file)
            bad += sum("error" in line for line in lines)
            rows += len(lines)
            on_rows(len(lines))
    return ScoreReport(rows, done, bad, model.truncated - truncated)


def _score(model: RewardModel, chunk: Sequence[Item]) -> list[dict[str, Any]]:
    pairs = [(item[0], reply) for item in chunk if not isinstance(item, BadRow) for reply in item[1].values()]
    scores = iter(model.score_responses(pairs))
    lines: list[dict[str, Any]] = []
    for item in chunk:
        if isinstance(item, BadRow):
            lines.append({"error": item.reason, "file": item.file, "line": item.line})
        else:
            lines.append({name: asdict(next(scores)) for name in item[1]})
    return lines


def _identity(model: RewardModel, specs: Sequence[str], columns: Mapping[str, str] | None) -> dict[str, Any]:
    """What the scores in a file depend on, as far as that is cheap to tell: files by size, models by manifest."""
    files = [file for spec in specs for file in expand(spec)]
    return {
        "model": str(model.directory.resolve()) if model.directory else "",
        "template": model.renderer.fingerprint,
        "trained": model.manifest.get("data_fingerprint", ""),
        "calibration": model.calibration.to_facts(),
        "data": [[file, Path(file).stat().st_size if Path(file).is_file() else None] for file in files],
        "columns": dict(columns or {}),
    }


def _begin(out: Path, identity: dict[str, Any], overwrite: bool) -> tuple[int, int]:
    """Make ``out`` end with a complete line of this very job; returns its number of lines, and of errors among them."""
    note = out.with_name(f"{out.name}.job.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    if overwrite or not out.exists():
        out.write_bytes(b"")
        note.write_text(json.dumps(identity, indent=1), encoding="utf-8")
        return 0, 0
    before = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    if before != json.loads(json.dumps(identity)):
        differs = ", ".join(key for key in identity if before.get(key) != json.loads(json.dumps(identity[key])))
        raise ResumeError(f"{out} holds scores of another job ({differs} differ); name another file, or overwrite it")
    with out.open("rb+") as file:
        lines = bad = end = 0
        for line in file:
            if not line.endswith(b"\n"):
                break
            lines, bad, end = lines + 1, bad + (b'"error"' in line[:9]), end + len(line)
        file.truncate(end)  # a line that a kill cut short
    return lines, bad


def _flush(file: IO[str]) -> None:
    file.flush()
    os.fsync(file.fileno())
