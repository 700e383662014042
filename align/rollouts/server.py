"""One vLLM server: the checks before a run uses it, and the updates of its weights."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import torch

from align.rollouts.transfer import WeightTransfer, open_transfer
from align.rollouts.vllm_client import RefusedRequestError, VllmClient, wait_until_up

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
        adapter: name of the adapter that it holds; empty: none.
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
    adapter: str = ""
    lost: str = ""
    load: float = 0.0

    def join(self, model: Any, device: torch.device, seconds: float, adapter_rank: int | None = None) -> None:
        """Wait for the server, compare its settings with the run's, and open the way of the weights.

        Args:
            adapter_rank: of the adapters that will be sent; ``None``: none are.
        """
        if self.transfer is not None:
            self.transfer.close()
            self.transfer = None
        self.step, self.version, self.adapter = None, "", ""
        wait_until_up(self.url, seconds)
        settings = self.client.settings()
        self.max_tokens = check_server(settings, model)
        if adapter_rank is not None:
            check_adapters(settings, adapter_rank)
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

    def load_adapter(self, folder: Path) -> None:
        """Load the adapter in ``folder``, whose name is the folder's, in the place of the one before.

        Raises:
            ValueError: the server may not load adapters while it runs, or cannot read the folder.
        """
        try:
            body = {"lora_name": folder.name, "lora_path": str(folder), "load_inplace": True}
            self.client.post("/v1/load_lora_adapter", body, again=False, read=False)
        except RefusedRequestError as error:
            if error.status != 404:
                raise
            if "No adapter found" in str(error):
                raise ValueError(
                    f"the server cannot read {folder}: put output_dir on a file system that it shares with this "
                    f"machine, under the same path, or set rollout.adapters=merged"
                ) from error
            raise ValueError(
                "the server loads no adapters while it runs; start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its "
                "environment, or set rollout.adapters=merged"
            ) from error
        before, self.adapter = self.adapter, folder.name
        if before and before != folder.name:
            with suppress(RefusedRequestError):  # it is only a name by now
                self.client.post("/v1/unload_lora_adapter", {"lora_name": before}, read=False)

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


def check_adapters(info: dict[str, Any], rank: int) -> None:
    """``ValueError`` if the server's settings allow no adapters of this rank; the message names the option."""
    lora = info.get("lora_config")
    options = f"--enable-lora --max-lora-rank {rank}"
    if lora is None:
        raise ValueError(
            f"rollout.adapters=sent, and the server takes no adapters; start it with {options} and with "
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its environment, or set rollout.adapters=merged"
        )
    if int(lora["max_lora_rank"]) < rank:
        raise ValueError(
            f"the server takes adapters of rank {lora['max_lora_rank']} at most, and the run's have {rank}; start it "
            f"with {options}"
        )


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
