"""Joining a distributed job, and the reductions over ranks that training needs."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class World:
    """The rank of this process and the size of its job.

    Attributes:
        rank, size: global. ``local_rank``: on this machine.
        device: the device that this rank computes on.
    """

    rank: int
    size: int
    local_rank: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Element-wise sum over ranks, in place and returned (on ``tensor``'s own device)."""
        return self._reduce(tensor, dist.ReduceOp.SUM)

    def max(self, tensor: torch.Tensor) -> torch.Tensor:
        """Element-wise maximum over ranks, in place and returned."""
        return self._reduce(tensor, dist.ReduceOp.MAX)

    def from_main(self, number: int) -> int:
        """The main rank's number, at least 0, on every rank."""
        return int(self.max(torch.tensor([number if self.is_main else 0])).item())

    def _reduce(self, tensor: torch.Tensor, op: dist.ReduceOp.RedOpType) -> torch.Tensor:
        if self.size == 1:
            return tensor
        shared = tensor.to(self.device)
        dist.all_reduce(shared, op=op)
        return tensor.copy_(shared)

    def on_main(self, call: Callable[[], T]) -> T:
        """The result of ``call`` on every rank, which only the main rank runs. Where it fails, every rank raises."""
        result: list[Any] = [None, None]
        if self.is_main:
            try:
                result[0] = call()
            except Exception as error:
                result[1] = error
        if self.size > 1:
            dist.broadcast_object_list(result, src=0)
        if result[1] is not None:
            raise result[1]
        found: T = result[0]
        return found

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()


def lost_rank(error: BaseException) -> bool:
    """True if a collective failed because another rank ended, left the network or did not come in time.

    Gloo reports it as a plain ``RuntimeError`` of its transport.
    """
    return isinstance(error, dist.DistError) or (type(error) is RuntimeError and "gloo/transport" in str(error))


def local_device() -> torch.device:
    """The device that this process computes on."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def start(timeout_seconds: float = 1800) -> World:
    """Join the job that ``deepspeed`` or ``torchrun`` started, or become a job of one process.

    Args:
        timeout_seconds: a collective that waits longer fails instead of hanging.
    """
    import deepspeed

    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
        os.environ.setdefault(name, value)
    size, local_rank = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_RANK"])
    if size == 1:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", "0")
    # DeepSpeed builds its CPU optimizer with ninja, which a virtual environment has, but not always on PATH.
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    if size > 1 and "OMP_NUM_THREADS" not in os.environ:
        # By default every rank starts a thread per core, and the ranks compete for the cores.
        local_size = int(
            os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or size
        )  # torchrun, deepspeed
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // local_size))
    device = local_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        # Gloo's collectives suffice. DeepSpeed's for CPUs are compiled at the first start, which takes a compiler and
        # most of a minute; a kill meanwhile leaves a lock that every later start waits for without end.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.init_distributed(
            dist_backend=backend, timeout=timedelta(seconds=timeout_seconds), verbose=False, auto_mpi_discovery=False
        )
    return World(dist.get_rank(), dist.get_world_size(), local_rank, device)
