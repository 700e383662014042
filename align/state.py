"""The state of a run between two steps, and how it is saved in checkpoints and loaded from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from align.best import Best
from align.best_folder import prune
from align.guards import GuardState
from align.policy.reference import Reference
from align.rewards.mixer import Running
from align.rollouts.curriculum import CurriculumState
from align.training.rollout import Rollout, load_rollout, save_rollout
from reward_models.runtime.checkpoint import load_checkpoint, save_checkpoint
from reward_models.runtime.distributed import World
from reward_models.runtime.run import check_sources

ROLLOUT = "rollout.safetensors"  # in a checkpoint: the rollout that the next steps learn from
AHEAD = "ahead.safetensors"  # the responses that the next rollout is made of, of a run that samples ahead
CURRICULUM = "curriculum.safetensors"


@dataclass(slots=True)
class RunState:
    """The part of a run that changes from step to step, but for the weights. A checkpoint holds it with the weights.

    Attributes:
        step: updates made.
        rollout: what the next steps learn from; ``None`` where the next step begins a rollout.
        drawn: prompts taken so far from the endless stream of each domain (``all``: of all domains together), those
            that the curriculum passed over included.
        scale: factors on the weights of entries of the rewards, which guards may lower.
        attempt: how often the run was rolled back; each time it samples anew.
        silent_rollouts: rollouts in a row without any signal, up to now.
        running: statistics of terms that are normalised by them; the mixer holds the same dictionary.
        guards: the state of each guard, in the configuration's order.
        curriculum: the pass rates of the prompts; ``None`` without a curriculum.
        best: the best held-out value so far; ``None`` without ``keep_best``.
        sampled_at: updates made when the weights were sent that have sampled ``rollout``.
        ahead: the responses of the rollout after this one, if a run samples ahead; they are not scored yet.
        ahead_at: ``sampled_at`` of them.
    """

    step: int = 0
    rollout: Rollout | None = None
    drawn: dict[str, int] = field(default_factory=dict)
    scale: dict[str, float] = field(default_factory=dict)
    attempt: int = 0
    silent_rollouts: int = 0
    running: dict[str, Running] = field(default_factory=dict)
    guards: list[GuardState] = field(default_factory=list)
    curriculum: CurriculumState | None = None
    best: Best | None = None
    sampled_at: int = 0
    ahead: Rollout | None = None
    ahead_at: int = 0

    @property
    def prompts_drawn(self) -> int:
        """Prompts drawn so far, without those that the curriculum passed over."""
        return sum(self.drawn.values()) - (0 if self.curriculum is None else self.curriculum.passed_over)


def save_state(
    checkpoints: Path,
    state: RunState,
    engine: Any,
    reference: Reference | None,
    fingerprint: str,
    world: World,
    keep: int,
) -> None:
    """Write a checkpoint with weights, optimizer, reference model and state. Every rank must call it.

    Args:
        fingerprint: of the prompts; see :func:`load_state`.
        keep: how many checkpoints to keep.
    """
    values: dict[str, Any] = {
        "prompts": fingerprint,
        "drawn": state.drawn,
        "scale": state.scale,
        "attempt": state.attempt,
        "silent_rollouts": state.silent_rollouts,
        "running": {name: asdict(each) for name, each in state.running.items()},
        "guards": [asdict(each) for each in state.guards],
        "best": asdict(state.best) if state.best is not None else None,
        "sampled_at": state.sampled_at,
        "ahead_at": state.ahead_at,
    }

    def more(directory: Path) -> Sequence[Path]:
        files = reference.save(directory) if reference is not None else []
        for rollout, name in ((state.rollout, ROLLOUT), (state.ahead, AHEAD)):
            if world.is_main and rollout is not None:
                save_rollout(rollout, directory / name)
                files.append(directory / name)
        if world.is_main and state.curriculum is not None:
            state.curriculum.save(directory / CURRICULUM)
            files.append(directory / CURRICULUM)
        return files

    save_checkpoint(checkpoints, engine, state.step, values, world, keep, more=more)
    if world.is_main:
        prune(checkpoints)


def load_state(checkpoint: Path, engine: Any, reference: Reference | None, fingerprint: str, world: World) -> RunState:
    """Inverse of :func:`save_state`: put the weights into the engine and the reference, and return the state.

    Raises:
        CheckpointError: the checkpoint cannot be read, or was trained on other prompts.
    """
    values = load_checkpoint(checkpoint, engine, world)
    check_sources(checkpoint, values["prompts"], fingerprint, "prompts")
    if reference is not None:
        reference.load(checkpoint)
    rollout, ahead, curriculum = checkpoint / ROLLOUT, checkpoint / AHEAD, checkpoint / CURRICULUM
    return RunState(
        step=int(values["step"]),
        rollout=load_rollout(rollout) if rollout.is_file() else None,
        drawn=values["drawn"],
        scale=values["scale"],
        attempt=values["attempt"],
        silent_rollouts=values["silent_rollouts"],
        running={name: Running(**each) for name, each in values["running"].items()},
        guards=[GuardState(**each) for each in values["guards"]],
        curriculum=CurriculumState.load(curriculum) if curriculum.is_file() else None,
        best=Best(**values["best"]) if values.get("best") is not None else None,
        sampled_at=values.get("sampled_at", 0),  # checkpoints of earlier versions have none
        ahead=load_rollout(ahead) if ahead.is_file() else None,
        ahead_at=values.get("ahead_at", 0),
    )
