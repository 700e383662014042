"""Checks of prompts and rewards before the model is loaded: every run that could learn nothing is refused here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import numpy as np

from align.phases import Phase
from align.rewards.build import VERIFIERS, MixedTerm, TermConfig, verifier_of
from align.rewards.instructions.registry import COLUMN
from align.rewards.instructions.term import instructions_problem
from align.rewards.mixer import is_verdict
from align.rewards.rules.language import LANGUAGES
from align.rewards.terms import Sample
from align.rewards.verifiers.references import reference_problem
from align.rollouts.prompts import PromptSet
from align.schedule import parse_schedule
from reward_models.data.records import DOMAINS, Prompt

SHOWN = 5  # prompts that a message names


def longest_of(phases: Sequence[Phase], prompts: PromptSet, held_out: PromptSet | None) -> tuple[int, int]:
    """The tokens of the longest prompt, and of the longest response."""
    longest = max(int(part.length_I.max()) for part in (prompts, held_out) if part is not None)
    return longest, max(phase.max_new_tokens for phase in phases)


def check_mixes(phases: Sequence[Phase], pools: Mapping[str, np.ndarray]) -> None:
    """``ValueError`` if a phase wants prompts of a domain that has none."""
    for phase in phases:
        if missing := sorted(domain for domain, share in phase.mix.items() if share and domain not in pools):
            raise ValueError(f"phases: {phase.name} mixes {', '.join(missing)} prompts, and prompts.train has none")


def check_entries(
    rewards: Sequence[TermConfig], phases: Sequence[Phase], terms: Sequence[MixedTerm], prompts: PromptSet
) -> None:
    """``ValueError`` if an entry of the rewards applies to no training prompt: it would never be part of a reward.

    An entry without weight in all phases is a measurement, and may be meant for the evaluation's prompts alone. Terms
    of an import path may look at the response, so that only the domains they are for are checked.
    """
    pools = prompts.pools()
    there = pools.keys() - {"all"}
    firsts = [int(places[0]) for places in pools.values()]  # of each domain: they answer for most terms
    for config in rewards:
        own = parse_schedule(config.weight, config.term)
        if not any(phase.weights.get(config.term, own) for phase in phases):
            continue
        ours = [each for each in terms if each.entry == config.term]
        if ":" in config.term:
            applies = config.domains is None or bool(there & set(config.domains))
        else:
            samples = (_unanswered(prompts.records[place]) for place in chain(firsts, range(len(prompts))))
            applies = bool(ours) and any(each.applies(sample) for sample in samples for each in ours)
        if not applies:
            raise ValueError(
                f"rewards: {config.term} applies to none of the {len(prompts):,} training prompts (their domains: "
                f"{', '.join(sorted(there))}). {_hint(config)}, or take the entry out"
            )


def check_verdicts(by: str, terms: Sequence[MixedTerm]) -> None:
    """``ValueError`` if a curriculum goes by pass rates and no term gives verdicts: no prompt would ever be passed."""
    if by == "pass_rate" and not any(is_verdict(each.name) for each in terms):
        raise ValueError(
            f"curriculum.by=pass_rate goes by verifiers, and none of {', '.join(each.name for each in terms)} is one: "
            "a term of your own is a verifier if its name begins with accuracy, and its score is from 0 to 1"
        )


def checked_for(rewards: Sequence[TermConfig]) -> tuple[set[str], set[str]]:
    """The verifiers of the rewards, and the domains whose language they look at.

    The result of :func:`unusable_prompts` depends on nothing else in the rewards.
    """
    verified = {name for config in rewards for name in _verifiers_of(config)}
    return verified, {domain for c in rewards if c.term == "language" for domain in (c.domains or DOMAINS)}


def unusable_prompts(rewards: Sequence[TermConfig], records: Sequence[Prompt]) -> dict[int, str]:
    """Place → reason, of prompts that an entry of the rewards is for and that it could never score.

    These are reasoning prompts whose reference answer or tests the verifier cannot use, if the rewards verify answers,
    and prompts in a language that the language term does not know.
    """
    found: dict[int, str] = {}
    verified, speaking = checked_for(rewards)
    for place, record in enumerate(records):
        verifier = str(record.columns.get("verifier", "math"))
        problem = None
        if record.domain == "reasoning" and verifier in verified:
            problem = reference_problem(verifier, record.answer, record.columns)
        elif "instructions" in verified and record.columns.get(COLUMN) is not None:
            problem = instructions_problem(record.columns)
        known = record.language is None or record.language in LANGUAGES
        if problem is None and record.domain in speaking and not known:
            problem = f"the language term does not know its language {record.language!r}"
        if problem is not None:
            found[place] = problem
    return found


class PromptCheck:
    """Finds the prompts that could never be scored, a batch after the other.

    Args:
        max_bad: how many there may be. ``what``: the key of the configuration that names the prompts.

    Attributes:
        count: how many were found.
    """

    REASON = "answers, tests or languages that cannot be used"

    def __init__(self, rewards: Sequence[TermConfig], max_bad: int, what: str) -> None:
        self._rewards, self._max_bad, self._what = rewards, max_bad, what
        self._named: list[str] = []
        self._seen = self.count = 0

    def __call__(self, records: Sequence[Prompt]) -> dict[int, str]:
        """:func:`unusable_prompts` of a batch."""
        found = unusable_prompts(self._rewards, records)
        self._seen += len(records)
        self.count += len(found)
        for place, reason in list(found.items())[: SHOWN - len(self._named)]:
            self._named.append(f"{records[place].id} of {records[place].source}: {reason}")
        return found

    def close(self) -> None:
        """``ValueError`` if there are more than there may be."""
        if self.count > self._max_bad:
            more = f"; and {self.count - SHOWN:,} more" if self.count > SHOWN else ""
            raise ValueError(
                f"{self._what}: {self.count:,} of {self._seen:,} prompts could never be scored, and prompts.max_bad "
                f"allows {self._max_bad}: {'; '.join(self._named)}{more}. Mend them, name the verifier in a column "
                f"'verifier' ({', '.join(VERIFIERS)}), or raise prompts.max_bad to leave them out"
            )


def check_prompts(rewards: Sequence[TermConfig], prompts: PromptSet, max_bad: int, what: str) -> PromptSet:
    """The prompts without those that could never be scored, which are counted in ``dropped``.

    ``max_bad``, ``what`` and the error are those of :class:`PromptCheck`.
    """
    check = PromptCheck(rewards, max_bad, what)
    found = check(prompts.records)
    check.close()
    return prompts.without(found, PromptCheck.REASON) if found else prompts


def _verifiers_of(config: TermConfig) -> Iterable[str]:
    if config.domains is not None and "reasoning" not in config.domains:
        return ()
    if config.term == "accuracy":
        return VERIFIERS
    name = verifier_of(config.term)
    return (name,) if name else ()


def _unanswered(record: Prompt) -> Sample:
    return Sample(
        prompt=record.prompt,
        response="",
        domain=record.domain,
        answer=record.answer,
        language=record.language,
        tokens=1,
        finished=True,
        columns=record.columns,
    )


def _hint(config: TermConfig) -> str:
    if config.term == "language":
        return "Give prompts a column 'language', or set prompts.language"
    if config.term.startswith("accuracy"):
        return "Give reasoning prompts a column 'answer' (or tests), or set prompts.domain=reasoning"
    if config.term in ("helpful", "safety"):
        domain = "helpfulness" if config.term == "helpful" else "safety"
        return f"Give it {domain} prompts (a column 'domain', or prompts.domain and prompts.domains)"
    return "Mend its domains or the prompts"
