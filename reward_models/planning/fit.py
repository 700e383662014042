"""The memory of a run against the memory that is here: the part of ``--dry-run`` that all training programs share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reward_models.backbone.config import ModelConfig
from reward_models.planning.devices import GIB
from reward_models.planning.memory import ADVICE, Memory, memory_table, settings_of, training_memory
from reward_models.planning.shapes import ModelShape, ShapeError, read_settings, shape_from_settings
from reward_models.runtime.config import ConfigError, load_config
from reward_models.runtime.training_config import EngineConfig, check_divisible, heads_problem

MEMORY_FILE = Path("/proc/meminfo")


@dataclass(frozen=True)
class Here:
    """The device of this rank.

    Attributes:
        available: bytes; of a machine without a GPU its total memory, free or in use, divided by the ranks on it.
        ranks: of the job.
    """

    name: str
    available: float
    on_cpu: bool
    ranks: int


def device_here(engine: EngineConfig) -> Here:
    """The device that ``engine.device_memory`` tells of; else this rank's GPU, or its share of the machine's memory.

    The launcher says the number of ranks. Without one they are the fewest that ``engine.sequence_parallel`` needs.

    Raises:
        ValueError: ``engine.sequence_parallel`` does not divide the ranks.
    """
    import torch

    ranks = int(os.environ.get("WORLD_SIZE", engine.sequence_parallel))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1" if "WORLD_SIZE" in os.environ else ranks))
    check_divisible(ranks, engine.sequence_parallel)
    if (given := engine.device_memory) is not None:
        return Here(f"a device of {given:g} GiB (engine.device_memory)", given * GIB, False, ranks)
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(int(os.environ.get("LOCAL_RANK", "0")))
        return Here(properties.name, float(properties.total_memory), False, ranks)
    lines = MEMORY_FILE.read_text(encoding="utf-8").splitlines() if MEMORY_FILE.is_file() else []
    kilobytes = [float(line.split()[1]) for line in lines if line.startswith("MemTotal:")]
    total = kilobytes[0] * 1024 if kilobytes else float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    shared = f", divided among its {local} ranks" if local > 1 else ""
    return Here(f"this machine (its total memory{shared})", total / local, True, ranks)


def shape_of(model: ModelConfig) -> ModelShape:
    """The shape of the model that a configuration names.

    Raises:
        ShapeError: it is not here and not known by name, or its sizes cannot be told.
    """
    settings, name, source = _settings_of(model)
    return shape_from_settings(settings, name, source)


def _settings_of(model: ModelConfig) -> tuple[dict[str, Any], str, str]:
    """The settings of the architecture, the model's name, and where the settings come from; errors as above."""
    path = model.locate()
    if path is None:
        return {"vocab_size": model.vocab_size, **(model.config or {})}, "a new model", "model.config"
    settings, source = read_settings(path)
    return {**settings, **(model.config or {})}, path, source


def check_architecture(engine: EngineConfig, model: ModelConfig, made_from: ModelConfig | None = None) -> None:
    """Refuse settings of the model that the run refuses, as far as the settings of the architecture are known.

    Args:
        made_from: the model whose architecture it has, where ``model.path`` is not there yet.

    Raises:
        ValueError: the architecture cannot be computed with ``engine.sequence_parallel``, ``model.layout``,
            ``model.mlp_tiles`` or ``model.freeze_layers``, or there is no such architecture.
    """
    usual = engine.sequence_parallel == model.mlp_tiles == 1 and model.layout != "tree" and not model.freeze_layers
    if usual and model.path is not None:
        return
    try:
        settings, _, _ = _settings_of(made_from or model)
    except ValueError:  # nothing is known of it
        return
    if model.trust_remote_code:  # transformers may not know it
        return
    from transformers import AutoConfig  # these load torch

    from reward_models.backbone.pretrained import check_depth, check_shared, choose_layout, new_architecture
    from reward_models.backbone.tiled_mlp import check_tiles

    if model.path is None:
        architecture = new_architecture(settings)
    else:
        rest = {key: value for key, value in settings.items() if key != "model_type"}
        architecture = AutoConfig.for_model(str(settings.get("model_type")), **rest)
    choose_layout(model, architecture)
    check_tiles(architecture.model_type, model.mlp_tiles)
    if model.freeze_layers:
        check_depth(architecture, model.freeze_layers)
    if engine.sequence_parallel > 1:
        check_shared(model, architecture, engine.sequence_parallel)


