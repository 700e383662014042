"""The checks that a training run and its dry run make first: no data are read, and no model is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from reward_models.data.streams import lacks_file
from reward_models.runtime.engine import check_schedule, check_zero_options
from reward_models.runtime.metrics import check_loggers
from reward_models.runtime.training_config import EngineConfig, RunConfig


def check_start(config: RunConfig, engine: EngineConfig, sources: Sequence[str], key: str) -> None:
    """Refuse a configuration that can train nothing.

    Args:
        sources: the training data. ``key``: the setting that names them.

    Raises:
        ValueError: there are no sources, a logger is not installed, or ``engine`` names an unknown learning-rate
            schedule or an unknown setting of ZeRO.
    """
    if not sources:
        raise ValueError(f"{key} is empty: name at least one file, hub data set or synthetic: source")
    check_loggers(config.loggers)
    check_schedule(engine)
    check_zero_options(engine)


def absent_files(sources: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """A warning for each source that names a file which is not here: it may come before the run.

    Args:
        sources: by the setting that names them, such as ``data.train``.
    """
    for key, specs in sources.items():
        for spec in specs:
            if lacks_file(spec):
                yield f"warning: {key}: there is no {spec} here"
