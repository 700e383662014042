"""The ways of weights into the workers of a vLLM server: NCCL between GPUs, a TCP store where there are none.

The server names its way with ``--weight-transfer-config``. On both, the trainer is rank 0 of a group that the server's
workers join, and a weight is announced over HTTP before it is sent.
"""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import urlsplit

import torch
from torch.distributed import TCPStore

from align.rollouts.vllm_client import VllmClient

STORE = "keel"  # the name under which align/rollouts/vllm_worker.py registers the workers' side of the store
JOIN_SECONDS = 300.0
CPU_OPTIONS = (
    f"""--weight-transfer-config '{{"backend": "{STORE}"}}' --worker-extension-cls align.rollouts.vllm_worker.Worker"""
)


class WeightTransfer(Protocol):
    """The trainer's end of a way. ``options`` are what the workers need to know beside the group's place and size."""

    options: dict[str, Any]

    def join(self, group: dict[str, Any]) -> None:
        """Join the group, while the workers do."""

    def send(self, client: VllmClient, name: str, weight: torch.Tensor) -> None:
        """Send one weight, inside an update; it has arrived when this returns."""

    def close(self) -> None:
        """Leave the group."""


def open_transfer(client: VllmClient, settings: dict[str, Any], port: int, device: torch.device) -> WeightTransfer:
    """Join the server's workers in the way that its settings name.

    Args:
        settings: as :meth:`VllmClient.settings` gives them.
        port: of this machine, where the workers meet the trainer.
        device: of the trainer.

    Raises:
        NotImplementedError: the server has no way, or one that this run cannot use.
        ImportError: NCCL is wanted, and vLLM is not installed here.
    """
    backend = (settings.get("weight_transfer_config") or {}).get("backend")
    transfer: WeightTransfer
    if backend == STORE:
        transfer = StoreTransfer()
    elif backend == "nccl" and device.type == "cuda":
        transfer = NcclTransfer(device)
    elif backend == "nccl":
        raise NotImplementedError(
            f"the server takes weights over NCCL, and this run is on a {device.type}; start it with {CPU_OPTIONS}"
        )
    else:
        raise NotImplementedError(
            f"the server takes weights by {backend!r}; start it with --weight-transfer-config "
            f"""'{{"backend": "nccl"}}', or for a CPU with {CPU_OPTIONS}"""
        )
    # The trainer is rank 0, so that the workers' ranks begin at 1.
    workers = int(client.get("/get_world_size")["world_size"])
    group = {"master_address": address_towards(client.url), "master_port": port, "world_size": workers + 1}
    body = {"init_info": group | transfer.options | {"rank_offset": 1}}
    with ThreadPoolExecutor(1) as pool:  # the request is answered when both sides have joined
        answer = pool.submit(client.post, "/init_weight_transfer_engine", body, again=False)
        transfer.join(group)
        answer.result()
    return transfer


def address_towards(url: str) -> str:
    """The address of this machine's interface that leads to ``url``."""
    place = urlsplit(url)
    family, kind, _, _, target = socket.getaddrinfo(place.hostname, place.port or 80, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(target)
        return str(probe.getsockname()[0])


def announcement(name: str, weight: torch.Tensor) -> dict[str, Any]:
    """One weight as vLLM's ``/update_weights`` announces it."""
    return {"names": [name], "dtype_names": [str(weight.dtype).removeprefix("torch.")], "shapes": [list(weight.shape)]}


class NcclTransfer:
    """vLLM's own way between GPUs; vLLM must be installed here too, in the server's version."""

    def __init__(self, device: torch.device) -> None:
        from vllm.distributed.weight_transfer import nccl_common, packed_tensor

        self.options: dict[str, Any] = {"packed": True}
        self._endpoint, self._broadcast = nccl_common.trainer_init, packed_tensor.packed_nccl_broadcast_producer
        self._device = device
        self._group: Any = None

    def join(self, group: dict[str, Any]) -> None:
        torch.cuda.set_device(self._device)  # vLLM takes the current device
        self._group = self._endpoint(group)

    def send(self, client: VllmClient, name: str, weight: torch.Tensor) -> None:
        body = {"update_info": announcement(name, weight)}
        with ThreadPoolExecutor(1) as pool:  # the request is answered when the workers have received the weight
            answer = pool.submit(client.post, "/update_weights", body, again=False)
            self._broadcast(iter([(name, weight)]), self._group, src=0, post_iter_func=lambda item: item[1])
            answer.result()

    def close(self) -> None:
        if self._group is not None:
            # The store holds a socket, on which the workers would go on waiting.
            self._group.group.store = None
            self._group.group.socket = None
            self._group = None


class StoreTransfer:
    """Weights as bytes in a TCP store of this process, from which every worker takes them.

    It needs neither a GPU nor vLLM here. Everybody who reaches the port can read the weights.
    """

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self._store: TCPStore | None = None
        self._sent = 0

    def join(self, group: dict[str, Any]) -> None:
        address, port = group["master_address"], group["master_port"]
        listener = socket.create_server((address, port), family=_family(address))
        self._store = TCPStore(
            address,
            listener.getsockname()[1],
            is_master=True,
            wait_for_workers=False,
            timeout=timedelta(seconds=JOIN_SECONDS),
            master_listen_fd=listener.detach(),
            use_libuv=False,  # the other one bounds values to 8 MiB
        )

    def send(self, client: VllmClient, name: str, weight: torch.Tensor) -> None:
        assert self._store is not None
        key = f"weight/{self._sent}"
        self._sent += 1
        self._store.set(key, weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())  # type: ignore[arg-type]
        try:
            body = {"update_info": announcement(name, weight) | {"keys": [key]}}
            client.post("/update_weights", body, again=False)
        finally:
            self._store.delete_key(key)

    def close(self) -> None:
        self._store = None  # the last reference closes the listening socket


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
