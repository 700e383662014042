"""The memory of a run against the memory that is here: the part of ``--dry-run`` that all training programs share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from reward_models.backbone.config import ModelConfig
from reward_models.planning.memory import ADVICE, Memory, memory_table, settings_of, training_memory
from reward_models.planning.shapes import ModelShape, ShapeError, read_settings, shape_from_settings
from reward_models.runtime.config import ConfigError
from reward_models.runtime.training_config import EngineConfig

MEMORY_FILE = Path("/proc/meminfo")


@dataclass(frozen=True)
class Here:
    """The device of this rank.

    Attributes:
        available: bytes; of a machine without a GPU its available memory divided by the ranks on it.
        ranks: of the job, as its launcher says.
    """

    name: str
    available: float
    on_cpu: bool
    ranks: int


def device_here() -> Here:
    """This rank's GPU, or its share of the machine's memory."""
    import torch

    ranks, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(int(os.environ.get("LOCAL_RANK", "0")))
        return Here(properties.name, float(properties.total_memory), False, ranks)
    lines = MEMORY_FILE.read_text(encoding="utf-8").splitlines() if MEMORY_FILE.is_file() else []
    kilobytes = [float(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    available = kilobytes[0] * 1024 if kilobytes else float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return Here("this machine's memory", available / local, True, ranks)


def shape_of(model: ModelConfig) -> ModelShape:
    """The shape of the model that a configuration names.

    Raises:
        ShapeError: it is not here and not known by name, or its sizes cannot be told.
    """
    path = model.locate()
    if path is None:
        settings = {"vocab_size": model.vocab_size, **(model.config or {})}
        return shape_from_settings(settings, "a new model", "model.config")
    settings, source = read_settings(path)
    return shape_from_settings({**settings, **(model.config or {})}, path, source)


def memory_lines(parts: Mapping[str, Memory], here: Here) -> Iterator[str]:
    """The memory that a rank needs, and what does not fit.

    Raises:
        ConfigError: on a GPU, if a part of a step needs more than it has.
    """
    yield f"memory of each of {here.ranks} ranks, GB (estimated; no model was loaded)"
    yield from memory_table(parts, here.available)
    name, peak = max(parts.items(), key=lambda each: each[1].total)
    if peak.total <= here.available:
        return
    largest = max(peak.device, key=lambda part: peak.device[part])
    sentence = (
        f"a rank needs {peak.total / 1e9:,.1f} GB ({name}; most of it {largest}: "
        f"{peak.device[largest] / 1e9:,.1f} GB), and {here.name} has {here.available / 1e9:,.1f} GB for it. "
        f"{ADVICE.get(largest, ADVICE['weights'])}"
    )
    if not here.on_cpu:
        raise ConfigError(sentence)
    yield f"warning: {sentence}"


def training_lines(engine: EngineConfig, model: ModelConfig, tokens: int, *, scalar_head: bool) -> Iterator[str]:
    """:func:`memory_lines` of a program with one model; a sentence if its shape cannot be told."""
    here = device_here()
    try:
        shape = shape_of(model)
    except ShapeError as error:
        yield f"memory: not estimated: {error}"
        return
    settings = settings_of(
        engine, model, shape, ranks=here.ranks, tokens=tokens, scalar_head=scalar_head, on_cpu=here.on_cpu
    )
    yield from memory_lines({"update": training_memory(shape, settings)}, here)


def is_first_rank() -> bool:
    """True on the rank that prints, before ranks have joined."""
    return os.environ.get("RANK", "0") == "0"
