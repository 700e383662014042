"""Shared by all benchmarks: arguments, turns, times, the description of the machine, the JSON file.

A script parses its arguments with :func:`parser`, measures its ways *in turn* (each repeat runs all of them, so that
they meet the same machine), and writes one JSON file with :func:`write`. ``ratio`` is the median over the repeats of
the peer's figure over ours.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import reward_models.threads  # noqa: F401 - before torch is loaded

# isort: split
import torch

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("KEEL_DATA", ROOT.parent / "shared" / "data"))
PACKAGES = ("torch", "transformers", "deepspeed", "accelerate", "trl", "peft", "datasets", "tokenizers", "numpy")
# The instruction sets that decide how fast a matrix product is, in fp32 and in bf16.
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile", "asimd", "bf16")
OUT_OF_MEMORY = ("status -9", "out of memory", "can't allocate memory", "MemoryError", "bad_alloc")
UNSAID = ("out", "data")  # paths of one machine


# --- arguments --------------------------------------------------------------------------------------------------------


def parser(
    doc: str | None, *, repeats: int | None = None, device: bool = False, dtypes: Sequence[str] = ("fp32", "bf16")
) -> argparse.ArgumentParser:
    """``--out``, and on request ``--repeats``, and ``--device``, ``--dtype``, ``--threads`` and ``--seed``."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, required=True, help="JSON file to write")
    if repeats is not None:
        made.add_argument("--repeats", type=int, default=repeats)
    if device:
        made.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
        made.add_argument("--dtype", choices=tuple(dtypes), default="fp32")
        made.add_argument("--threads", type=int, default=os.cpu_count())
        made.add_argument("--seed", type=int, default=0)
    return made


def settings(arguments: argparse.Namespace, *hidden: str) -> dict[str, Any]:
    """The arguments as they go into the result; of ``data`` only the file's name."""
    given = {k: str(v) if isinstance(v, Path) else v for k, v in vars(arguments).items() if k not in (*UNSAID, *hidden)}
    return given | ({"data": Path(arguments.data).name} if hasattr(arguments, "data") else {})


# --- times ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Times:
    """Wall time and processor time of this process, all threads together, in seconds."""

    wall: float
    cpu: float


def clock(device: str = "cpu") -> float:
    """A CUDA device finishes first."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(work: Callable[[], T], device: str = "cpu") -> tuple[Times, T]:
    """Run ``work`` once."""
    began, cpu = clock(device), time.process_time()
    result = work()
    return Times(clock(device) - began, time.process_time() - cpu), result


def in_turn(ways: Mapping[str, Callable[[], T]], repeats: int) -> dict[str, list[T]]:
    """Every way once per repeat, in order; each way's results."""
    found: dict[str, list[T]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            found[name].append(way())
    return found


def ratios(peer: Sequence[float], ours: Sequence[float]) -> list[float]:
    """Repeat by repeat: neighbours in time had the same machine."""
    return [a / b for a, b in zip(peer, ours, strict=True)]


def median_ratio(peer: Sequence[float], ours: Sequence[float]) -> float:
    return round(statistics.median(ratios(peer, ours)), 3)


def matrix_product_speed(device: str, dtype: str, size: int = 2048, repeats: int = 7) -> float:
    """FLOP/s of square matrix products: on a CPU per second of processor time, so that other work does not count."""
    number = torch.bfloat16 if dtype == "bf16" else torch.float32
    size = 4 * size if device == "cuda" else size
    a, b = (torch.randn(size, size, device=device, dtype=number) for _ in range(2))
    found = []
    for _ in range(repeats):
        times, _ = timed(lambda: a @ b, device)
        found.append(2 * size**3 / (times.wall if device == "cuda" else times.cpu))
    return statistics.median(found)


# --- processes --------------------------------------------------------------------------------------------------------


def in_process(script: str, job: Any, variables: Mapping[str, str] | None = None, launcher: Sequence[str] = ()) -> Any:
    """Run ``script --job FILE --out FILE`` as a process of its own; what it wrote. Its output is shown where it fails.

    Args:
        launcher: words for Python before the script, such as those of ``torch.distributed.run``.

    Raises:
        RuntimeError: it failed, or wrote nothing.
    """
    with tempfile.TemporaryDirectory() as directory:
        given, out = Path(directory) / "job.json", Path(directory) / "out.json"
        given.write_text(json.dumps(job, default=str), encoding="utf-8")
        command = [sys.executable, *launcher, script, "--job", str(given), "--out", str(out)]
        paths = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
        env = {**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore", **(variables or {})}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode or not out.is_file():
            raise RuntimeError(f"{Path(script).name} failed with status {done.returncode}:\n{done.stderr[-4000:]}")
        return json.loads(out.read_text(encoding="utf-8"))


def surviving(
    script: str, job: Mapping[str, Any], key: str, variables: Mapping[str, str] | None = None
) -> tuple[Any, int]:
    """:func:`in_process`; a job that runs out of memory is run with half of ``job[key]``, until it survives or is 1.

    Returns:
        What it wrote, and the ``job[key]`` that survived.
    """
    size = int(job[key])
    while True:
        try:
            return in_process(script, {**job, key: size}, variables), size
        except RuntimeError as error:
            if size == 1 or not any(sign in str(error) for sign in OUT_OF_MEMORY):
                raise
            print(f"{Path(script).name}: out of memory at {key}={size}, which is halved", flush=True)
            size //= 2


def limit_memory(gib: float | None) -> None:
    """Let this process allocate no more; an allocation beyond it fails, instead of ending another process."""
    if gib is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (int(gib * 2**30),) * 2)


def cpu_seconds(process: subprocess.Popen[bytes], *, descendants: bool = False) -> float:
    """Processor time that a running process has used so far, on request with all processes that it has started."""
    found = {process.pid: _proc_stat(process.pid)}
    if descendants:
        everything = {int(each.name): _proc_stat(int(each.name)) for each in Path("/proc").glob("[0-9]*")}
        found[process.pid] = everything.get(process.pid, found[process.pid])
        while more := {p: s for p, s in everything.items() if p not in found and s and int(s[1]) in found}:
            found |= more
    return sum(int(stat[11]) + int(stat[12]) for stat in found.values() if stat) / os.sysconf("SC_CLK_TCK")


def _proc_stat(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` behind the name; none if the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return []


def peak_memory(device: str = "cpu") -> int:
    """The most memory that this process has held, in bytes."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    # getrusage() would count the pages of the parent too, which a process keeps as its peak across exec.
    status = Path("/proc/self/status")
    for line in status.read_text(encoding="utf-8").splitlines() if status.is_file() else []:
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# --- the result -------------------------------------------------------------------------------------------------------


def environment(seed: int = 0, threads: int | None = None) -> dict[str, Any]:
    """Commit, versions, device, CPU flags and seed; ``load_average`` tells how busy the machine was at that moment."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version for name in PACKAGES if (version := _version(name)) is not None},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "cpu": _cpu_info("model name") or platform.processor(),
        "cpu_cores": os.cpu_count(),
        "cpu_flags": [flag for flag in CPU_FLAGS if flag in _cpu_info("flags").split()],
        "threads": threads,
        "load_average": round(os.getloadavg()[0], 2),
        "seed": seed,
    }


def write(out: Path, result: Mapping[str, Any], show: Sequence[str] | None = None) -> None:
    """Write the JSON file; print the entries named by ``show``, or all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if shown := {k: v for k, v in result.items() if show is None or k in show}:
        print(json.dumps(shown, indent=1, ensure_ascii=False))


def _git(*arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_info(key: str) -> str:
    file = Path("/proc/cpuinfo")
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