def memory_lines(parts: Mapping[str, Memory], here: Here, *, refuse: bool = True) -> Iterator[str]:
    """The memory that a rank needs; with a warning at the end if there is less and ``refuse`` is false.

    Raises:
        ConfigError: ``refuse``, and a part of a step needs more than there is.
    """
    yield f"memory of each of {here.ranks} ranks, GiB (estimated; no model was loaded)"
    yield from memory_table(parts, here.available)
    name, peak = max(parts.items(), key=lambda each: each[1].total)
    if peak.total <= here.available:
        return
    largest = max(peak.device, key=lambda part: peak.device[part])
    advice = ADVICE.get(largest, ADVICE["weights"])
    elsewhere = " For a run on other devices give the GiB of one: engine.device_memory=80" if here.on_cpu else ""
    problem = (
        f"a rank needs {peak.total / GIB:,.1f} GiB ({name}; most of it {largest}: "
        f"{peak.device[largest] / GIB:,.1f} GiB), and {here.name} has {here.available / GIB:,.1f} GiB for it. "
        f"{advice}.{elsewhere}"
    )
    if refuse:
        raise ConfigError(problem)
    yield f"warning: {problem}"


def training_lines(engine: EngineConfig, model: ModelConfig, tokens: int, *, scalar_head: bool) -> Iterator[str]:
    """:func:`memory_lines` of a program with one model; a sentence if its shape cannot be told."""
    here = device_here(engine)
    check_architecture(engine, model)
    try:
        shape = shape_of(model)
    except ShapeError as error:
        yield f"memory: not estimated: {error}"
        return
    check_shared_tokens(shape, engine.sequence_parallel)
    settings = settings_of(
        engine, model, shape, ranks=here.ranks, tokens=tokens, scalar_head=scalar_head, on_cpu=here.on_cpu
    )
    yield from memory_lines({"update": training_memory(shape, settings)}, here)


def check_shared_tokens(shape: ModelShape, ranks: int) -> None:
    """``ConfigError`` if ``ranks`` do not divide the attention heads, as the run itself would say.

    The run also refuses architectures whose attention cannot be exchanged; it reads more of them than their sizes.
    """
    problem = heads_problem(shape.heads, ranks)
    if ranks > 1 and shape.latent is not None:
        problem = "its attention cannot be exchanged between ranks"
    if problem is not None:
        raise ConfigError(f"engine.sequence_parallel={ranks}: {problem} ({shape.name})")


def train_or_plan(
    parsed: argparse.Namespace,
    schema: type[Any],
    train: Callable[[Any], object],
    may_change: tuple[str, ...],
    *,
    longest: Callable[[Any], int],
    scalar_head: bool,
) -> None:
    """The work of a training program with one model: train, or with ``--dry-run`` tell the memory of a rank.

    Args:
        parsed: the command line. ``schema``: dataclass of the configuration.
        may_change: settings that a resumed run may change.
        longest: configuration → tokens of the longest item; one that exceeds a micro-batch is computed alone.
    """
    from reward_models.runtime.run import check_directory  # these load torch, which a plan can do without
    from reward_models.start import absent_files, check_start

    config = load_config(schema, parsed.config, parsed.overrides)
    if not parsed.dry_run:
        train(config)
    elif is_first_rank():
        check_start(config, config.engine, config.data.train, "data.train")
        sources = {"data.train": config.data.train, "data.eval": getattr(config.data, "eval", [])}
        for line in absent_files(sources):
            print(line)
        tokens = max(config.max_tokens, longest(config))
        for line in training_lines(config.engine, config.model, tokens, scalar_head=scalar_head):
            print(line)
        check_directory(config, may_change)


def is_first_rank() -> bool:
    """True on the rank that prints, before ranks have joined."""
    return os.environ.get("RANK", "0") == "0"
