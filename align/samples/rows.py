"""Rows of a file of samples: written by ``keel sample``, read by the selection and the evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from align.rewards.mixer import Rewards, accuracy_of, as_list
from align.rewards.terms import Sample
from align.rollouts.prompts import PromptSet
from align.rollouts.sampler import Sampler
from align.training.rollout import Rollout
from reward_models.data.conversations import quoted
from reward_models.data.files import BadRow
from reward_models.data.formats import to_record, to_row
from reward_models.data.records import Prompt, RecordError
from reward_models.data.sources import BadRowsError, SourceError, read_rows_of
from reward_models.data.splits import prompt_key

OURS = ("sample", "response", "tokens", "finished", "correct", "scores", "reward")


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A row of a file of samples.

    Attributes:
        number: of the response among those to its prompt. ``response``: with the thoughts that the template opened.
        tokens: sampled ones. ``finished``: the policy ended the response itself.
        correct: 1 or 0 as the verifier says, ``None`` where none could judge.
        scores: term → value. ``reward``: the mixture; ``None`` where it could not be computed.
    """

    record: Prompt
    number: int
    response: str
    tokens: int
    finished: bool
    correct: float | None
    scores: Mapping[str, float | None]
    reward: float | None

    @property
    def sample(self) -> Sample:
        """As reward terms see it."""
        return Sample(
            prompt=self.record.prompt,
            response=self.response,
            domain=self.record.domain,
            answer=self.record.answer,
            language=self.record.language,
            tokens=self.tokens,
            finished=self.finished,
            columns=self.record.columns,
        )


def to_sample(row: Mapping[str, Any], line: int = 0, source: str = "") -> SampleRow:
    """The sample in a row that ``keel sample`` wrote.

    Raises:
        RecordError: something is missing or wrong.
    """
    if missing := [name for name in OURS if name not in row]:
        raise RecordError(f"key {missing[0]!r} is missing: this is no row of a file that keel sample writes")
    plain = {name: value for name, value in row.items() if name not in OURS}
    record = to_record(plain, "prompt", id=f"{source}:{line}", source=source)
    assert isinstance(record, Prompt)
    if not isinstance(row["response"], str) or not isinstance(row["scores"], Mapping):
        raise RecordError("keys 'response' and 'scores' must be a text and a mapping of terms to values")
    correct, numbers = row["correct"], [row["reward"], *row["scores"].values()]
    if correct not in (None, 0, 1) or not all(each is None or isinstance(each, int | float) for each in numbers):
        raise RecordError(f"key 'correct' is {quoted(correct)}, or a score is no number; correct is 1, 0 or null")
    whole = isinstance(row["tokens"], int) and isinstance(row["sample"], int) and isinstance(row["finished"], bool)
    if not whole:
        raise RecordError("keys 'sample' and 'tokens' must be whole numbers, and 'finished' true or false")
    verdict = None if correct is None else float(correct)
    return SampleRow(
        record, row["sample"], row["response"], row["tokens"], row["finished"], verdict, row["scores"], row["reward"]
    )


def read_samples(specs: Sequence[str]) -> list[list[SampleRow]]:
    """The samples of these files, those of a prompt together, in the order in which prompts appear.

    Raises:
        SourceError: there is no such file, or one is empty. BadRowsError: a row is no sample.
    """
    groups: dict[str, list[SampleRow]] = {}
    bad: list[BadRow] = []
    for spec in specs:
        empty = True
        for item in read_rows_of(spec, to_sample):
            empty = False
            if isinstance(item, BadRow):
                bad.append(item)
            else:
                groups.setdefault(f"{item.record.domain} {prompt_key(item.record.prompt)}", []).append(item)
        if empty:
            raise SourceError(f"no rows in {spec}")
    if bad:
        raise BadRowsError(bad, 0)
    return list(groups.values())


def rows_of(prompts: PromptSet, rollout: Rollout, sampler: Sampler, rewards: Rewards | None) -> list[dict[str, Any]]:
    """A row per sample: the prompt's own row, the response, and the scores. Columns of the same name are replaced."""
    verdicts = as_list(accuracy_of(rewards)) if rewards is not None else [None] * len(rollout.length_N)
    raw = {name: as_list(values) for name, values in rewards.raw.items()} if rewards is not None else {}
    mixed = as_list(rewards.reward_N) if rewards is not None else [None] * len(rollout.length_N)
    rows = []
    for place, found in enumerate(sampler.samples(prompts, rollout)):
        record = prompts.records[int(rollout.prompt_P[place // rollout.samples])]
        rows.append(
            {
                **to_row(record),
                "sample": place % rollout.samples,
                "response": found.whole,
                "tokens": found.tokens,
                "finished": found.finished,
                "correct": verdicts[place],
                "scores": {name: values[place] for name, values in raw.items()},
                "reward": mixed[place],
            }
        )
    return rows
