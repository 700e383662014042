"""From the configured sources to tokenized training, calibration and evaluation sets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from reward_models.data.chat import ChatRenderer, Span, tokenizer_digest
from reward_models.data.encode import Overlong, Rules
from reward_models.data.prepared import Entry, code, digest_of, entry, entry_of_sources
from reward_models.data.record_files import RecordFile, RecordWriter
from reward_models.data.records import TASKS, Comparison, RecordType, SafetyLabel, Task
from reward_models.data.sources import Reading, expand
from reward_models.data.splits import Contents, EvaluationPrompts, part_of
from reward_models.data.token_sets import TokenizedSet, open_set, write_set

RewardRecord = Comparison | SafetyLabel
# What a record file depends on beside its sources; the other settings are for tokenizing.
_READING = (
    *("eval_fraction", "calibration_fraction", "columns", "limit", "max_bad"),
    *("conflicts", "decontaminate"),
)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The data of a reward model's training.

    Attributes:
        train, eval: files, globs, hub data sets (``owner/name[/subset][:split]``) or ``synthetic:…``.
        eval_fraction: share of the training prompts held out for evaluation when ``eval`` is empty.
        calibration_fraction: share of the training prompts set aside to fit score statistics and temperature; they are
            neither trained nor evaluated on.
        columns: our column names to the source's, where they differ.
        limit: the most rows to read of each training source.
        max_bad: how many bad rows may be left out; one more stops the run before it starts.
        max_length: longest training sequence in tokens (evaluation and scoring have no limit). Longer conversations
            lose their oldest turns; the response is kept.
        overlong: an example whose responses alone exceed ``max_length`` is dropped and counted, or their ends are cut.
        span: what the model reads of a response: ``summary`` (what follows the reasoning) or ``full``; default: summary
            for preference, full for safety, as in DeepSeek-R1.
        ties: train on ties, or leave them out.
        conflicts: what becomes of the same pair with opposite verdicts.
        decontaminate: leave out training rows whose prompt occurs in the evaluation sources.
    """

    train: list[str] = field(default_factory=list)
    eval: list[str] = field(default_factory=list)
    eval_fraction: float = 0.05
    calibration_fraction: float = 0.05
    columns: dict[str, str] = field(default_factory=dict)
    limit: int | None = None
    max_bad: int = 0
    max_length: int = 8192
    overlong: Overlong = "drop"
    span: Literal["summary", "full"] | None = None
    ties: bool = True
    conflicts: Literal["drop", "keep", "first"] = "drop"
    decontaminate: bool = True

    def __post_init__(self) -> None:
        for name in ("eval_fraction", "calibration_fraction"):
            if not 0 <= getattr(self, name) < 0.5:
                raise ValueError(f"data.{name} must be at least 0 and below 0.5")
        for name, least in (("limit", 1), ("max_bad", 0)):
            if (value := getattr(self, name)) is not None and value < least:
                raise ValueError(f"data.{name}={value} must be at least {least}")
        if self.max_length < 8:
            raise ValueError(f"data.max_length={self.max_length} leaves no room for a conversation")


@dataclass(frozen=True, slots=True)
class Records:
    """Records by their use, read from files; ``counts``: the number read, and the numbers left out by reason.

    ``entry``: the prepared files.
    """

    train: RecordFile[RewardRecord]
    calibration: RecordFile[RewardRecord]
    eval: dict[str, RecordFile[RewardRecord]]
    counts: dict[str, int]
    entry: Entry

    @property
    def texts(self) -> Iterator[str]:
        """Every message of the training set."""
        for r in self.train:
            replies = (r.response,) if isinstance(r, SafetyLabel) else (r.response_a, r.response_b)
            for conversation in (r.prompt, *replies):
                for message in conversation:
                    yield message.content


@dataclass(frozen=True, slots=True)
class TokenizedData:
    """The same sets as token ids.

    Attributes:
        entry: the prepared files. ``prepared``: all that they follow from, to tell what has changed when a run resumes.
    """

    train: TokenizedSet
    calibration: TokenizedSet
    eval: dict[str, TokenizedSet]
    entry: Entry
    prepared: dict[str, Any]


def load_records(config: DataConfig, task: Task, *, rated: bool = False, run: str = "") -> Records:
    """Read all sources, remove duplicates and evaluation prompts, and split by prompt.

    It is done once: the result is kept in a folder (:mod:`reward_models.data.prepared`) and found again as long as the
    sources have the same bytes. Sources that are no files are read once in every run.

    Args:
        rated: read rated responses in place of the task's records.
        run: equal in all processes of a run, and in no other run; one of them then looks at the sources.

    Raises:
        SourceError, BadRowsError: see :func:`reward_models.data.sources.load`.
        ValueError: nothing is left to train on.
    """
    record_type: RecordType = "rated" if rated else TASKS[task].record_type
    settings = {"record_type": record_type, **{name: getattr(config, name) for name in _READING}}
    sources = {"train": config.train, "eval": config.eval}
    made = entry_of_sources("records", sources, settings, lambda path: _read(config, record_type, path), run)
    sets = {name: RecordFile[RewardRecord](made.path / f"{name}.arrow") for name in made.facts["digests"]}
    evaluation = {spec: sets[name] for spec, name in made.facts["eval"].items()}
    return Records(sets["train"], sets["calibration"], evaluation, made.facts["counts"], made)


