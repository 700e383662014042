"""One vLLM server: the checks before a run uses it, and the updates of its weights."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx2
import torch

from align.rollouts.transfer import WeightTransfer, open_transfer
from align.rollouts.vllm_client import VllmClient, wait_until_up

RESTARTED = "default"  # the name of the weights that a server has begun with


class RestartedError(RuntimeError):
    """The server has lost the weights since they were sent to it."""


@dataclass(eq=False)
class Server:
    """One server.

    Attributes:
        port: of this machine, where its workers meet the trainer.
        max_tokens: of a prompt with its response.
        step: updates behind the weights that it holds; ``None`` before it was sent any. ``version``: their name.
        lost: the reason why it is not used; empty while it is.
        load: tokens of the requests under way, as expected.
    """

    url: str
    port: int
    client: VllmClient
    transfer: WeightTransfer | None = None
    max_tokens: int = 0
    step: int | None = None
    version: str = ""
    lost: str = ""
    load: float = 0.0

    def join(self, model: Any, device: torch.device, seconds: float) -> None:
        """Wait for the server, compare its settings with the run's, and open the way of the weights."""
        if self.transfer is not None:
            self.transfer.close()
            self.transfer = None
        self.step, self.version = None, ""
        wait_until_up(self.url, seconds)
        settings = self.client.settings()
        self.max_tokens = check_server(settings, model)
        check_workers(self.client, seconds)
        self.client.model()  # now, so that later requests reach the server in their order
        self.transfer = open_transfer(self.client, settings, self.port, device)
        self.lost = ""

    def begin_update(self) -> None:
        """Begin an update.

        Requests of others wait meanwhile: vLLM cannot run a model whose weights are being replaced. A run that died
        inside an update has left the server in it, or layers of the model half replaced; that is ended first.
        """
        self.client.post("/pause?mode=wait")
        if self.step is None:
            self._restore()
        self.client.post("/start_weight_update", again=False)

    def send(self, name: str, weight: torch.Tensor) -> None:
        assert self.transfer is not None
        self.transfer.send(self.client, name, weight)

    def finish_update(self, step: int, version: str) -> None:
        self.client.post("/finish_weight_update", {"weight_version": version}, again=False)
        self.client.reset_prefix_cache()
        self.client.post("/resume")
        self.step, self.version = step, version

    def abort_update(self) -> None:
        """Let the server work again after an update that failed."""
        self.step = None
        with suppress(Exception):
            self._restore()
            self.client.post("/resume")

    def check_version(self) -> None:
        """Find out whether the server still has the weights that it was sent.

        Raises:
            RestartedError: it has those that it began with.
            RuntimeError: another run has sent it others.
        """
        if not self.version:
            return
        version = self.client.weight_version()
        if version == RESTARTED:
            raise RestartedError("the server was restarted while it sampled, and has lost the weights")
        if version not in (None, self.version):
            raise RuntimeError(f"another run has sent its weights to this server (they are called {version})")

    def _restore(self) -> None:
        """Give the server a model that works, with the weights that have arrived."""
        with suppress(Exception):  # an update is under way already
            self.client.post("/start_weight_update", again=False)
        self.client.post("/finish_weight_update", again=False)

    def close(self) -> None:
        if self.transfer is not None:
            self.transfer.close()
        self.client.close()


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
