"""Checks of a vLLM server before a run uses it: is it up, do its settings fit the run, do its workers answer."""

from __future__ import annotations

import time
from typing import Any

POLL_SECONDS = 1.0


def wait_until_up(url: str, seconds: float) -> None:
    import requests

    end = time.monotonic() + seconds
    while True:
        try:
            if requests.get(f"{url}/health", timeout=max(POLL_SECONDS, end - time.monotonic())).status_code == 200:
                return
            problem = "it answers /health with an error"
        except requests.RequestException as error:
            problem = type(error).__name__
        if time.monotonic() >= end:
            raise TimeoutError(f"not up after {seconds:g} s ({problem}); start it with: vllm serve MODEL …")
        time.sleep(min(POLL_SECONDS, max(0.0, end - time.monotonic())))


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


def check_workers(client: Any, seconds: float) -> None:
    """Find out whether the server's workers answer; ``/health`` says nothing about that.

    Workers that wait for the weights of a run that is gone do not, and joining their NCCL group would wait forever.

    Raises:
        TimeoutError: they do not answer within ``seconds``.
    """
    import requests

    try:
        reset_prefix_cache(client, timeout=seconds)
    except requests.Timeout as error:
        raise TimeoutError(
            f"the server is up, and its workers have not answered for {seconds:g} s: they may wait for the weights of "
            "a run that was stopped in the middle of a weight update. Stop that run, or restart the server"
        ) from error


def reset_prefix_cache(client: Any, **options: Any) -> None:
    """Discard the keys and values of earlier weights. ``RuntimeError`` if the server did not: TRL does not look."""
    answer = client.session.post(f"{client.base_url}/reset_prefix_cache", **options)
    if answer.status_code != 200:
        raise RuntimeError(f"request failed: {answer.status_code}, {answer.text}")
    if answer.content and not answer.json().get("success", True):  # vLLM before 0.26 answers without a body
        raise RuntimeError("the server kept its prefix cache: it has requests of somebody else under way")


def retries_of_requests() -> Any:
    """Try again where a connection fails: a server closes connections that were idle, and a request that meets that
    moment was not read. There is no second try after an answer that takes too long: it would take as long again.
    """
    from urllib3.exceptions import ReadTimeoutError
    from urllib3.util.retry import Retry

    class ConnectionRetry(Retry):
        def increment(self, *arguments: Any, **options: Any) -> Any:
            if isinstance(options.get("error"), ReadTimeoutError):
                raise options["error"]
            return super().increment(*arguments, **options)

    return ConnectionRetry(total=3, status_forcelist=[502, 503], allowed_methods=None, backoff_factor=0.5)
