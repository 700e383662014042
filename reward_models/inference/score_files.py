"""``keel score``: files of responses become files of scores, one line per row, streaming and resumable.

The note beside the output (:mod:`reward_models.runtime.resumable`) holds a fingerprint of the rows that were scored so
far. A resumed call reads these rows again and refuses to continue if they have changed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from reward_models.data.files import BadRow
from reward_models.data.records import Conversation
from reward_models.data.sources import SourceError, expand, read_responses
from reward_models.inference.reward_model import RewardModel
from reward_models.runtime.resumable import ResumableLines, ResumeError

CHUNK = 512  # rows scored together: enough to sort by length; a kill loses at most these

Item = tuple[Conversation, dict[str, Conversation]] | BadRow


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """Attributes:
    rows: lines in the output. ``resumed``: how many of them an earlier call has written.
    bad: rows without a score: not readable, refused by the chat template, or a score that is not finite. Their line has
        ``error`` instead.
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
    "line"}``. A call with the same model, data and output continues after the last complete line.

    Args:
        on_rows: called with the number of rows as they are written, those of earlier calls first.

    Raises:
        ResumeError: ``out`` holds scores of another model, or the rows scored so far have changed.
        SourceError: a spec names nothing readable, or has no rows.
    """
    items: Iterator[Item] = chain.from_iterable([_some_rows(spec, columns) for spec in specs])
    progress = _Progress(out, _identity(model, specs, columns), overwrite)
    with closing(progress.lines) as written:
        resumed = written.rows
        progress.skip(items)
        on_rows(resumed)
        truncated = model.truncated
        while chunk := list(islice(items, CHUNK)):
            lines = _score(model, chunk)
            progress.add(chunk, lines)
            on_rows(len(lines))
    return ScoreReport(written.rows, resumed, progress.bad, model.truncated - truncated)


def _some_rows(spec: str, columns: Mapping[str, str] | None) -> Iterator[Item]:
    """The rows of ``spec``. ``SourceError`` at once if there are none, so that no output is begun."""
    rows = read_responses(spec, columns=columns)
    first = next(rows, None)
    if first is None:
        raise SourceError(f"no rows in {spec}")
    return chain([first], rows)


class _Progress:
    """The output under way, and a fingerprint of the rows that were scored so far.

    Attributes:
        lines: the output. ``bad``: lines with an error among those that are complete.
    """

    def __init__(self, out: Path, identity: dict[str, Any], overwrite: bool) -> None:
        self.lines = ResumableLines(out, identity, content="scores", overwrite=overwrite)
        self._wanted = self.lines.facts.get("content")
        self._digest = hashlib.sha256()
        self.bad = int(self.lines.facts.get("bad", 0))

    def skip(self, items: Iterator[Item]) -> None:
        """Read the rows that are scored already.

        Raises:
            ResumeError: they are not the rows that were scored.
        """
        rows, found = self.lines.rows, 0
        for item in islice(items, rows):
            self._digest.update(_fingerprint(item))
            found += 1
        if found < rows or (self._wanted is not None and self._digest.hexdigest() != self._wanted):
            raise ResumeError(
                f"the data have changed since {rows} of their rows were scored for {self.lines.out}; name another "
                "file, or replace it with --overwrite"
            )

    def add(self, chunk: Sequence[Item], lines: Sequence[dict[str, Any]]) -> None:
        """Rows that were scored, and their lines."""
        for item in chunk:
            self._digest.update(_fingerprint(item))
        self.bad += sum("error" in line for line in lines)
        self.lines.append(lines, bad=self.bad, content=self._digest.hexdigest())


def _fingerprint(item: Item) -> bytes:
    return hashlib.sha256(repr(item).encode("utf-8", "surrogatepass")).digest()


def _score(model: RewardModel, chunk: Sequence[Item]) -> list[dict[str, Any]]:
    refused: dict[int, str] = {}
    try:
        scores = iter(model.score_responses(_pairs(chunk, refused), finite=False))
    except ValueError:
        refused = _refused(model, chunk)
        if not refused:
            raise
        scores = iter(model.score_responses(_pairs(chunk, refused), finite=False))
    lines: list[dict[str, Any]] = []
    for place, item in enumerate(chunk):
        if isinstance(item, BadRow):
            lines.append({"error": item.reason, "file": item.file, "line": item.line})
            continue
        if place in refused:
            lines.append({"error": refused[place]})
            continue
        found = {name: next(scores) for name in item[1]}
        if broken := [name for name, score in found.items() if not math.isfinite(score.raw)]:
            lines.append({"error": f"the score of {' and of '.join(broken)} is not finite"})
        else:
            lines.append({name: asdict(score) for name, score in found.items()})
    return lines


def _pairs(chunk: Sequence[Item], refused: Mapping[int, str]) -> list[tuple[Conversation, Conversation]]:
    """The responses to score, with their prompts."""
    items = [item for place, item in enumerate(chunk) if place not in refused and not isinstance(item, BadRow)]
    return [(item[0], reply) for item in items for reply in item[1].values()]


def _refused(model: RewardModel, chunk: Sequence[Item]) -> dict[int, str]:
    """The rows that the chat template does not take: index → reason."""
    found = {}
    for place, item in enumerate(chunk):
        if not isinstance(item, BadRow):
            try:
                for reply in item[1].values():
                    model.renderer.text(item[0], reply)
            except ValueError as error:
                found[place] = str(error)
    return found


def _identity(model: RewardModel, specs: Sequence[str], columns: Mapping[str, str] | None) -> dict[str, Any]:
    """The model and the names of the data; what the data hold is part of the progress."""
    return {
        "model": str(model.directory.resolve()) if model.directory else "",
        "template": model.renderer.fingerprint,
        "trained": model.manifest.get("data_fingerprint", ""),
        "calibration": model.calibration.to_facts(),
        "data": [file for spec in specs for file in expand(spec)],
        "columns": dict(columns or {}),
    }
