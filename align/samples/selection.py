"""From samples to data for fine-tuning: DeepSeek-R1's rejection sampling, and a random baseline to compare it with."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from align.samples.filters import Contamination, Filter, FilterConfig, filters_of
from align.samples.judging import JudgeConfig
from align.samples.mixing import SUBJECTS, drawn, lot, rows_wanted, subject_of
from align.samples.rows import SampleRow
from align.sft.demonstrations import DemonstrationsConfig, load_conversations
from reward_models.data.records import Conversation, Message
from reward_models.data.splits import normalised

NOT_JUDGED, DUPLICATE, NOT_BEST, TOO_MANY, MIX = (
    "no verdict",
    "duplicate",
    "not the best by the reward",
    "more than per_prompt",
    "beyond the mix",
)
Prefer = Literal["random", "shortest", "reward"]


@dataclass(frozen=True, kw_only=True)
class OtherConfig:
    """Other data that join the selected samples.

    Attributes:
        data: a source of conversations, as ``keel train sft`` reads them.
        subject: what it counts as. ``columns``: our column names to the source's.
    """

    data: str
    subject: str = "general"
    columns: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SelectConfig:
    """The selection of samples for fine-tuning; ``keel data select key=value …``.

    Attributes:
        samples: files of ``keel sample``. ``against``: evaluation data that must not be learnt from.
        out: directory of the result.
        per_prompt: most right responses of a prompt. ``prefer``: which of them: ``random``, the ``shortest``, or those
            of the highest ``reward``.
        best_per_prompt: responses of a prompt that no verifier judges: those of the highest ``rank_by``.
        rank_by: ``reward``, the mixture of all terms, or the name of one term.
        least: responses that no verifier judges are left out below this value of ``rank_by``.
        judge: a language model that compares responses with the reference answer where no verifier decides.
        filters: what is left out besides.
        others: other data to mix in.
        counts: subject → most rows. ``weights``: subject → proportion, in place of counts; as many rows as they allow.
            Subjects are mathematics, code, stem, logic and general.
        seed: of every random choice.
        examples: samples that the report shows of every reason.
    """

    samples: list[str] = field(default_factory=list)
    against: list[str] = field(default_factory=list)
    out: str = "runs/selected"
    per_prompt: int = 4
    prefer: Prefer = "random"
    best_per_prompt: int = 1
    rank_by: str = "reward"
    least: float | None = None
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    filters: FilterConfig = field(default_factory=FilterConfig)
    others: list[OtherConfig] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    examples: int = 2

    def __post_init__(self) -> None:
        if min(self.per_prompt, self.best_per_prompt) < 0 or self.per_prompt + self.best_per_prompt == 0:
            raise ValueError("per_prompt and best_per_prompt must not be negative, and one must be positive")
        if self.counts and self.weights:
            raise ValueError("counts and weights exclude one another: give the rows of each subject, or proportions")
        named = {*self.counts, *self.weights, *(other.subject for other in self.others)}
        if unknown := sorted(named - set(SUBJECTS)):
            raise ValueError(f"{', '.join(unknown)} is no subject; there are {', '.join(SUBJECTS)}")
        values = (*self.counts.values(), *self.weights.values())
        if any(value < 0 for value in values) or (self.weights and not any(self.weights.values())):
            raise ValueError("counts and weights must not be negative, and one weight must be positive")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A conversation to learn from.

    Attributes:
        key: identifies it in draws. ``group``: place of its prompt among the groups; ``None`` of other data.
        tokens: of the response; ``None`` where nobody counted them.
    """

    key: str
    subject: str
    source: str
    conversation: Conversation
    group: int | None
    row: SampleRow | None
    tokens: int | None


@dataclass(frozen=True, slots=True)
class Selection:
    """The selected rows, and the fate of every sample.

    Attributes:
        kept: rows to learn from. ``random``: as many, of the same prompts, drawn among all samples.
        fates: (sample, reason it was left out for, or ``None``), in the order of the files.
        reasons: every reason in the order in which it is asked.
        others: source → rows read, and left out as contaminated. ``without_language``: samples whose language nobody
            named, so that it was not looked at.
    """

    kept: list[Chosen]
    random: list[Chosen]
    fates: list[tuple[SampleRow, str | None]]
    reasons: list[str]
    others: dict[str, dict[str, int]]
    without_language: int


