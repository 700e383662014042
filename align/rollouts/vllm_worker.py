"""The side of the TCP store in the workers of a vLLM server, for machines without a GPU.

The server imports this file with ``--worker-extension-cls align.rollouts.vllm_worker.Worker``. It needs Keel's files on
its path and none of what Keel requires. The trainer's side is :class:`align.rollouts.transfer.StoreTransfer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch.distributed import TCPStore
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

WAIT_SECONDS = 300.0


@dataclass
class StoreGroup(WeightTransferInitInfo):
    """The place of the trainer's store. Every worker reads all of it, so that ranks do not matter."""

    master_address: str
    master_port: int
    rank_offset: int
    world_size: int


@dataclass
class StoredWeights(WeightTransferUpdateInfo):
    """Weights and the keys of their bytes in the store."""

    names: list[str]
    dtype_names: list[str]
    shapes: list[list[int]]
    keys: list[str]


class StoreEngine(WeightTransferEngine):  # type: ignore[misc]
    """Takes weights from the trainer's store and loads them, as vLLM's engine for NCCL does."""

    init_info_cls, update_info_cls = StoreGroup, StoredWeights
    _store: TCPStore | None = None

    def init_transfer_engine(self, group: StoreGroup) -> None:
        self._store = TCPStore(
            group.master_address,
            group.master_port,
            is_master=False,
            wait_for_workers=False,
            timeout=timedelta(seconds=WAIT_SECONDS),
            use_libuv=False,
        )

    def start_weight_update(self) -> None:
        initialize_layerwise_reload(self.model)

    def update_weights(self, announced: dict[str, Any]) -> None:
        if self.device.type == "cpu":
            self.receive_weights(self.parse_update_info(announced))  # vLLM waits for an accelerator here
        else:
            super().update_weights(announced)

    def receive_weights(self, weights: StoredWeights) -> None:
        if self._store is None:
            raise RuntimeError("no trainer has joined this server")
        for name, dtype, shape, key in zip(
            weights.names, weights.dtype_names, weights.shapes, weights.keys, strict=True
        ):
            data = bytearray(self._store.get(key))
            weight = torch.frombuffer(data, dtype=getattr(torch, dtype)).reshape(shape)
            self.model.load_weights([(name, weight.to(self.device))])

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)
        head: Any = getattr(self.model, "lm_head", None)
        if self.device.type == "cpu" and hasattr(head, "quant_method"):
            # A CPU multiplies with a packed copy, which vLLM renews for every layer but a tied head.
            head.quant_method.process_weights_after_loading(head)

    def shutdown(self) -> None:
        self._store = None


WeightTransferEngineFactory.register_engine("keel", StoreEngine)


class Worker:
    """An empty class, which vLLM mixes into its worker: importing this file is all that is needed."""
