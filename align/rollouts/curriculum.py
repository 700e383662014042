"""A curriculum over a fixed set of prompts: pools by pass rate, and levels that open as the policy gets better.

A prompt that is always or never solved teaches nothing within its group (its advantages are 0), so that time is better
spent on others. Its state is a function of what was drawn and verified; checkpoints hold it, and every rank has the
same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from align.rollouts.config import CurriculumConfig
from align.rollouts.prompts import PromptSet, draw
from reward_models.runtime.checkpoint import CheckpointError

POOLS = ("new", "never", "hard", "medium", "easy", "always")
NEW, NEVER, HARD, MEDIUM, EASY, ALWAYS = range(len(POOLS))
THIRDS = (1 / 3, 2 / 3)  # pass rates between hard, medium and easy
ARRAYS = ("rate_I", "alike_I", "until_I")  # of a state


@dataclass(slots=True)
class CurriculumState:
    """The part of a curriculum that changes; arrays have one value per prompt of the set.

    Attributes:
        rate_I: float64, pass rate at the last visit; nan before the first.
        alike_I: int64, visits in a row that had the same pass rate of 0 or 1.
        until_I: int64, the rollout until which a prompt is left out.
        rollout: rollouts made so far.
        opened: source → its highest open level.
        recent: source → pass rates of the last visits to that level since it opened.
        skipped, readmitted: prompts passed over in this rollout, and those drawn although they rest.
        passed_over: prompts passed over in all rollouts.
        verdicts: place of a prompt, as text → sum and number of the verdicts on it in this rollout.
    """

    rate_I: np.ndarray
    alike_I: np.ndarray
    until_I: np.ndarray
    rollout: int = 0
    opened: dict[str, int] = field(default_factory=dict)
    recent: dict[str, list[float]] = field(default_factory=dict)
    skipped: int = 0
    readmitted: int = 0
    passed_over: int = 0
    verdicts: dict[str, list[float]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        rest = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ARRAYS}
        save_file(arrays, path, {"state": json.dumps(rest)})

    @classmethod
    def load(cls, path: Path) -> CurriculumState:
        """Inverse of :meth:`save`."""
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in ARRAYS}
            return cls(**arrays, **json.loads(file.metadata()["state"]))


class Curriculum:
    """Draws prompts, and learns from the pass rates of their groups.

    Args:
        sources: of each prompt; levels are those of one source.
        levels: of each prompt; ``None`` without one.
        seed: of the order in which prompts are drawn, the same as without a curriculum.

    Raises:
        ValueError: a level is not a whole number from 0.
    """

    def __init__(self, config: CurriculumConfig, sources: Sequence[str], levels: Sequence[Any], seed: int) -> None:
        self.config, self.seed = config, seed
        for source, level in zip(sources, levels, strict=True):
            if level is not None and (isinstance(level, bool) or not isinstance(level, int) or level < 0):
                raise ValueError(f"curriculum: a prompt of {source} has the level {level!r}, no whole number from 0")
        self._sources = list(sources)
        self._level_I = np.array([-1 if level is None else level for level in levels], np.int64)
        self._levels: dict[str, list[int]] = {}
        for source, level in sorted({(s, int(v)) for s, v in zip(sources, self._level_I, strict=True) if v >= 0}):
            self._levels.setdefault(source, []).append(level)

    @classmethod
    def of(cls, config: CurriculumConfig, prompts: PromptSet, seed: int) -> Curriculum | None:
        """The curriculum over a prompt set, whose column ``level`` holds levels; ``None`` if there is to be none."""
        if config.by == "none":
            return None
        pairs = [(record.source, record.columns.get("level")) for record in prompts.records]
        return cls(config, [source for source, _ in pairs], [level for _, level in pairs], seed)

    def new_state(self) -> CurriculumState:
        count = len(self._sources)
        return CurriculumState(
            rate_I=np.full(count, np.nan),
            alike_I=np.zeros(count, np.int64),
            until_I=np.zeros(count, np.int64),
            opened={source: levels[0] for source, levels in self._levels.items()},
            recent={source: [] for source in self._levels},
        )

    def knows(self, opened: Mapping[str, int]) -> bool:
        """True if these are the sources that have levels, each with one of its own."""
        return opened.keys() == self._levels.keys() and all(
            level in self._levels[source] for source, level in opened.items()
        )

    def take(self, state: CurriculumState, pool: np.ndarray, drawn: int, count: int) -> tuple[np.ndarray, int]:
        """The next ``count`` prompts of a pool that are not left out, in the order of its endless stream.

        If these are fewer than ``count``, prompts that rest are drawn too, rather than a few over and over. Prompts of
        closed levels are drawn only if the pool has no others.

        Args:
            pool: int64, places of its prompts. ``drawn``: prompts taken from the stream, or passed over, so far.

        Returns:
            Places, int64 ``[count]``, and how far the stream has gone.
        """
        open_I, resting_I = self._is_open(state), state.until_I > state.rollout
        wanted_I = open_I & ~resting_I
        if wanted_I[pool].sum() < count:
            wanted_I = open_I if open_I[pool].any() else np.ones_like(open_I)
        chosen: list[int] = []
        stream = self._stream(pool, drawn)
        while len(chosen) < count:
            place = next(stream)
            drawn += 1
            if wanted_I[place]:
                chosen.append(place)
                state.readmitted += int(resting_I[place])
            else:
                state.skipped += 1
                state.passed_over += 1
        return np.array(chosen, np.int64), drawn

    def learn(self, state: CurriculumState, prompt_P: np.ndarray, right_PG: np.ndarray) -> None:
        """Take in the verdicts of groups of this rollout; :meth:`end_rollout` learns from them.

        A prompt may have several groups in a rollout, as where a pool has few prompts or groups are sampled again: they
        are one visit, for they come from one policy.

        Args:
            prompt_P: places of the prompts. ``right_PG``: 1, 0, a share, or nan where no verifier could judge.
        """
        for place, right_G in zip(prompt_P.tolist(), right_PG, strict=True):
            known = right_G[~np.isnan(right_G)]
            if len(known):
                total, number = state.verdicts.get(str(place), [0.0, 0.0])
                state.verdicts[str(place)] = [total + float(known.sum()), number + len(known)]

    def _visit(self, state: CurriculumState, place: int, rate: float) -> None:
        last, extreme = float(state.rate_I[place]), rate in (0.0, 1.0)
        state.alike_I[place] = (state.alike_I[place] if rate == last else 0) + 1 if extreme else 0
        state.rate_I[place] = rate
        if state.alike_I[place] >= self.config.visits:
            state.until_I[place] = state.rollout + 1 + self.config.rest
        self._learn_level(state, place, rate)

    def end_rollout(self, state: CurriculumState) -> dict[str, float]:
        """Learn the rollout's pass rates, and open levels where they are due; returns its metrics, ``curriculum/…``."""
        for name, (total, verdicts) in state.verdicts.items():
            self._visit(state, int(name), total / verdicts)
        state.verdicts = {}
        for source, levels in self._levels.items():
            recent, number = state.recent[source], levels.index(state.opened[source])
            full = len(recent) >= self.config.raise_after
            if full and np.mean(recent) >= self.config.raise_at and number + 1 < len(levels):
                state.opened[source], state.recent[source] = levels[number + 1], []
        state.rollout += 1
        metrics = self.metrics(state)
        state.skipped = state.readmitted = 0
        return metrics

    def metrics(self, state: CurriculumState) -> dict[str, float]:
        """Prompts in each pool and in closed levels, of those passed over, and the mean pass rate."""
        pools = np.bincount(self.pool_of(state), minlength=len(POOLS))
        found = {f"curriculum/{name}": float(number) for name, number in zip(POOLS, pools, strict=True)}
        found["curriculum/resting"] = float((state.until_I > state.rollout).sum())
        found["curriculum/closed"] = float((~self._is_open(state)).sum())
        found |= {"curriculum/skipped": float(state.skipped), "curriculum/readmitted": float(state.readmitted)}
        if not np.isnan(state.rate_I).all():
            found["curriculum/pass_rate"] = float(np.nanmean(state.rate_I))
        return found | {f"curriculum/level/{source}": float(level) for source, level in state.opened.items()}

    def pool_of(self, state: CurriculumState) -> np.ndarray:
        """The pool of each prompt, a place in :data:`POOLS`."""
        rate_I = state.rate_I
        seen = ~np.isnan(rate_I)
        pool_I = np.where(seen, HARD + np.digitize(np.nan_to_num(rate_I), THIRDS), NEW)
        stuck = seen & (state.alike_I >= self.config.visits)
        return np.where(stuck, np.where(rate_I == 0.0, NEVER, ALWAYS), pool_I)

    def _stream(self, pool: np.ndarray, start: int) -> Iterator[int]:
        """Places of the pool's endless stream of permutations, from a position on."""
        while True:
            until = (start // len(pool) + 1) * len(pool)  # one permutation at a time
            yield from pool[draw(len(pool), start, until - start, self.seed)].tolist()
            start = until

    def _is_open(self, state: CurriculumState) -> np.ndarray:
        opened = np.array([state.opened.get(source, -1) for source in self._sources], np.int64)
        return self._level_I <= opened

    def _learn_level(self, state: CurriculumState, place: int, rate: float) -> None:
        source = self._sources[place]
        if self._level_I[place] == state.opened.get(source, -2):
            state.recent[source] = [*state.recent[source], rate][-self.config.raise_after :]


def check_curriculum(curriculum: Curriculum | None, state: CurriculumState | None, checkpoint: Path) -> None:
    """Check the state that a checkpoint holds, where there is a curriculum.

    Raises:
        CheckpointError: there is none, or it is one of other sources or levels.
    """
    if curriculum is None:
        return
    if state is None:
        problem = "it was written without a curriculum, and knows no pass rates"
    elif not curriculum.knows(state.opened):
        problem = "its curriculum has other sources or levels than the prompts"
    else:
        return
    raise CheckpointError(f"{checkpoint}: {problem}. Begin anew: another output_dir, or overwrite=true")