def select(
    config: SelectConfig,
    groups: Sequence[Sequence[SampleRow]],
    evaluation: Contamination,
    asked: frozenset[int] = frozenset(),
) -> Selection:
    """Select, mix, and draw the random baseline.

    Args:
        groups: the samples of each prompt. ``asked``: places of those that a judge was asked about.

    Raises:
        ValueError: samples that no verifier judges have no score to rank them by; or nothing is left.
    """
    filters = filters_of(config.filters, evaluation)
    fates: dict[tuple[int, int], str | None] = {}
    for place, group in enumerate(groups):
        for number, fate in enumerate(_fates(config, group, filters, place in asked)):
            fates[place, number] = fate
    pools: dict[str, list[Chosen]] = defaultdict(list)
    for place, group in enumerate(groups):
        for number, row in enumerate(group):
            if fates[place, number] is None:
                chosen = _chosen(row, place, number)
                pools[chosen.subject].append(chosen)
    others = _others(config, evaluation, pools)
    wanted = rows_wanted({name: len(rows) for name, rows in pools.items()}, config.counts, config.weights)
    kept = [row for name in SUBJECTS if name in pools for row in drawn(pools[name], wanted[name], config.seed)]
    if not kept:
        left_out = ", ".join(f"{reason or MIX} {n:,}" for reason, n in Counter(fates.values()).most_common())
        raise ValueError(f"no sample is left to learn from; left out: {left_out}")
    inside = {row.key for row in kept}
    for place, group in enumerate(groups):
        for number, row in enumerate(group):
            if fates[place, number] is None and _chosen(row, place, number).key not in inside:
                fates[place, number] = MIX
    rows = [(row, fates[place, number]) for place, group in enumerate(groups) for number, row in enumerate(group)]
    unknown = sum(row.record.language is None for row, _ in rows) if config.filters.min_language else 0
    reasons = [NOT_JUDGED, *filters, DUPLICATE, NOT_BEST, TOO_MANY, MIX]
    return Selection(kept, _random_arm(kept, groups, evaluation, config.seed), rows, reasons, others, unknown)


def _fates(
    config: SelectConfig, group: Sequence[SampleRow], filters: dict[str, Filter], asked: bool
) -> list[str | None]:
    """The reason for which each sample of a prompt is left out, ``None`` for those that are kept."""
    judged = asked or any(row.correct is not None for row in group)
    found: list[str | None] = []
    texts: set[str] = set()
    for row in group:
        reason = NOT_JUDGED if judged and row.correct is None else None
        reason = reason or next((name for name, leaves_out in filters.items() if leaves_out(row)), None)
        text = normalised(row.response)
        found.append(reason or (DUPLICATE if text in texts else None))
        if found[-1] is None:
            texts.add(text)
    left = [number for number, reason in enumerate(found) if reason is None]
    if judged:
        order, most, reason = _order(config, group, left), config.per_prompt, TOO_MANY
    else:
        order, most, reason = _ranked(config, group, left), config.best_per_prompt, NOT_BEST
    for number in set(left) - set(order[:most]):
        found[number] = reason
    return found


def _order(config: SelectConfig, group: Sequence[SampleRow], left: Sequence[int]) -> list[int]:
    """Right responses, the preferred ones first."""

    def draw(number: int) -> bytes:
        return lot(config.seed, f"{group[number].record.id} {group[number].number} {group[number].response}")

    if config.prefer == "shortest":
        return sorted(left, key=lambda number: (group[number].tokens, draw(number)))
    if config.prefer == "reward":
        return sorted(left, key=lambda number: (-_value(config, group[number]), draw(number)))
    return sorted(left, key=draw)


def _ranked(config: SelectConfig, group: Sequence[SampleRow], left: Sequence[int]) -> list[int]:
    """Responses that no verifier judges, the best first, without those below ``least``."""
    if not config.best_per_prompt:
        return []
    values = {number: _value(config, group[number]) for number in left}
    kept = [number for number in left if config.least is None or values[number] >= config.least]
    return sorted(kept, key=lambda number: (-values[number], number))


def _value(config: SelectConfig, row: SampleRow) -> float:
    value = row.reward if config.rank_by == "reward" else row.scores.get(config.rank_by)
    if value is None:
        scored = ", ".join(name for name, score in row.scores.items() if score is not None) or "none"
        raise ValueError(
            f"prompt {row.record.id} ({row.record.domain}): no verifier judges its responses, and sample {row.number} "
            f"has no {config.rank_by} to rank it by (scores: {scored}). Score the samples with a reward model (keel "
            "sample with a term helpful or safety), name its term (rank_by=helpful), or leave such prompts out "
            "(best_per_prompt=0)"
        )
    return value


def _chosen(row: SampleRow, group: int, number: int) -> Chosen:
    record = row.record
    conversation = (*record.prompt, Message("assistant", row.response))
    return Chosen(
        f"{group} {number} {record.id}", subject_of(record), record.source, conversation, group, row, row.tokens
    )


def _others(config: SelectConfig, evaluation: Contamination, pools: dict[str, list[Chosen]]) -> dict[str, Any]:
    """Add the other data to the pools; returns source → rows read and left out."""
    counts = {}
    for number, other in enumerate(config.others):
        read, _ = load_conversations(DemonstrationsConfig(train=[other.data], columns=other.columns))
        clean = [conversation for conversation in read if not evaluation.conversation_touches(conversation)]
        counts[other.data] = {"read": len(read), "contamination": len(read) - len(clean)}
        pools[other.subject] += [
            Chosen(f"other {number} {place}", other.subject, other.data, conversation, None, None, None)
            for place, conversation in enumerate(clean)
        ]
    return counts


def _random_arm(
    kept: Sequence[Chosen], groups: Sequence[Sequence[SampleRow]], evaluation: Contamination, seed: int
) -> list[Chosen]:
    """As many rows as are kept, of the same prompts, drawn among all their samples; other data are the same.

    Only samples that share text with the evaluation are left out: they would be no fair comparison.
    """
    counts = Counter(row.group for row in kept if row.group is not None)
    found = []
    for group, count in sorted(counts.items()):
        rows = [_chosen(row, group, number) for number, row in enumerate(groups[group]) if not evaluation.touches(row)]
        found += drawn(rows, count, seed + 1)
    return [*found, *(row for row in kept if row.group is None)]
