"""``align.train`` with a client that needs no vLLM; run by :mod:`training_runs`."""

from __future__ import annotations

from stand_in_vllm import client_without_nccl

from align import train


def main(command: list[str]) -> int:
    with client_without_nccl({}):
        return train.main(command)
