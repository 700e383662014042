"""The code of others that a configuration would run: a configuration is a program, and is to be trusted like one."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

RUNS = "runs other code: "
OURS = ("align", "reward_models", "annotation_ui", "keel")


def foreign_code(config: Any) -> list[str]:
    """One line of a dry run for each place where a program's configuration names code that is not the project's own."""
    found = []
    for place, term in enumerate(getattr(config, "rewards", [])):
        if ":" in term.term and not _ours(term.term):
            found.append(f"rewards.{place}.term imports and calls {term.term}")
    model = getattr(config, "model", None)  # a selection has none
    if model is not None and model.trust_remote_code:
        found.append(f"model.trust_remote_code runs Python code from {model.path}")
    readers = {point.name: point.value for point in entry_points(group="keel.sources")}
    for source in _sources(config):
        scheme, mark, _ = source.partition("://")
        if mark and scheme in readers and not _ours(readers[scheme]):
            found.append(f"the data source {scheme}:// is read by {readers[scheme]}")
    return [RUNS + each for each in dict.fromkeys(found)]


def _ours(path: str) -> bool:
    return path.partition(":")[0].partition(".")[0] in OURS


def _sources(config: Any) -> list[str]:
    lists = [(section, name) for section in ("data", "prompts", "evaluation") for name in ("train", "eval", "data")]
    named = [getattr(getattr(config, section, None), name, None) for section, name in lists]
    named += [getattr(config, name, None) for name in ("samples", "against")]
    named.append([other.data for other in getattr(config, "others", [])])
    return [source for sources in named if isinstance(sources, list) for source in sources]
