"""vLLM inside a training process on a CPU; run by the Python of vLLM's environment.

The first argument is the folder of the packages that vLLM's environment lacks, which is searched after its own. The
second is the policy. The others are the settings of a run, which follows the engine's own checks.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(sys.argv[1])

import reward_models.threads  # noqa: F401 - before torch is loaded
from reward_models.runtime.distributed import start


def check_engine(base: Path) -> None:
    """The responses are those of the weights after every update."""
    from rollout_laws import assert_sampled_by, move, moved, sample, tokens

    from align.rollouts.colocated import ColocatedRollout

    model = moved(base)
    engine = ColocatedRollout(model, start(), max_tokens=256, max_rows=16)
    before: list[list[int]] = []
    for step in range(3):
        move(model, step)
        engine.sync_weights(step)
        rollout = sample(engine)
        assert_sampled_by(model, rollout)
        assert tokens(rollout) != before
        before = tokens(rollout)
        assert tokens(sample(engine)) == before  # equal seeds
    engine.shutdown()


def main() -> int:
    from align.train import main as train

    if len(sys.argv) == 3:
        check_engine(Path(sys.argv[2]))
        return 0
    return train([f"model.path={sys.argv[2]}", *sys.argv[3:]])


if __name__ == "__main__":
    sys.exit(main())
