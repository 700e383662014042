"""Checks of a vLLM server before a run uses it: do its settings fit the run, do its workers answer."""

from __future__ import annotations

from typing import Any

import httpx2

from align.rollouts.vllm_client import VllmClient


def check_server(info: dict[str, Any], model: Any) -> int:
    """Compare the server's settings with the run's; returns the most tokens of a prompt with its response.

    Args:
        info: the server's resolved configuration, as vLLM 0.32 gives it at ``/server_info?config_format=json``.
        model: the model in training.

    Raises:
        ValueError: the server's log-probabilities would not be those of the policy; the message names the option.
    """
    settings = info["model_config"]
    mode = settings["logprobs_mode"]
    if mode != "processed_logprobs":
        raise ValueError(
            f"the server was started with --logprobs-mode {mode}: its log-probabilities are not those at the sampling "
            "temperature; start it with --logprobs-mode processed_logprobs"
        )
    ours = str(next(model.parameters()).dtype).removeprefix("torch.")
    theirs = str(settings["dtype"]).removeprefix("torch.")
    if theirs != ours:
        raise ValueError(
            f"the server computes in {theirs} and the run in {ours}, so that their probabilities differ; start it with "
            f"--dtype {ours}, or set engine.dtype"
        )
    return int(settings["max_model_len"])


def check_workers(client: VllmClient, seconds: float) -> None:
    """Find out whether the server's workers answer; ``/health`` says nothing about that.

    Workers that wait for the weights of a run that is gone do not, and joining their group would wait forever.

    Raises:
        TimeoutError: they do not answer within ``seconds``.
    """
    try:
        client.reset_prefix_cache(seconds)
    except httpx2.TimeoutException as error:
        raise TimeoutError(
            f"the server is up, and its workers have not answered for {seconds:g} s: they may wait for the weights of "
            "a run that was stopped in the middle of a weight update. Stop that run, or restart the server"
        ) from error
