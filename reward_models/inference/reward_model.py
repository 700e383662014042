"""A trained reward model: load it, score conversations.

    from reward_models import RewardModel

    model = RewardModel.load("runs/helpful_cpu")
    model.score([[{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4."}]])

A score depends on the conversation alone. Batches are cut by tokens, and samples of one prompt share its computation;
neither changes a score (beyond the last bits of floating point).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import AutoTokenizer

from reward_models.attribute_weights import check_weights
from reward_models.attributes import AttributeHead
from reward_models.backbone.location import model_folder, reading_from_hub
from reward_models.calibration import Calibration
from reward_models.data.batching import plan_padded, plan_trees
from reward_models.data.chat import ChatRenderer, Span
from reward_models.data.conversations import to_message
from reward_models.data.encode import cut
from reward_models.data.manifest import KEEL_KEY, MANIFEST, read_manifest
from reward_models.data.records import (
    ATTRIBUTES,
    Comparison,
    Conversation,
    Message,
    RecordError,
    SafetyLabel,
    Task,
    saved_task,
)
from reward_models.data.tree_batches import pack
from reward_models.data.trees import PromptTree
from reward_models.dataset import default_span
from reward_models.inference.prefixes import PrefixCache
from reward_models.model import SequenceScorer, load_scorer, position_limit

Dtype = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Dtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Compute = Callable[[list[PromptTree]], torch.Tensor]  # a row for each branch of the trees
Turns = Sequence[Mapping[str, Any] | Message]
MAX_TOKENS, MAX_TOKENS_CPU = 16384, 4096  # of a forward pass; a CPU's cache does not hold more activations


@dataclass(frozen=True, slots=True)
class Score:
    """Attributes:
    raw: the model's scalar output.
    calibrated: :meth:`Calibration.apply` of it; ``None`` for a model without calibration.
    """

    raw: float
    calibrated: float | None


class RewardModel:
    """A loaded reward model. Safe to use from several threads; calls are serialised.

    Attributes:
        task: ``preference`` or ``safety``. ``span``: the part of a response that it reads.
        calibration: see :class:`Calibration`.
        manifest: the record of its training; empty for models that Keel did not train.
        limit: longest sequence in tokens that the architecture can read, ``None`` for no limit. Longer conversations
            are cut as in training: oldest turns first.
        truncated: number of conversations cut so far.
        prefixes: those kept from one call to the next; see :meth:`keep_prefixes`.
    """

    def __init__(
        self,
        scorer: SequenceScorer,
        renderer: ChatRenderer,
        task: Task,
        calibration: Calibration,
        *,
        manifest: Mapping[str, Any] | None = None,
        directory: Path | None = None,
        max_tokens: int | None = None,
    ) -> None:
        if max_tokens is not None and max_tokens < 1:
            raise ValueError(f"max_tokens={max_tokens} must be at least 1")
        self.scorer, self.renderer, self.task, self.calibration = scorer.eval(), renderer, task, calibration
        self.manifest, self.directory, self._max_tokens = dict(manifest or {}), directory, max_tokens
        self.limit = position_limit(scorer.classifier)
        self.truncated = 0
        self.prefixes: PrefixCache | None = None
        self._encoding = threading.Lock()  # fast tokenizers keep state between calls
        self._computing = threading.Lock()  # one forward pass at a time: memory is bounded by max_tokens

    @property
    def span(self) -> Span:
        return self.renderer.span

    @property
    def device(self) -> torch.device:
        return next(self.scorer.parameters()).device

    @property
    def max_tokens(self) -> int:
        """Most tokens of one forward pass."""
        return self._max_tokens or (MAX_TOKENS_CPU if self.device.type == "cpu" else MAX_TOKENS)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str | torch.device | None = None,
        dtype: Dtype | torch.dtype | None = None,
        max_tokens: int | None = None,
        task: Task | None = None,
        span: Span | None = None,
        weights: Mapping[str, float] | None = None,
        trust_remote_code: bool = False,
    ) -> RewardModel:
        """Load a saved model, whole or as a LoRA adapter.

        Args:
            path: the directory of a trained model, or any one-label sequence classifier on the hub.
            device: default: the GPU if there is one.
            dtype: of weights and computation; default: as saved (fp32 if trained on a CPU). In bf16 a score has about
                three digits, and the last of them may depend on the other members of its batch.
            max_tokens: most tokens of one forward pass; default: 16,384, on a CPU 4,096. Memory grows with it, scores
                do not depend on it.
            weights: of a model with attribute heads: attribute → its weight in the score, in place of the saved ones.
                The calibration belongs to those, and is then left out.
            task, span: for models that Keel did not train; for its own they are saved with the model.

        Raises:
            ValueError: no model there, more than one label, a task or span that contradicts the saved one, or a
                tokenizer or chat template that is not the one the model was trained with.
            OSError: no such model on the hub, or no hub.
        """
        folder = model_folder(path)
        name = str(folder) if folder.is_dir() else str(path)
        with reading_from_hub(name):
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
        scorer = load_scorer(name, DTYPES[dtype] if isinstance(dtype, str) else dtype, trust_remote_code)
        facts: dict[str, Any] = getattr(scorer.classifier.config, KEEL_KEY, None) or {}
        trained = saved_task(facts)
        for key, given, saved in (("task", task, trained), ("span", span, facts.get("span"))):
            if given is not None and saved not in (None, given):
                raise ValueError(f"{path} was trained with {key} {saved!r}, not {given!r}")
        measured = Calibration.from_facts(facts.get("calibration", {}))
        if weights is not None:
            scorer.head, measured = _weighed(scorer, weights, path), Calibration()
        task = trained or task or "preference"
        renderer = ChatRenderer(tokenizer, facts.get("span", span or default_span(task)))
        if facts and renderer.fingerprint != facts["template_fingerprint"]:
            raise ValueError(
                f"{path}: tokenizer or chat template is not the one the model was trained with (fingerprint "
                f"{renderer.fingerprint}, trained with {facts['template_fingerprint']}); copy the model anew"
            )
        return cls(
            scorer.to(device or ("cuda" if torch.cuda.is_available() else "cpu")),
            renderer,
            task,
            measured,
            manifest=read_manifest(folder) if (folder / MANIFEST).is_file() else None,
            directory=folder if folder.is_dir() else None,
            max_tokens=max_tokens,
        )

    def keep_prefixes(self, max_bytes: int) -> bool:
        """Keep the keys and values of prompts in memory, so that later calls need not compute them again.

        They belong to these weights: a model that is trained further must not keep any. False if the model does not
        compute prompt trees, as encoders do not, and keeps nothing. ``max_bytes`` bounds that memory, which a GPU gives
        at once, a CPU as it is needed; ``ValueError`` if so few bytes do not hold one block of a prefix.
        """
        if self.scorer.layout == "padded":
            return False
        weight = next(self.scorer.parameters())
        self.prefixes = PrefixCache(self.scorer.classifier.config, max_bytes, dtype=weight.dtype, device=weight.device)
        return True

    def score(self, conversations: Sequence[Turns]) -> list[Score]:
        """One score per conversation, in order.

        Args:
            conversations: each a list of ``{"role", "content"}`` that ends with the assistant's message to be scored.

        Raises:
            RecordError: a conversation is not one; the message gives its number.
            ValueError: a score is not finite; see :meth:`score_responses`.
        """
        pairs = []
        for number, turns in enumerate(conversations):
            try:
                pairs.append(split_turns(turns))
            except RecordError as error:
                raise RecordError(f"conversation {number}: {error}") from None
        return self.score_responses(pairs)

    def score_attributes(self, conversations: Sequence[Turns]) -> list[dict[str, float | None]]:
        """The predicted rating of each attribute, on the scale of the training ratings, one mapping per conversation.

        It is ``None`` for an attribute that no training data had ratings of.

        Raises:
            RecordError: a conversation is not one.
            ValueError: the model has no attribute heads.
        """
        head = self.scorer.head
        if head is None:
            raise ValueError(f"{self.directory or 'the model'} has one output, and no attribute heads")
        sequences = self.encode([split_turns(turns) for turns in conversations])
        with self._computing:
            rows = self._run(sequences, [[place] for place in range(len(sequences))], self._outputs)
        ratings = [head.ratings(np.array(row)).tolist() for row in rows]
        known = [[None if math.isnan(value) else value for value in row] for row in ratings]
        return [dict(zip(ATTRIBUTES, row, strict=True)) for row in known]

    def score_records(self, records: Sequence[Comparison | SafetyLabel]) -> list[tuple[Score, ...]]:
        """The scores of each record's responses: (a, b) of a comparison, one of a safety label."""
        responses = [(r.response,) if isinstance(r, SafetyLabel) else (r.response_a, r.response_b) for r in records]
        scores = iter(
            self.score_responses(
                [(r.prompt, reply) for r, own in zip(records, responses, strict=True) for reply in own]
            )
        )
        return [tuple(islice(scores, len(own))) for own in responses]

    def score_responses(
        self, pairs: Sequence[tuple[Conversation, Conversation]], *, finite: bool = True
    ) -> list[Score]:
        """One score per (prompt, response), in order. Responses to one prompt are computed together.

        Args:
            finite: a score that is not finite (broken weights, or values beyond the range of the dtype) is an error;
                if false it is returned, and the caller must look for it.

        Raises:
            ValueError: the chat template does not take a conversation, or a score is not finite.
        """
        groups: dict[Conversation, list[int]] = {}
        for place, (prompt, _) in enumerate(pairs):
            groups.setdefault(prompt, []).append(place)
        scores = self.score_sequences(self.encode(pairs), list(groups.values()))
        if finite and (broken := [place for place, score in enumerate(scores) if not math.isfinite(score.raw)]):
            raise ValueError(
                f"{self.directory or 'the model'}: {len(broken)} of {len(scores)} scores are not finite, the first of "
                f"conversation {broken[0]}; check the weights, or take another dtype, e.g. fp32"
            )
        return scores

    def encode(self, pairs: Sequence[tuple[Conversation, Conversation]]) -> list[np.ndarray]:
        """The token ids that the model reads of each (prompt, response), cut to ``limit``.

        Raises:
            ValueError: the chat template does not take a conversation.
        """
        texts = [self.renderer.text(prompt, response) for prompt, response in pairs]
        if not texts:
            return []
        with self._encoding:
            return self._cut(pairs, self.renderer.tokenize(texts))

    def encode_texts(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of texts that the chat template has rendered already. They are not cut."""
        with self._encoding:
            return self.renderer.tokenize(texts) if texts else []

    def score_sequences(self, sequences: Sequence[np.ndarray], groups: Sequence[Sequence[int]]) -> list[Score]:
        """One score per sequence of token ids, in order. Scores are not checked to be finite.

        Args:
            groups: a partition of the sequences' indices; those of a group share a prefix and are computed together.
        """
        with self._computing:
            raw = self._run(sequences, groups, self._scores)
        return [Score(value, self.calibration.apply(value, self.task)) for value in raw]

    def _cut(self, pairs: Sequence[tuple[Conversation, Conversation]], sequences: list[np.ndarray]) -> list[np.ndarray]:
        if self.limit is not None:
            for place, sequence in enumerate(sequences):
                if len(sequence) > self.limit:
                    prompt, response = pairs[place]
                    sequences[place] = cut(prompt, [response], self.renderer, self.limit, [sequence])[0]
                    self.truncated += 1
        return sequences

    @torch.inference_mode()
    def _run(self, sequences: Sequence[np.ndarray], groups: Sequence[Sequence[int]], compute: Compute) -> list[Any]:
        """The values that ``compute`` gives for each sequence; those of a group are likely to share a prefix."""
        if self.scorer.layout == "padded":
            groups = [[place] for group in groups for place in group]  # nothing is shared
        trees, owners = [], []
        for group in groups:
            places = iter(group)
            for tree in PromptTree.from_sequences([sequences[i] for i in group]).split(self.max_tokens):
                trees.append(tree)
                owners.append(list(islice(places, len(tree.branches))))
        found: list[Any] = [None] * len(sequences)
        for batch in filter(None, self._batches(trees)):
            values = compute([trees[i] for i in batch]).double().cpu().tolist()
            for place, value in zip((place for i in batch for place in owners[i]), values, strict=True):
                found[place] = value
        return found

    def _outputs(self, trees: list[PromptTree]) -> torch.Tensor:
        """All outputs of the head."""
        return self.scorer.outputs(self.scorer.collate(trees).to(self.device))

    def _scores(self, trees: list[PromptTree]) -> torch.Tensor:
        """One forward pass; beyond the prefixes that are kept."""
        if self.prefixes is None:
            return self.scorer(self.scorer.collate(trees).to(self.device))
        with self.prefixes.reading(trees) as (rest, past, keep):
            return self.scorer(pack(rest, past).to(self.device), keep)

    def _batches(self, trees: Sequence[PromptTree]) -> list[list[int]]:
        if not trees:
            return []
        if self.scorer.layout == "tree":
            return plan_trees([tree.tokens for tree in trees], self.max_tokens)[0]
        return plan_padded([tree.longest for tree in trees], 1, self.max_tokens)[0]


def _weighed(scorer: SequenceScorer, weights: Mapping[str, float], path: str | Path) -> AttributeHead:
    """The model's head with other weights. ``ValueError`` if it has none, or the weights are wrong."""
    if scorer.head is None:
        raise ValueError(f"{path} has one output, and no attribute heads to weigh")
    check_weights(weights)
    return scorer.head.weighed(weights)


def split_turns(turns: Turns) -> tuple[Conversation, Conversation]:
    """A conversation as (prompt, response); the response is its last message.

    Raises:
        RecordError: it is not a conversation.
    """
    messages = tuple(t if isinstance(t, Message) else to_message(t, "turns") for t in turns)
    if len(messages) < 2 or messages[-1].role != "assistant":
        raise RecordError("it must hold a prompt and end with the assistant's message")
    return messages[:-1], messages[-1:]
