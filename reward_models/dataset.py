"""From the configured sources to tokenized training, calibration and evaluation sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from reward_models.data.chat import ChatRenderer, Span
from reward_models.data.encode import Overlong, TokenizedSet, tokenize_records
from reward_models.data.prepare import clean
from reward_models.data.records import TASKS, Comparison, SafetyLabel, Task
from reward_models.data.sources import Loaded, expand, load
from reward_models.data.splits import split_by_prompt

RewardRecord = Comparison | SafetyLabel


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
        if self.max_length < 8:
            raise ValueError(f"data.max_length={self.max_length} leaves no room for a conversation")


@dataclass(frozen=True, slots=True)
class Records:
    """Records by their use; ``counts``: the number read, and the numbers left out by reason."""

    train: list[RewardRecord]
    calibration: list[RewardRecord]
    eval: dict[str, list[RewardRecord]]
    counts: dict[str, int]

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
    """The same sets as token ids."""

    train: TokenizedSet
    calibration: TokenizedSet
    eval: dict[str, TokenizedSet]


def load_records(config: DataConfig, task: Task, *, rated: bool = False) -> Records:
    """Read all sources, remove duplicates and evaluation prompts, and split by prompt.

    Args:
        rated: read rated responses in place of the task's records.

    Raises:
        SourceError, BadRowsError: see :func:`reward_models.data.sources.load`.
        ValueError: nothing is left to train on.
    """
    record_type: Any = "rated" if rated else TASKS[task].record_type
    columns = config.columns or None
    loaded = load(config.train, record_type, max_bad=config.max_bad, limit=config.limit, columns=columns)
    files = [file for spec in config.eval for file in expand(spec)]
    evaluation: dict[str, list[RewardRecord]] = {
        file: list(load([file], record_type, max_bad=config.max_bad, columns=columns).records) for file in files
    }
    held: list[RewardRecord] = [r for rows in evaluation.values() for r in rows] if config.decontaminate else []
    given = cast("Loaded[RewardRecord]", loaded)  # its records are of one of the two types
    cleaned = clean(given, evaluation=held, conflicts=config.conflicts)
    counts = {
        "read": len(loaded.records),
        "bad rows": len(cleaned.bad),
        "duplicates": cleaned.duplicates,
        "contradictions": cleaned.contradictions,
    }
    if held:
        counts["prompts of evaluation"] = sum(cleaned.contaminated.values())
    held_out = 0.0 if evaluation else config.eval_fraction
    shares = {"calibration": config.calibration_fraction, "eval": held_out}
    parts = split_by_prompt(cleaned.records, {**shares, "train": 1 - sum(shares.values())})
    if parts["eval"]:
        evaluation = {"held out": parts["eval"]}
    counts |= {"calibration": len(parts["calibration"]), "train": len(parts["train"])}
    if not parts["train"]:
        raise ValueError(f"data.train has nothing to train on: {counts}")
    return Records(parts["train"], parts["calibration"], evaluation, counts)


def tokenize(records: Records, renderer: ChatRenderer, config: DataConfig, limit: int | None = None) -> TokenizedData:
    """Training texts are cut to ``max_length``; calibration and evaluation read everything.

    Args:
        limit: the longest sequence the model's architecture can read at all; ``None`` for no limit.
    """
    longest = config.max_length if limit is None else min(config.max_length, limit)
    return TokenizedData(
        tokenize_records(records.train, renderer, longest, config.ties, config.overlong, same=False),
        tokenize_records(records.calibration, renderer, limit, overlong="cut"),
        {name: tokenize_records(rows, renderer, limit, overlong="cut") for name, rows in records.eval.items()},
    )


def default_span(task: Task) -> Span:
    """The span that DeepSeek-R1's reward models read (arXiv:2501.12948v2): helpfulness the summary, safety all."""
    return "summary" if task == "preference" else "full"
