"""The memory that a run needs against the memory that is here, for ``keel train align --dry-run``."""

from __future__ import annotations

from collections.abc import Iterator

from align.config import AlignConfig
from align.planning.assumptions import Assumptions
from align.planning.memory import run_memory
from align.planning.start import shape_to_be
from align.starting_model import missing_model
from reward_models.backbone.config import ModelConfig
from reward_models.data.records import DOMAINS
from reward_models.planning.fit import check_shared_tokens, device_here, memory_lines
from reward_models.planning.shapes import ModelShape, ShapeError, read_shape

# The domain that a term scores, where its entry names none.
ROUTING: dict[str, tuple[str, ...]] = {"helpful": ("helpfulness",), "safety": ("safety",)}


def memory_of_run(config: AlignConfig) -> Iterator[str]:
    """The memory of a rank in each part of a step; a sentence if the shape of the policy cannot be told.

    Raises:
        ConfigError: a rank needs more memory than there is (of a model that is yet to be made this is a warning where
            the limit is the memory of a machine without a GPU), or ranks cannot share the tokens of a micro-batch.
    """
    here = device_here(config.engine)
    try:
        shape = shape_to_be(config.model)
    except ShapeError as error:
        yield f"memory: not estimated: {error}"
        return
    yield f"sizes of the model: {shape.source}"
    check_shared_tokens(shape, config.engine.sequence_parallel)
    models: list[ModelShape] = []
    offloaded: list[ModelShape] = []
    elsewhere = offloaded_models(config)
    for path in reward_model_paths(config):
        try:
            (offloaded if path in elsewhere else models).append(shape_to_be(ModelConfig(path=path)))
        except ValueError as error:
            yield f"memory: a reward model is not counted: {error}"
    teacher = None
    if config.teacher is not None and config.teacher.url is None:
        try:
            teacher = read_shape(config.teacher.path)
        except ShapeError as error:
            yield f"memory: the teacher is not counted: {error}"
    memory = run_memory(
        config,
        shape,
        ranks=here.ranks,
        prompt=Assumptions().prompt_tokens,
        reward_models=models,
        offloaded=offloaded,
        teacher=teacher,
        on_cpu=here.on_cpu,
    )
    # A model that is yet to be made is seldom trained where it is planned: the memory of such a CPU is no limit.
    planned_only = here.on_cpu and missing_model(config.model.path) is not None
    yield from memory_lines(memory.parts, here, refuse=not planned_only)


def reward_model_paths(config: AlignConfig) -> dict[str, frozenset[str]]:
    """The reward models that the run loads itself and the domains that they score; members of ensembles one by one."""
    found: dict[str, frozenset[str]] = {}
    for entry in config.rewards:
        named = entry.arguments.get("model")
        domains = frozenset(entry.domains or ROUTING.get(entry.term, DOMAINS))
        for path in [] if named is None else [named] if isinstance(named, str) else list(named):
            found[str(path)] = found.get(str(path), frozenset()) | domains
    return found


def offloaded_models(config: AlignConfig) -> set[str]:
    """The paths of the reward models that are in CPU memory between uses."""
    entries = [each.arguments for each in config.rewards if each.arguments.get("offload") is True]
    named = [each.get("model") for each in entries]
    return {str(path) for each in named if each for path in ([each] if isinstance(each, str) else each)}
