"""The teacher of a distillation, as the configuration names it: loaded on every rank, or asked at a server."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from align.config import AlignConfig
from align.policy.teacher import Teacher, load_teacher
from align.rollouts.served_teacher import ServedTeacher
from reward_models.runtime.distributed import World
from reward_models.runtime.engine import torch_dtype


def build_teacher(
    config: AlignConfig, tokenizer: PreTrainedTokenizerBase, world: World, longest: int, stack: ExitStack
) -> Teacher | ServedTeacher | None:
    """The teacher; ``None`` in a run that learns from rewards.

    Args:
        longest: tokens of the longest prompt with a whole response.
        stack: what must be closed at the end is registered with it.
    """
    if config.teacher is None:
        return None
    if config.teacher.url is None:
        own = config.teacher.dtype
        engine = config.engine if own == "auto" else replace(config.engine, dtype=own)
        return load_teacher(config.teacher, tokenizer, world, torch_dtype(engine))
    served = ServedTeacher(
        config.teacher.url,
        tokenizer,
        longest,
        start_seconds=config.rollout.vllm_start_seconds,
        request_seconds=config.rollout.vllm_request_seconds,
    )
    stack.callback(served.close)
    return served
