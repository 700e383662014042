"""The prompts of a run: read, checked and tokenized once per machine (:mod:`reward_models.data.prepared`)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from transformers import PreTrainedTokenizerBase

from align.checks import PromptCheck, checked_for
from align.config import AlignConfig
from align.rollouts.prompts import PromptBatch, PromptReading, PromptSet, domains_as_numbers, mark, verifiers_of
from reward_models.data.chat import tokenizer_digest
from reward_models.data.columns import Flat, FlatWriter, ItemColumns, Items
from reward_models.data.prepared import Entry, digest_of, entry_of_sources
from reward_models.data.record_files import RecordFile, RecordWriter
from reward_models.data.records import Prompt
from reward_models.data.trees import TokenIds

_HERE = Path(__file__).parent
# The files on which prepared prompts depend beside reward_models.data.
CODE = (
    *(Path(__file__), _HERE / "checks.py", _HERE / "rollouts" / "prompts.py"),
    *sorted((_HERE / "rewards").rglob("*.py")),
)
TRAIN, EVALUATION = "train", "evaluation"


@dataclass(frozen=True, slots=True)
class RunPrompts:
    """The prompts of the training, those of the evaluation (``None`` without one), and where they are kept."""

    train: PromptSet
    held_out: PromptSet | None
    entry: Entry


def prepared_prompts(config: AlignConfig, tokenizer: PreTrainedTokenizerBase, run: str = "") -> RunPrompts:
    """Read the prompts of a configuration, and leave out those that are too long or can never be scored.

    One process of a machine does it; the others, and later starts, read the files. What cannot be used is kept
    nowhere: every process that meets it raises the same error.

    Args:
        run: as for :func:`reward_models.data.prepared.entry_of_sources`.

    Raises:
        SourceError, BadRowsError: see :func:`reward_models.data.sources.load`.
        ValueError: none is left; or more than ``prompts.max_bad`` could never be scored.
        OSError: the folder of prepared data cannot be written.
    """
    prompts, evaluation = config.prompts, config.evaluation

    def part(path: Path, name: str, known: Iterable[Prompt] = ()) -> dict[str, Any]:
        specs, limit, what = (
            (prompts.train, prompts.limit, "prompts.train")
            if name == TRAIN
            else (evaluation.data, evaluation.limit, "evaluation.data")
        )
        reading = PromptReading(prompts, tokenizer, specs, limit, known)
        check, writer = PromptCheck(config.rewards, prompts.max_bad, what), _Writer(path, name)
        for batch in reading:
            writer.add(batch, check(batch.records))
        check.close()
        return writer.close(reading.dropped | ({check.REASON: check.count} if check.count else {}))

    def read(path: Path) -> dict[str, Any]:
        facts: dict[str, dict[str, Any]] = {}
        known: Iterable[Prompt] = ()
        if evaluation.data:
            facts[EVALUATION] = part(path, EVALUATION)
            known = RecordFile[Prompt](_files(path, EVALUATION)[0])
        facts[TRAIN] = part(path, TRAIN, known)
        return {"digests": {name: each.pop("digest") for name, each in facts.items()}, "sets": facts}

    verified, speaking = checked_for(config.rewards)
    reading = {name: value for name, value in asdict(prompts).items() if name != "train"}
    settings = {
        "prompts": reading | {"evaluation_limit": evaluation.limit},
        "rewards": {"verified": sorted(verified), "speaking": sorted(speaking)},
        "tokenizer": tokenizer_digest(tokenizer),
        "template": digest_of(tokenizer.chat_template),
    }
    sources = {TRAIN: prompts.train, EVALUATION: evaluation.data}
    made = entry_of_sources("prompts", sources, settings, read, run, CODE)
    sets = {name: _read(made.path, name, facts) for name, facts in made.facts["sets"].items()}
    return RunPrompts(sets[TRAIN], sets.get(EVALUATION), made)


def _files(path: Path, name: str) -> tuple[Path, Path, Path]:
    """The files of a set: records, tokens, and values of each prompt."""
    return path / f"{name}.records.arrow", path / f"{name}.tokens.arrow", path / f"{name}.items.arrow"


class _Writer:
    """Writes a set of prompts, a batch at a time."""

    def __init__(self, path: Path, name: str) -> None:
        records, tokens, self._items_file = _files(path, name)
        self._records = RecordWriter[Prompt](records, compressed=False)
        self._tokens, self._items = FlatWriter(tokens, {"token": np.int32}), ItemColumns()
        self._state, self._verifiers = hashlib.sha256(), set[str]()

    def add(self, batch: PromptBatch, without: Collection[int]) -> None:
        """The prompts of a batch but for some places."""
        kept = [place for place in range(len(batch.records)) if place not in without]
        if not kept:
            return
        records, ids = [batch.records[place] for place in kept], [batch.ids[place] for place in kept]
        for record in records:
            self._records.add(record)
        self._tokens.add({"token": np.concatenate(ids).astype(np.int32)})
        lengths = np.array([len(tokens) for tokens in ids], np.int64)
        flags = np.array([batch.prefilled[place] for place in kept], np.uint8)
        self._items.add({"length": lengths, "domain": domains_as_numbers(records), "prefilled": flags})
        self._verifiers |= verifiers_of(records)
        mark(self._state, records, ids)

    def close(self, dropped: dict[str, int]) -> dict[str, Any]:
        """Facts about the set, and a digest of all of it. ``ValueError`` if no prompt is left."""
        if not self._records.count:
            raise ValueError(f"no prompt is left: {dropped}")
        self._records.close()
        self._tokens.close()
        lengths = self._items.array("length")
        self._items.write(self._items_file, {"start": np.cumsum(lengths) - lengths})
        facts = {
            "verifiers": sorted(self._verifiers),
            "fingerprint": self._state.hexdigest()[:16],
            "dropped": dropped,
        }
        return facts | {"digest": digest_of([self._records.digest, facts])}


def _read(path: Path, name: str, facts: dict[str, Any]) -> PromptSet:
    """The set that :class:`_Writer` wrote."""
    records, tokens, items = _files(path, name)
    columns = Items(items)
    length_I = columns.array("length")
    return PromptSet(
        RecordFile(records),
        _MappedIds(Flat(tokens), columns.array("start"), length_I),
        columns.array("prefilled").astype(bool).tolist(),  # of Python's own type: reward servers are sent it as JSON
        columns.array("domain"),
        length_I,
        frozenset(facts["verifiers"]),
        facts["fingerprint"],
        facts["dropped"],
    )


class _MappedIds(Sequence[TokenIds]):
    """Token ids of prompts in a file, copied when they are asked for."""

    def __init__(self, flat: Flat, start_I: np.ndarray, length_I: np.ndarray) -> None:
        self._flat, self._start_I, self._length_I = flat, start_I, length_I

    def __len__(self) -> int:
        return len(self._length_I)

    @overload
    def __getitem__(self, place: int) -> TokenIds: ...
    @overload
    def __getitem__(self, place: slice) -> list[TokenIds]: ...
    def __getitem__(self, place: int | slice) -> TokenIds | list[TokenIds]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        start = int(self._start_I[place])
        return self._flat["token", start, start + int(self._length_I[place])].copy()
