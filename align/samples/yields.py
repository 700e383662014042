"""The yield of a sampling: how many responses are right, cut, and how long, counted as they come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reward_models.reporting.page import Table

ALL = "all"


@dataclass
class Counts:
    """Counts over samples.

    Attributes:
        prompts, responses, tokens: of them. ``finished``: responses that were not cut.
        judged, correct: responses that a verifier could judge, and found right.
        judged_prompts, solved: prompts with a judged response, and with a right one.
        terms: reward term → the sum and the number of its values.
    """

    prompts: int = 0
    responses: int = 0
    tokens: int = 0
    finished: int = 0
    judged: int = 0
    correct: int = 0
    judged_prompts: int = 0
    solved: int = 0
    terms: dict[str, list[float]] = field(default_factory=dict)

    def add(self, group: Sequence[Mapping[str, Any]]) -> None:
        """The samples of one prompt."""
        verdicts = [row["correct"] for row in group if row["correct"] is not None]
        self.prompts += 1
        self.responses += len(group)
        self.tokens += sum(row["tokens"] for row in group)
        self.finished += sum(row["finished"] for row in group)
        self.judged += len(verdicts)
        self.correct += sum(verdict == 1 for verdict in verdicts)
        self.judged_prompts += bool(verdicts)
        self.solved += any(verdict == 1 for verdict in verdicts)
        for row in group:
            for name, value in row["scores"].items():
                if value is not None:
                    total = self.terms.setdefault(name, [0.0, 0])
                    total[0] += value
                    total[1] += 1

    def figures(self) -> dict[str, Any]:
        """Shares and means; ``None`` where there is nothing to divide by."""

        def share(part: float, whole: float) -> float | None:
            return part / whole if whole else None

        return {
            "prompts": self.prompts,
            "responses": self.responses,
            "judged": self.judged,
            "correct": share(self.correct, self.judged),
            "prompts_solved": share(self.solved, self.judged_prompts),
            "tokens": self.tokens,
            "tokens_mean": share(self.tokens, self.responses),
            "truncated": share(self.responses - self.finished, self.responses),
            "scores": {name: share(*total) for name, total in sorted(self.terms.items())},
        }


class Yield:
    """:class:`Counts` of every domain and of all samples.

    Args:
        facts: as :meth:`to_facts` gave them; empty at the beginning.
    """

    def __init__(self, facts: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.by_domain = {domain: Counts(**counts) for domain, counts in (facts or {}).items()}

    def add(self, groups: Iterable[Sequence[Mapping[str, Any]]]) -> None:
        """Samples, those of a prompt together."""
        for group in groups:
            for domain in (ALL, group[0]["domain"]):
                self.by_domain.setdefault(domain, Counts()).add(group)

    @property
    def total(self) -> Counts:
        return self.by_domain.get(ALL, Counts())

    def to_facts(self) -> dict[str, Any]:
        """As JSON."""
        return {domain: vars(counts) for domain, counts in self.by_domain.items()}

    def figures(self) -> dict[str, Any]:
        """:meth:`Counts.figures` of every domain and of ``all``."""
        return {domain: counts.figures() for domain, counts in self.by_domain.items()}


def yield_table(figures: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row per domain of :meth:`Yield.figures`."""

    def shown(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    terms = sorted({name for each in figures.values() for name in each["scores"] if not name.startswith("accuracy")})
    columns = ("domain", "prompts", "responses", "correct", "prompts solved", "tokens a response", "cut", *terms)
    rows = [
        (
            domain,
            f"{each['prompts']:,}",
            f"{each['responses']:,}",
            shown(each["correct"], ".1%"),
            shown(each["prompts_solved"], ".1%"),
            shown(each["tokens_mean"], ",.0f"),
            shown(each["truncated"], ".1%"),
            *(shown(each["scores"].get(name), ".3f") for name in terms),
        )
        for domain, each in figures.items()
    ]
    return Table("Yield", columns, rows)
