"""The memory that a run needs against the memory that is here, for ``keel train align --dry-run``."""

from __future__ import annotations

from collections.abc import Iterator

from align.config import AlignConfig, phases_of
from align.metric_names import is_foreign
from align.planning.assumptions import Assumptions
from align.planning.memory import run_memory
from align.planning.start import made_by_presets, shape_to_be
from align.rewards.build import TermConfig
from align.rewards.models.values import check_model, chosen_value
from align.schedule import Schedule, parse_schedule, value_at
from align.starting_model import missing_model
from reward_models.backbone.config import ModelConfig
from reward_models.backbone.location import lacks_directory
from reward_models.calibration import Calibration
from reward_models.data.manifest import saved_facts
from reward_models.data.records import DOMAINS, TASKS, saved_task
from reward_models.planning.fit import check_architecture, check_shared_tokens, device_here, memory_lines
from reward_models.planning.shapes import ModelShape, ShapeError, read_shape
from reward_models.runtime.config import ConfigError

# The domain that a term scores, where its entry names none.
ROUTING: dict[str, tuple[str, ...]] = {"helpful": ("helpfulness",), "safety": ("safety",)}


def memory_of_run(config: AlignConfig) -> Iterator[str]:
    """The memory of a rank in each part of a step; a sentence if the shape of the policy cannot be told.

    Raises:
        ConfigError: a rank needs more memory than there is (of a model that is yet to be made this is a warning where
            the limit is the memory of a machine without a GPU), or ranks cannot share the tokens of a micro-batch.
    """
    here = device_here(config.engine)
    absent = missing_model(config.model.path) is not None
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
            reason = f"there is no {path} here" if lacks_directory(path) else error
            yield f"memory: a reward model is not counted: {reason}"
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
    yield from memory_lines(memory.parts, here, refuse=not (here.on_cpu and absent))


def reward_model_paths(config: AlignConfig) -> dict[str, frozenset[str]]:
    """The reward models that the run loads itself and the domains that they score; members of ensembles one by one."""
    found: dict[str, frozenset[str]] = {}
    for entry in config.rewards:
        if entry.arguments.keys() & {"url", "urls"}:  # a judge, or models behind servers: not loaded here
            continue
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


def check_run(config: AlignConfig) -> None:
    """Refuse what the run refuses of the model's architecture and of reward models, as far as they are here.

    Raises:
        ValueError: a setting does not go with the architecture, or a reward model does not give the value that a term
            takes.
    """
    made = made_by_presets(config.model.path or "") if missing_model(config.model.path) is not None else None
    check_architecture(config.engine, config.model, None if made is None else made[0])
    for entry in config.rewards:
        named = entry.arguments.get("model")
        if entry.term not in ROUTING or named is None or "urls" in entry.arguments:
            continue
        try:
            _check_models([named] if isinstance(named, str) else list(named), entry)
        except ValueError as error:
            raise ConfigError(f"rewards: {entry.term}: {error}") from None


def unwatched(config: AlignConfig) -> Iterator[str]:
    """A warning for each guard with a metric that this configuration does not log: such a rule is never broken."""
    entries = {each.term for each in config.rewards}
    for guard in config.guards:
        for metric in guard.metrics:
            family, _, name = metric.partition("/")
            because = None
            if family in ("eval", "eval_se") and not config.evaluation.data:
                because = "evaluation.data is empty"
            elif metric == "kl" and not config.loss.beta:
                because = "loss.beta is 0"
            elif family in ("term", "weighted") and not any(map(is_foreign, entries)):
                verified = name.startswith("accuracy_") and {"accuracy", name.removeprefix("accuracy_")} & entries
                because = None if name in entries or verified else f"rewards has no entry {name}"
            if because is not None:
                yield f"warning: guards: {guard}: nothing is watched, for no step logs {metric}: {because}"


def idle_weights(config: AlignConfig) -> Iterator[str]:
    """A warning for weights that are 0 throughout, and for each schedule with points behind the last step."""
    phases = phases_of(config)
    found: list[Schedule] = []
    for entry in config.rewards:
        own = parse_schedule(entry.weight, entry.term)
        used = [phase.weights.get(entry.term, own) for phase in phases]
        found += used
        late = next((each for each in used if isinstance(each, list) and each[-1][0] > config.steps), None)
        if late is not None:
            yield (
                f"warning: rewards: the weight of {entry.term} has a point at step {late[-1][0]:,}, behind the last "
                f"one (steps={config.steps:,}): it ends at {value_at(late, config.steps):g} and not at {late[-1][1]:g}"
            )
    if not any(value for each in found for _, value in (each if isinstance(each, list) else [(0, each)])):
        yield "warning: rewards: every weight is 0 at every step: terms are measured, and nothing is learnt from them"


def _check_models(paths: list[str], entry: TermConfig) -> None:
    """``ValueError`` if those of the reward models that are here cannot be used by the term ``entry``."""
    wanted = next(task for task, names in TASKS.items() if names.model == entry.term)
    value = chosen_value(entry.arguments.get("value"), len(paths))
    for path in paths:
        facts = saved_facts(path)
        if facts is not None:
            calibration = Calibration.from_facts(facts.get("calibration", {}))
            check_model(path, saved_task(facts) or "preference", calibration, wanted=wanted, value=value)
