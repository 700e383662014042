"""The prompts of a run: read, checked and tokenized once per machine (:mod:`reward_models.data.prepared`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
from transformers import PreTrainedTokenizerBase

from align.checks import check_prompts, checked_for
from align.config import AlignConfig
from align.policy.policy import load_tokenizer
from align.rollouts.prompts import PromptSet, load_prompts
from reward_models.data.chat import tokenizer_digest
from reward_models.data.columns import Flat, FlatWriter, ItemColumns, Items
from reward_models.data.prepared import Entry, digest_of, entry_of_sources
from reward_models.data.record_files import BATCH, RecordFile, RecordWriter
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


def load_run_prompts(config: AlignConfig, run: str) -> tuple[PreTrainedTokenizerBase, RunPrompts]:
    """The policy's tokenizer and the prompts of a run.

    Raises:
        ValueError: the configuration names no prompts, or no policy; or as :func:`prepared_prompts`.
    """
    if not config.prompts.train:
        raise ValueError("prompts.train is empty: name at least one file, hub data set or synthetic: source")
    if config.model.path is None:
        raise ValueError("model.path is empty: name a policy to start from; keel train sft makes one")
    tokenizer = load_tokenizer(config.model)
    assert tokenizer is not None
    return tokenizer, prepared_prompts(config, tokenizer, run)


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

    def checked(found: PromptSet, what: str) -> PromptSet:
        return check_prompts(config.rewards, found, prompts.max_bad, what)

    def read(path: Path) -> dict[str, Any]:
        held_out = None
        if evaluation.data:
            held_out = load_prompts(prompts, tokenizer, evaluation.data, evaluation.limit)
            held_out = checked(held_out, "evaluation.data")
        known = held_out.records if held_out is not None else ()
        train = load_prompts(prompts, tokenizer, prompts.train, prompts.limit, held_out=known)
        parts = {TRAIN: checked(train, "prompts.train")} | ({EVALUATION: held_out} if held_out is not None else {})
        facts = {name: _write(part, path, name) for name, part in parts.items()}
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


def _write(prompts: PromptSet, path: Path, name: str) -> dict[str, Any]:
    """Write a set; returns facts about it, and a digest of all of it."""
    records, tokens, items = _files(path, name)
    with RecordWriter[Prompt](records, compressed=False) as writer:
        for record in prompts.records:
            writer.add(record)
    flat = FlatWriter(tokens, {"token": np.int32})
    for start in range(0, len(prompts), BATCH):
        flat.add({"token": np.concatenate(prompts.ids[start : start + BATCH]).astype(np.int32)})
    flat.close()
    columns = {
        "length": prompts.length_I,
        "domain": prompts.domain_I,
        "prefilled": np.array(prompts.prefilled, np.uint8),
        "start": np.cumsum(prompts.length_I) - prompts.length_I,
    }
    ItemColumns().write(items, columns)
    facts = {
        "verifiers": sorted(prompts.verifiers),
        "fingerprint": prompts.fingerprint,
        "dropped": prompts.dropped,
    }
    return facts | {"digest": digest_of([writer.digest, facts])}


def _read(path: Path, name: str, facts: dict[str, Any]) -> PromptSet:
    """The set that :func:`_write` wrote."""
    records, tokens, items = _files(path, name)
    columns = Items(items)
    length_I = columns.array("length")
    return PromptSet(
        RecordFile(records),
        _MappedIds(Flat(tokens), columns.array("start"), length_I),
        cast("Sequence[bool]", columns.array("prefilled").view(bool)),
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
