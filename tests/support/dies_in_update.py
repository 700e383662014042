"""A client of a vLLM server that dies in the middle of a weight update; run by :mod:`training_runs`."""

from __future__ import annotations

import os
import signal

import torch
from omegaconf import OmegaConf
from transformers import AutoModelForCausalLM

from align.rollouts.vllm import VllmRollout
from align.rollouts.weights import whole_weights
from reward_models.runtime.distributed import World


def main(command: list[str]) -> int:
    words = OmegaConf.from_dotlist(command)
    model = AutoModelForCausalLM.from_pretrained(words.model)
    engine = VllmRollout(
        model, World(0, 1, 0, torch.device("cpu")), urls=[words.url], group_port=words.port, start_seconds=60
    )
    (server,) = engine._fleet.servers
    server.begin_update()
    names = [name for name, _ in whole_weights(model)]
    half = next(place for place, name in enumerate(names) if name.endswith("k_proj.weight"))
    for name, weight in list(whole_weights(model))[:half]:  # of a layer whose parts vLLM has in one: q without k and v
        server.send(name, torch.zeros_like(weight))
    os.kill(os.getpid(), signal.SIGKILL)
    return 0
