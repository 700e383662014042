"""A training run that dies by SIGKILL in the middle of a weight update; run by :mod:`training_runs`.

The environment names the update: that of the weights after so many steps. Some of a layer's have been sent then.
"""

from __future__ import annotations

import os
import signal
from typing import Any
from unittest.mock import patch

from align import train
from align.rollouts.server import Server
from align.rollouts.vllm import VllmRollout

STEP = "TEST_DIES_AT"
SENT = 2  # the embedding and q of a layer, without k and v, which vLLM has in one


def main(command: list[str]) -> int:
    at = int(os.environ[STEP])
    sync, send = VllmRollout.sync_weights, Server.send
    left = [-1]

    def sync_weights(self: VllmRollout, step: int) -> None:
        left[0] = SENT if step == at else -1
        sync(self, step)

    def sent(self: Server, *weight: Any) -> None:
        send(self, *weight)
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    with patch.object(VllmRollout, "sync_weights", sync_weights), patch.object(Server, "send", sent):
        return train.main(command)
