"""Sampling with the training model itself, on CPU and GPU: no copy of the weights, no server.

A prompt is read once and its keys and values are given to all its samples. Sequences that end make room for those that
wait, so every forward pass computes living sequences only. Python drives each token, which a server such as vLLM does
not: for long responses on GPUs that is faster (:mod:`align.rollouts.vllm`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from align.rollouts.base import Lockstep, Sampling, check_prompts
from align.rollouts.sampling import Recorder, draw_tokens
from align.training.rollout import Rollout
from reward_models.backbone.tree_attention import Keep
from reward_models.data.tree_batches import pack
from reward_models.data.trees import PromptTree, TokenIds
from reward_models.runtime.distributed import World

EMPTY = np.zeros(0, np.int32)
GROWTH = 64  # tokens by which the cache is enlarged at least


class LocalRollout:
    """Samples from a model that computes prompt trees, see :mod:`reward_models.backbone.tree_attention`.

    Args:
        model: the transformers language model, or peft's wrapper around one; ZeRO may have partitioned it.
        max_rows: sequences decoded at once. Memory grows with it, and with the longest of them.
        max_prompt_tokens: most tokens of prompts read at once.
    """

    def __init__(self, model: Any, world: World, *, max_rows: int = 256, max_prompt_tokens: int = 16384) -> None:
        self._wrapper = model
        self._model = model.get_base_model() if hasattr(model, "peft_config") else model
        self._world, self._max_rows, self._budget = world, max_rows, max_prompt_tokens
        self._lockstep = Lockstep(self._model, world)

    def sync_weights(self, step: int) -> None:
        """Do nothing: the engine samples from the training model."""

    def shutdown(self) -> None:
        """Do nothing: the engine holds nothing outside of this process."""

    @torch.no_grad()
    def generate(self, prompts: Sequence[TokenIds], sampling: Sampling) -> Rollout:
        """See :class:`align.rollouts.base.RolloutEngine`."""
        check_prompts(prompts)
        training = self._wrapper.training
        self._wrapper.eval()
        try:
            recorder = self._sample(prompts, sampling)
            while self._lockstep.anyone(False):  # others are not done yet
                self._forward([PromptTree(EMPTY, (np.zeros(1, np.int32),))], None)
        finally:
            self._wrapper.train(training)
        return recorder.rollout(prompts)

    def _sample(self, ids: Sequence[TokenIds], sampling: Sampling) -> Recorder:
        group = sampling.samples
        recorder = Recorder(len(ids) * group, sampling)
        cache = _Slots(min(self._max_rows, len(ids) * group))
        waiting = deque(range(len(ids) * group))
        prompts: dict[int, _Prefilled] = {}  # read, and still waited for by samples
        while waiting or cache.rows:
            free = cache.size - cache.rows
            # Not for every place that falls free: reading a few prompts costs as much as reading one.
            if waiting and free >= min(len(waiting), max(1, cache.size // 8)):
                coming = [waiting.popleft() for _ in range(min(free, len(waiting)))]
                self._read(sorted({s // group for s in coming} - prompts.keys()), ids, prompts)
                self._admit(coming, group, prompts, cache, recorder, set(waiting))
            if cache.rows:
                hidden = self._step(cache)
                self._advance(hidden, cache, recorder)
        return recorder

    def _read(self, numbers: Sequence[int], ids: Sequence[np.ndarray], prompts: dict[int, _Prefilled]) -> None:
        """Run prompts through the model, and keep their keys, values and next-token logits."""
        part: list[int] = []
        for place, number in enumerate(numbers):
            part.append(number)
            following = numbers[place + 1] if place + 1 < len(numbers) else None
            tokens = sum(len(ids[n]) for n in part)
            if following is None or tokens + len(ids[following]) > self._budget:
                self._lockstep.anyone(True)
                keeper = _Keeper()
                logits = self._forward([PromptTree(EMPTY, (ids[n],)) for n in part], keeper.keep)
                lengths = [len(ids[n]) for n in part]
                layers = [(k.split(lengths, 1), v.split(lengths, 1)) for k, v in keeper.layers]
                for i, n in enumerate(part):
                    prompts[n] = _Prefilled(logits[i], [(k[i], v[i]) for k, v in layers], lengths[i])
                part = []

    def _admit(
        self,
        samples: Sequence[int],
        group: int,
        prompts: dict[int, _Prefilled],
        cache: _Slots,
        recorder: Recorder,
        waiting: set[int],
    ) -> None:
        """Draw the first token of these samples, and give a place to those that go on."""
        logits = torch.stack([prompts[s // group].logits for s in samples])
        alive = recorder.record(samples, *draw_tokens(logits, recorder.uniform(samples), recorder.sampling))
        going = [s for s, lives in zip(samples, alive, strict=True) if lives]
        for number in sorted({s // group for s in samples}):
            cache.add(prompts[number], [s for s in going if s // group == number], recorder)
            if not any(number * group <= s < (number + 1) * group for s in waiting):
                del prompts[number]

    def _step(self, cache: _Slots) -> torch.Tensor:
        """Run the newest token of every sequence through the model; returns next-token logits ``[rows, V]``."""
        self._lockstep.anyone(True)
        cache.prepare()
        output = self._model.base_model(
            input_ids=cache.tokens_N[:, None],
            attention_mask=None,
            position_ids=cache.position_N[:, None],
            use_cache=False,
            cached=cache.attend,
        )
        return self._head(output.last_hidden_state[:, 0])

    def _advance(self, logits: torch.Tensor, cache: _Slots, recorder: Recorder) -> None:
        drawn = draw_tokens(logits, recorder.uniform(cache.samples), recorder.sampling)
        cache.advance(drawn[0], recorder.record(cache.samples, *drawn))

    def _forward(self, trees: list[PromptTree], keep: Keep | None) -> torch.Tensor:
        batch = pack(trees).to(self._world.device)
        output = self._model.base_model(
            input_ids=batch.input_ids_T[None],
            attention_mask=None,
            position_ids=batch.position_ids_T[None],
            use_cache=False,
            tree=batch,
            keep=keep,
        )
        return self._head(output.last_hidden_state[0, batch.last_N])

    def _head(self, hidden: torch.Tensor) -> torch.Tensor:
        return self._model.get_output_embeddings()(hidden).float()


class _Keeper:
    """Keys and values of packed prompts, layer by layer, ``[kv_heads, T, d]``."""

    def __init__(self) -> None:
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def keep(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        assert layer == len(self.layers)
        self.layers.append((key[0], value[0]))


@dataclass(frozen=True, slots=True)
class _Prefilled:
    logits: torch.Tensor
    layers: list[tuple[torch.Tensor, torch.Tensor]]
    length: int


class _Slots:
    """Keys and values of the sequences under way, in one buffer per layer: ``[size, kv_heads, capacity, d]``.

    The first ``rows`` places are taken. A sequence that ends gives its place to the last one.
    """

    def __init__(self, size: int) -> None:
        self.size, self.capacity = size, 0
        self.samples: list[int] = []  # which sample is in which place
        self._buffers: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._length = np.zeros(0, np.int64)  # tokens in the cache, of each place
        self._tokens = np.zeros(0, np.int64)  # the newest token, which is not in it yet

    @property
    def rows(self) -> int:
        return len(self.samples)

    def add(self, prompt: _Prefilled, samples: Sequence[int], recorder: Recorder) -> None:
        """Give places to samples of a prompt whose first token is drawn."""
        if not samples:
            return
        self._reserve(prompt.length + GROWTH, prompt)
        places = slice(self.rows, self.rows + len(samples))
        for (keys, values), (key, value) in zip(self._buffers, prompt.layers, strict=True):
            keys[places, :, : prompt.length] = key
            values[places, :, : prompt.length] = value
        self.samples += samples
        self._length = np.append(self._length, np.full(len(samples), prompt.length))
        self._tokens = np.append(self._tokens, [recorder.newest(s) for s in samples])

    def prepare(self) -> None:
        """Lay out the next forward pass: positions, room, and which keys every sequence sees."""
        longest = int(self._length.max()) + 1
        self._reserve(longest)
        device = self._buffers[0][0].device
        self.tokens_N = torch.from_numpy(self._tokens).to(device)
        self.position_N = torch.from_numpy(self._length).to(device)
        self._longest = longest
        self._places = torch.arange(self.rows, device=device)
        self._even = bool((self._length == self._length[0]).all())
        self._masks: dict[int | None, torch.Tensor | None] = {}

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        keys, values = self._buffers[layer]
        rows, heads, _, size = query.shape
        if self._even:
            keys[:rows, :, self._longest - 1] = key[:, :, 0]
            values[:rows, :, self._longest - 1] = value[:, :, 0]
        else:
            keys[self._places, :, self.position_N] = key[:, :, 0]
            values[self._places, :, self.position_N] = value[:, :, 0]
        # The query heads that share a key head stand where positions do: nothing is repeated.
        output = F.scaled_dot_product_attention(
            query.reshape(rows, keys.shape[1], -1, size),
            keys[:rows, :, : self._longest],
            values[:rows, :, : self._longest],
            attn_mask=self._mask(window, query.dtype),
            scale=scaling,
        )
        return output.reshape(rows, 1, heads, size)

    def _mask(self, window: int | None, dtype: torch.dtype) -> torch.Tensor | None:
        if window is not None and self._longest <= window:
            window = None
        if window not in self._masks:
            if self._even and window is None:
                self._masks[window] = None
            else:
                keys = torch.arange(self._longest, device=self.position_N.device)[None]
                seen = keys <= self.position_N[:, None]
                if window is not None:
                    seen &= keys > self.position_N[:, None] - window
                mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)
                self._masks[window] = mask[:, None, None]
        return self._masks[window]

    def advance(self, tokens: np.ndarray, alive: np.ndarray) -> None:
        """The tokens drawn last; sequences that are not alive leave."""
        self._length += 1
        self._tokens = tokens.astype(np.int64)
        for place in np.flatnonzero(~alive)[::-1].tolist():
            last = self.rows - 1
            if place != last:
                length = int(self._length[last])
                for keys, values in self._buffers:
                    keys[place, :, :length] = keys[last, :, :length]
                    values[place, :, :length] = values[last, :, :length]
                self._length[place], self._tokens[place] = self._length[last], self._tokens[last]
                self.samples[place] = self.samples[last]
            self.samples.pop()
            self._length, self._tokens = self._length[:last], self._tokens[:last]

    def _reserve(self, capacity: int, prompt: _Prefilled | None = None) -> None:
        """Make room for ``capacity`` tokens of every sequence."""
        if capacity <= self.capacity:
            return
        enlarged = max(capacity, self.capacity + max(GROWTH, self.capacity // 2))
        if prompt is not None and not self._buffers:
            self._buffers = [
                (
                    k.new_zeros(self.size, k.shape[0], enlarged, k.shape[2]),
                    v.new_zeros(self.size, v.shape[0], enlarged, v.shape[2]),
                )
                for k, v in prompt.layers
            ]
        else:
            self._buffers = [
                tuple(F.pad(buffer, (0, 0, 0, enlarged - self.capacity)) for buffer in pair)  # type: ignore[misc]
                for pair in self._buffers
            ]
        self.capacity = enlarged
