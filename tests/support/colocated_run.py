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
    from rollout_laws import assert_follows_updates, moved

    from align.rollouts.colocated import ColocatedRollout

    model = moved(base)
    engine = ColocatedRollout(model, start(), max_tokens=256, max_rows=16)
    assert_follows_updates(engine, model)
    engine.shutdown()


def main() -> int:
    from align.train import main as train

    if len(sys.argv) == 3:
        check_engine(Path(sys.argv[2]))
        return 0
    return train([f"model.path={sys.argv[2]}", *sys.argv[3:]])


if __name__ == "__main__":
    sys.exit(main())