def _read(config: DataConfig, record_type: RecordType, path: Path) -> dict[str, Any]:
    """Read the sources into files of ``path``; the counts, and the files of each evaluation set."""
    columns = config.columns or None
    evaluation: dict[str, str] = {}
    digests: dict[str, str] = {}
    for number, file in enumerate(file for spec in config.eval for file in expand(spec)):
        evaluation[file] = name = f"eval-{number}"
        with RecordWriter[RewardRecord](path / f"{name}.arrow") as held:
            for record in Reading([file], record_type, max_bad=config.max_bad, columns=columns):
                held.add(record)
        digests[name] = held.digest
    apart = [RecordFile[RewardRecord](path / f"{name}.arrow") for name in evaluation.values() if config.decontaminate]
    prompts = EvaluationPrompts(record for part in apart for record in part)
    held_out = 0.0 if evaluation else config.eval_fraction
    shares = {"calibration": config.calibration_fraction, "eval": held_out}
    shares |= {"train": 1 - sum(shares.values())}

    reading = Reading(config.train, record_type, max_bad=config.max_bad, limit=config.limit, columns=columns)
    everything, known, places = path / "all.arrow", Contents(), {name: place for place, name in enumerate(shares)}
    part_of_row, contaminated = bytearray(), bytearray()
    with RecordWriter[RewardRecord](everything) as read:
        for record in reading:
            known.add(record)
            part_of_row.append(places[part_of(record, shares)])
            contaminated.append(prompts.reason(record.prompt) is not None)
            read.add(record)
    decided = known.decide(config.conflicts)
    removed = 0
    with ExitStack() as opened:
        parts = {name: opened.enter_context(RecordWriter[RewardRecord](path / f"{name}.arrow")) for name in shares}
        writers = list(parts.values())
        for row, (text, tie) in enumerate(RecordFile[RewardRecord](everything).texts()):
            if decided.kept[row] and contaminated[row]:
                removed += 1
            elif decided.kept[row]:
                writers[part_of_row[row]].add_text(text, tie)
    everything.unlink()
    counts = {
        "read": read.count,
        "bad rows": len(reading.bad),
        "duplicates": decided.duplicates,
        "contradictions": decided.contradictions,
    }
    if any(len(part) for part in apart):
        counts["prompts of evaluation"] = removed
    if parts["eval"].count:
        evaluation = {"held out": "eval"}
    counts |= {"calibration": parts["calibration"].count, "train": parts["train"].count}
    if not parts["train"].count:
        raise ValueError(f"data.train has nothing to train on: {counts}")
    digests |= {name: part.digest for name, part in parts.items()}
    return {"counts": counts, "eval": evaluation, "digests": digests}


def tokenize(records: Records, renderer: ChatRenderer, config: DataConfig, limit: int | None = None) -> TokenizedData:
    """Training texts are cut to ``max_length``; calibration and evaluation read everything.

    It is done once, as reading is: see :func:`load_records`.

    Args:
        limit: the longest sequence the model's architecture can read at all; ``None`` for no limit.
    """
    longest = config.max_length if limit is None else min(config.max_length, limit)
    rules = {"train": Rules(max_length=longest, ties=config.ties, overlong=config.overlong, same=False)}
    whole = Rules(max_length=limit, overlong="cut")
    sets = {"train": records.train, "calibration": records.calibration, **records.eval}
    files = {"train": "train", "calibration": "calibration", **records.entry.facts["eval"]}
    key = {
        "records": {file: records.entry.facts["digests"][file] for file in files.values()},
        "tokenizer": tokenizer_digest(renderer.tokenizer),
        "template": digest_of(renderer.tokenizer.chat_template),
        "settings": {"span": renderer.span, "train": asdict(rules["train"]), "others": asdict(whole)},
        "versions": code(),
    }

    def make(path: Path) -> dict[str, Any]:
        return {
            file: write_set(sets[name], renderer, rules.get(name, whole), path, file) for name, file in files.items()
        }

    made = entry("tokens", key, make)
    found = {name: open_set(made.path, file, made.facts[file]) for name, file in files.items()}
    prepared = {**records.entry.key, **made.key, "reading": records.entry.key["settings"]}
    return TokenizedData(found.pop("train"), found.pop("calibration"), found, made, prepared)


def default_span(task: Task) -> Span:
    """The span that DeepSeek-R1's reward models read (arXiv:2501.12948v2): helpfulness the summary, safety all."""
    return "summary" if task == "preference" else "full"
