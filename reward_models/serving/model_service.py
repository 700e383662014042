"""A loaded reward model as a service: a result or an error for each conversation or rendered text."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from reward_models.data.batching import common_prefix, group_by_prefix
from reward_models.data.chat import THINK_END
from reward_models.data.records import Conversation, RecordError
from reward_models.inference.reward_model import RewardModel, Score, split_turns
from reward_models.serving.batcher import Batcher, unrelated
from reward_models.serving.limits import Admission, Limits, Refused
from reward_models.serving.metrics import Metrics
from reward_models.serving.results import Answer, Context, Result, Text, Turns
from reward_models.serving.service import computed, too_long

LOGGER = logging.getLogger(__name__)
# A large request is encoded in parts; between them the encoder serves other requests.
ENCODED_AT_ONCE = 64  # conversations
CHARACTERS_AT_ONCE = 2**18
LINGER = 0.05  # of the time of a batch


class ModelService:
    """One reward model: a thread that encodes, a thread that computes, a queue between them."""

    def __init__(
        self, name: str, model: RewardModel, limits: Limits, metrics: Metrics, *, linger: float = LINGER
    ) -> None:
        self.manifest, self.task = fingerprint(model), model.task
        self.admission = Admission(limits)
        self._name, self._model, self._limits, self._metrics = name, model, limits, metrics
        self._vocabulary = len(model.scorer.classifier.get_input_embeddings().weight)  # type: ignore[arg-type]
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix=f"encoder-{name}")
        tree = model.scorer.layout == "tree"
        self._reused = self._computed = 0  # tokens up to the last batch
        if limits.prefix_bytes and not model.keep_prefixes(limits.prefix_bytes):
            LOGGER.info("%s does not compute prompt trees and keeps no prefixes: prefix_bytes has no effect", name)
        self._batcher = Batcher(
            self._compute,
            model.max_tokens,
            name=name,
            key=_tokens if tree else _length,
            common=common_prefix if tree else unrelated,
            linger=linger,
            observe=self._observe,
        )

    async def score(self, conversations: Sequence[Turns], context: Context) -> Answer:
        if context != Context():
            raise Refused(422, f"{self._name} is a model: domains, step and columns are for mixers")
        sizes = [sum(len(turn["content"]) for turn in turns) for turns in conversations]
        return await self._score(conversations, sizes, self._encode)

    async def score_texts(self, texts: Sequence[Text]) -> Answer:
        return await self._score(texts, list(map(len, texts)), self._encode_texts)

    def close(self) -> None:
        self._batcher.close()
        self._encoder.shutdown()
        del self._model  # service and batcher are a reference cycle, which would keep the model in memory

    async def _score(
        self, inputs: Sequence[Any], sizes: Sequence[int], encode: Callable[[Sequence[Any]], list[np.ndarray | str]]
    ) -> Answer:
        loop = asyncio.get_running_loop()
        with self.admission.admit(len(inputs), sum(sizes)):
            encoded: list[np.ndarray | str] = []
            sequences: dict[int, np.ndarray] = {}
            for part in parts(sizes):
                found = await loop.run_in_executor(self._encoder, encode, inputs[part])
                sequences |= {place: e for place, e in enumerate(found, len(encoded)) if isinstance(e, np.ndarray)}
                encoded += found
                if (total := sum(map(len, sequences.values()))) > self._limits.request_tokens:
                    raise Refused(413, f"{total} tokens are more than the {self._limits.request_tokens} of one request")
            job = self._batcher.submit(list(sequences.values()), list(map(len, sequences.values())))
            scores = dict(zip(sequences, await computed(job, self._name), strict=True))
        results = [result_of(scores[i]) if i in scores else Result(error=str(each)) for i, each in enumerate(encoded)]
        return Answer(results, [len(sequences[i]) if i in sequences else 0 for i in range(len(inputs))])

    def _encode(self, conversations: Sequence[Turns]) -> list[np.ndarray | str]:
        """Token ids of each conversation, or the reason why there are none."""
        out: list[Any] = [too_long([turn["content"] for turn in turns], self._limits) for turns in conversations]
        pairs = {}
        for place, turns in enumerate(conversations):
            if out[place] is not None:
                continue
            try:
                pairs[place] = split_turns(turns)
            except RecordError as error:
                out[place] = str(error)
        for place, sequence in zip(pairs, self._encode_pairs(list(pairs.values())), strict=True):
            out[place] = sequence if isinstance(sequence, str) else self._checked(sequence)
        self._metrics.truncated.labels(self._name).set(self._model.truncated)
        return out

    def _encode_pairs(self, pairs: Sequence[tuple[Conversation, Conversation]]) -> list[np.ndarray | str]:
        """Encode all together; one by one if the chat template refuses one of them."""
        try:
            return list(self._model.encode(pairs))
        except ValueError as error:
            return [str(error)] if len(pairs) == 1 else [each for pair in pairs for each in self._encode_pairs([pair])]

    def _encode_texts(self, texts: Sequence[Text]) -> list[np.ndarray | str]:
        """The same for rendered texts, to which no special token is added."""
        out: list[Any] = [self._text_problem(text) if isinstance(text, str) else None for text in texts]
        words = [text for text, problem in zip(texts, out, strict=True) if isinstance(text, str) and problem is None]
        encoded = iter(self._model.encode_texts(words))
        for place, text in enumerate(texts):
            if out[place] is None:
                ids = next(encoded) if isinstance(text, str) else np.asarray(text, dtype=np.int64)
                out[place] = self._checked(ids, cut=False)
        return out

    def _text_problem(self, text: str) -> str | None:
        if self._model.span == "summary" and THINK_END in text:
            return (
                f"{self._name} reads summaries, and the text holds {THINK_END}: leave the reasoning out, or send "
                "the conversation to /v1/score, which does"
            )
        return too_long([text], self._limits)

    def _checked(self, sequence: np.ndarray, *, cut: bool = True) -> np.ndarray | str:
        limit = self._limits.conversation_tokens
        if not cut and self._model.limit is not None:
            limit = min(limit, self._model.limit)
        if not len(sequence):
            return "it has no tokens"
        if len(sequence) > limit:
            return f"{len(sequence)} tokens are more than the {limit} of one conversation"
        if sequence.min() < 0 or sequence.max() >= self._vocabulary:
            return f"a token id is not between 0 and {self._vocabulary - 1}"
        return sequence.astype(np.int32)

    def _compute(self, sequences: list[np.ndarray]) -> list[Score]:
        tree = self._model.scorer.layout == "tree"
        groups = group_by_prefix(sequences) if tree else [[place] for place in range(len(sequences))]
        return self._model.score_sequences(sequences, groups)

    def _observe(self, requests: int, items: int, tokens: int, seconds: float) -> None:
        self.admission.computed(items, seconds)
        if (prefixes := self._model.prefixes) is not None:
            tokens = prefixes.computed - self._computed
            self._metrics.prefixes(self._name, prefixes.reused - self._reused, prefixes.used_bytes)
            self._reused, self._computed = prefixes.reused, prefixes.computed
        self._metrics.batch(self._name, requests, tokens, seconds)


def parts(sizes: Sequence[int]) -> Iterator[slice]:
    """Consecutive parts of a request: at most ``ENCODED_AT_ONCE`` items, of ``CHARACTERS_AT_ONCE`` or a single one."""
    start = characters = 0
    for place, size in enumerate(sizes):
        if place > start and (place - start == ENCODED_AT_ONCE or characters + size > CHARACTERS_AT_ONCE):
            yield slice(start, place)
            start, characters = place, 0
        characters += size
    if start < len(sizes):
        yield slice(start, len(sizes))


def _tokens(sequence: np.ndarray) -> bytes:
    return sequence.astype(">i4").tobytes()


def _length(sequence: np.ndarray) -> bytes:
    """Sorts items by length: neighbours of one length need little padding."""
    return len(sequence).to_bytes(4, "big")


def result_of(score: Score) -> Result:
    if not math.isfinite(score.raw):
        return Result(error=f"the model's score is not finite: {score.raw}")
    return Result(raw=score.raw, calibrated=score.calibrated)


def fingerprint(model: RewardModel) -> str:
    """A hash of the model's weights, tokenizer and settings; of a hub model, its name and commit."""
    config = model.scorer.classifier.config
    if model.directory is None:
        return f"{config.name_or_path}@{getattr(config, '_commit_hash', None) or 'unknown'}"
    digest = hashlib.sha256()
    for file in sorted(model.directory.iterdir()):
        if file.suffix in (".json", ".jinja", ".safetensors", ".model") and file.is_file():
            with file.open("rb") as content:
                digest.update(file.name.encode() + hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]
