"""Prompts to sample from: read, rendered, tokenized, and drawn in an order that only the seed decides."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from align.rollouts.config import PromptsConfig
from reward_models.data.chat import prompt_text, tokenize_texts
from reward_models.data.languages import language_code
from reward_models.data.record_files import BATCH
from reward_models.data.records import DOMAINS, Prompt, RecordError
from reward_models.data.sources import Reading
from reward_models.data.splits import EvaluationPrompts
from reward_models.data.trees import TokenIds


@dataclass(frozen=True, slots=True, eq=False)
class PromptSet:
    """Prompts with the token ids they are sampled from.

    Attributes:
        records, ids: in memory, or read from files when they are asked for.
        prefilled: whether the rendered prompt ends with ``<think>``, so that a response starts inside the thoughts.
        domain_I: int8, place of each prompt's domain in :data:`~reward_models.data.records.DOMAINS`.
        length_I: int64, tokens of each prompt.
        verifiers: those that reasoning prompts name; ``math`` of those that name none.
        fingerprint: a hash that changes with any prompt, its order or its answer.
        dropped: how many were left out, by reason.
    """

    records: Sequence[Prompt]
    ids: Sequence[TokenIds]
    prefilled: Sequence[bool]
    domain_I: np.ndarray
    length_I: np.ndarray
    verifiers: frozenset[str]
    fingerprint: str
    dropped: dict[str, int]

    @classmethod
    def of(
        cls,
        records: Sequence[Prompt],
        ids: Sequence[TokenIds],
        prefilled: Sequence[bool],
        dropped: dict[str, int],
    ) -> PromptSet:
        """The set of prompts that are in memory."""
        state = hashlib.sha256()
        mark(state, records, ids)
        return cls(
            records,
            ids,
            prefilled,
            domains_as_numbers(records),
            np.array([len(tokens) for tokens in ids], np.int64),
            frozenset(verifiers_of(records)),
            state.hexdigest()[:16],
            dropped,
        )

    def __len__(self) -> int:
        return len(self.records)

    def without(self, places: Collection[int], reason: str) -> PromptSet:
        """The set without some prompts, which are counted in ``dropped`` under ``reason``.

        Raises:
            ValueError: none is left.
        """
        kept = [place for place in range(len(self)) if place not in places]
        dropped = self.dropped | {reason: len(places)}
        if not kept:
            raise ValueError(f"no prompt is left: {dropped}")
        return PromptSet.of(
            tuple(self.records[place] for place in kept),
            tuple(self.ids[place] for place in kept),
            tuple(self.prefilled[place] for place in kept),
            dropped,
        )

    def pools(self) -> dict[str, np.ndarray]:
        """Domain → places of its prompts, ascending; ``all`` holds every place."""
        by_domain = {domain: np.flatnonzero(self.domain_I == n) for n, domain in enumerate(DOMAINS)}
        return {
            "all": np.arange(len(self)),
            **{domain: places for domain, places in sorted(by_domain.items()) if len(places)},
        }

    def domains_of(self, places: np.ndarray) -> list[str]:
        """The domain of each of some prompts."""
        return [DOMAINS[number] for number in self.domain_I[places].tolist()]


def mark(state: Any, records: Sequence[Prompt], ids: Sequence[TokenIds]) -> None:
    """Add prompts to the hash that is the ``fingerprint`` of their set."""
    for tokens, record in zip(ids, records, strict=True):
        state.update(np.int64(len(tokens)).tobytes() + tokens.tobytes() + str(record.answer).encode())


def domains_as_numbers(records: Sequence[Prompt]) -> np.ndarray:
    """``domain_I`` of a set of these prompts."""
    return np.array([DOMAINS.index(record.domain) for record in records], np.int8)


def verifiers_of(records: Iterable[Prompt]) -> set[str]:
    """``verifiers`` of a set of these prompts."""
    return {str(each.columns.get("verifier", "math")) for each in records if each.domain == "reasoning"}


class PromptBatch(NamedTuple):
    """Some prompts with their token ids; ``prefilled`` as in :class:`PromptSet`."""

    records: list[Prompt]
    ids: list[TokenIds]
    prefilled: list[bool]


class PromptReading:
    """One pass over prompts, a batch at a time: read, rendered, and without those that are too long or held out.

    Attributes:
        dropped: how many were left out, by reason; complete once the pass has ended.

    Raises:
        SourceError, BadRowsError: see :class:`reward_models.data.sources.Reading`.
        ValueError: the chat template refuses a prompt; at the end: none was kept.
    """

    def __init__(
        self,
        config: PromptsConfig,
        tokenizer: PreTrainedTokenizerBase,
        specs: Sequence[str],
        limit: int | None,
        held_out: Iterable[Prompt] = (),
    ) -> None:
        self._config, self._tokenizer, self._specs = config, tokenizer, list(specs)
        self._reading = Reading(
            self._specs,
            "prompt",
            max_bad=config.max_bad,
            limit=limit,
            columns=config.columns or None,
            domain=config.domain,
            domains=config.domains,
        )
        self._held_out = EvaluationPrompts(held_out if config.decontaminate else ())
        self._too_long = f"longer than {config.max_length} tokens"
        reasons = ["bad rows", *(["prompts of evaluation"] if self._held_out.keys else []), self._too_long]
        self.dropped = dict.fromkeys(reasons, 0)

    def __iter__(self) -> Iterator[PromptBatch]:
        found, records = 0, iter(self._reading)
        while read := list(islice(records, BATCH)):
            batch = self._batch(read)
            found += len(batch.records)
            yield batch
        self.dropped["bad rows"] = len(self._reading.bad)
        if not found:
            raise ValueError(f"no prompt is left of {', '.join(self._specs)}: {self.dropped}")
        self.dropped = {reason: number for reason, number in self.dropped.items() if number}

    def _batch(self, read: Sequence[Prompt]) -> PromptBatch:
        config, tokenizer = self._config, self._tokenizer
        records = [_with_language(record, config.language) for record in read]
        if self._held_out.keys:
            records = [record for record in records if self._held_out.reason(record.prompt) is None]
            self.dropped["prompts of evaluation"] += len(read) - len(records)
        texts = [_rendered(tokenizer, record) for record in records]
        ids = tokenize_texts(tokenizer, texts) if texts else []  # tokenizers refuse none
        kept = [i for i, tokens in enumerate(ids) if 0 < len(tokens) <= config.max_length]
        self.dropped[self._too_long] += len(ids) - len(kept)
        prefilled = [texts[i].rstrip().endswith("<think>") for i in kept]
        return PromptBatch([records[i] for i in kept], [ids[i] for i in kept], prefilled)


def load_prompts(
    config: PromptsConfig,
    tokenizer: PreTrainedTokenizerBase,
    specs: Sequence[str],
    limit: int | None,
    held_out: Iterable[Prompt] = (),
) -> PromptSet:
    """The prompts of ``specs`` in memory, at most ``limit`` of each; ``held_out`` ones are left out.

    Raises:
        SourceError, BadRowsError, ValueError: see :class:`PromptReading`.
    """
    reading = PromptReading(config, tokenizer, specs, limit, held_out)
    batches = list(reading)
    records, ids, prefilled = (tuple(chain.from_iterable(parts)) for parts in zip(*batches, strict=True))
    return PromptSet.of(records, ids, prefilled, reading.dropped)


def _with_language(record: Prompt, default: str | None) -> Prompt:
    """The prompt with its language, or the default one, as an ISO 639-1 code.

    A name that no language has stays as it is: it is an error only where a term needs the language.
    """
    name = record.language or default
    if name is None:
        return record
    with suppress(RecordError):
        name = language_code(name)
    return replace(record, language=name)


def _rendered(tokenizer: PreTrainedTokenizerBase, record: Prompt) -> str:
    try:
        return prompt_text(tokenizer, record.prompt)
    except ValueError as error:
        raise ValueError(f"prompt {record.id} of {record.source}: {error}") from error


def draw(items: int, start: int, count: int, seed: int) -> np.ndarray:
    """Positions ``start`` … ``start + count − 1`` of an endless stream of seeded permutations of ``items`` prompts."""
    epochs = range(start // items, (start + count - 1) // items + 1)
    order = np.concatenate([np.random.default_rng([seed, epoch]).permutation(items) for epoch in epochs])
    return order[start - epochs[0] * items :][:count]
