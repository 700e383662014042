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

from reward_models.runtime.sequence import SequenceGroup
from reward_models.runtime.training_config import check_divisible

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class World:
    """The rank of this process and the size of its job.

    Attributes:
        rank, size: global. ``local_rank``: on this machine.
        device: the device that this rank computes on.
        sequence: the ranks that share the tokens of a micro-batch with this one; ``None``: none does.
        group: torch's process group of the reductions; ``None``: all ranks.
    """

    rank: int
    size: int
    local_rank: int
    device: torch.device
    sequence: SequenceGroup | None = None
    group: Any = None

    @property
    def data(self) -> World:
        """The ranks among which data are divided: those that have this one's place in their sequence group.

        Its rank and size say which micro-batches are this rank's; its reductions count each of them once.
        """
        if (sequence := self.sequence) is None:
            return self
        return World(
            self.rank // sequence.size,
            self.size // sequence.size,
            self.local_rank,
            self.device,
            group=sequence.across,
        )

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
        dist.all_reduce(shared, op=op, group=self.group)
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
            dist.broadcast_object_list(result, group=self.group, group_src=0)
        if result[1] is not None:
            raise result[1]
        found: T = result[0]
        return found

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier(group=self.group)


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


def _sequence_group(sequence_parallel: int, timeout: timedelta) -> SequenceGroup | None:
    """This rank's group of neighbouring ranks. Every rank must ask, and makes all groups, in the same order."""
    if sequence_parallel == 1:
        return None
    rank, size = dist.get_rank(), dist.get_world_size()
    place = rank % sequence_parallel
    together, across = (
        [dist.new_group(list(members), timeout=timeout) for members in groups]
        for groups in (
            [range(first, first + sequence_parallel) for first in range(0, size, sequence_parallel)],
            [range(first, size, sequence_parallel) for first in range(sequence_parallel)],
        )
    )
    return SequenceGroup(place, sequence_parallel, together[rank // sequence_parallel], across[place])


def start(timeout_seconds: float = 1800, sequence_parallel: int = 1) -> World:
    """Join the job that ``deepspeed`` or ``torchrun`` started, or become a job of one process.

    Args:
        timeout_seconds: a collective that waits longer fails instead of hanging.
        sequence_parallel: ranks that share the tokens of each micro-batch, see :mod:`reward_models.runtime.sequence`.

    Raises:
        ValueError: the job's ranks cannot be divided into such groups.
    """
    import deepspeed

    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
        os.environ.setdefault(name, value)
    size, local_rank = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_RANK"])
    check_divisible(size, sequence_parallel)
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
    timeout = timedelta(seconds=timeout_seconds)
    if not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        # Gloo's collectives suffice. DeepSpeed's for CPUs are compiled at the first start, which takes a compiler and
        # most of a minute; a kill meanwhile leaves a lock that every later start waits for without end.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.init_distributed(dist_backend=backend, timeout=timeout, verbose=False, auto_mpi_discovery=False)
    sequence = _sequence_group(sequence_parallel, timeout)
    return World(dist.get_rank(), dist.get_world_size(), local_rank, device, sequence)
