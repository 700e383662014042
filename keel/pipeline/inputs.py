"""The data and models that a stage of a project reads: checked before the run, compared with the last run."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from align.rewards.build import check_terms
from align.rewards.terms import TermError
from align.samples.rows import to_sample
from keel.pipeline.stage import SAMPLES, Stage
from reward_models.data.files import BadRow
from reward_models.data.formats import rename, to_demonstration
from reward_models.data.records import TASKS
from reward_models.data.sources import SourceError, expand, is_hub, read, read_rows_of
from reward_models.runtime.config import ConfigError
from reward_models.runtime.secrets import written_as

FIRST_ROWS = 3  # number of rows of a source that are checked
_HUB_MODEL = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class Input:
    """Data or a model that a stage reads.

    Attributes:
        key: the key of the stage's configuration that names it. ``value``: the value of that key.
        what: its description in the plan. ``stage``: the stage that makes it. ``paths``: its files on this machine.
        end: the file that shows that the stage that makes it is finished.
    """

    key: str
    value: str
    what: str
    stage: str | None = None
    paths: tuple[Path, ...] = ()
    end: Path | None = None

    @property
    def digest(self) -> str | None:
        """A digest of the contents; ``None`` if they are not on this machine, or not finished."""
        whole = hashlib.sha256()
        if self.end is not None and not self.end.is_file():
            return None
        for path in self.paths:
            if not path.exists():
                return None
            for weights in sorted(path.glob("*.safetensors")):  # by size: too large to read
                whole.update(f"{weights.name} {weights.stat().st_size}".encode())
            for file in _identifying(path) if path.is_dir() else [path]:
                with file.open("rb") as opened:
                    whole.update(hashlib.file_digest(opened, "sha256").digest())
        return whole.hexdigest()[:16] if self.paths else None


def inputs_of(stage: Stage, stages: Sequence[Stage]) -> list[Input]:
    """Find and check the inputs of a stage.

    Raises:
        ConfigError: an input does not exist, or this stage cannot use it.
    """
    earlier = {each.name: each for each in stages[: stages.index(stage)]}
    found = [_model(stage, key, path, earlier) for key, path in _models(stage)]
    found += [_made(stage, key, spec, stages) or _data(stage, key, spec) for key, spec in _sources(stage)]
    return found


def check_rewards(stage: Stage) -> None:
    """Check the terms of a stage's rewards, those of an import path too: it imports their modules.

    Raises:
        ConfigError: there is no such term, or it takes no argument of a name.
    """
    try:
        check_terms(getattr(stage.config, "rewards", []))
    except TermError as error:
        raise _problem(stage, str(error)) from error


def _models(stage: Stage) -> list[tuple[str, str]]:
    config = stage.config
    model = getattr(config, "model", None)  # a selection has none
    found = [("model.path", model.path)] if model is not None and model.path is not None else []
    for term in getattr(config, "rewards", []):
        named = term.arguments.get("model", [])
        found += [(f"rewards.{term.term}", each) for each in ([named] if isinstance(named, str) else named)]
    return found


def _sources(stage: Stage) -> list[tuple[str, str]]:
    config = stage.config
    match stage.settings.program:
        case "align":
            lists = {"prompts.train": config.prompts.train, "evaluation.data": config.evaluation.data}
        case "sft":
            lists = {"data.train": config.data.train}
        case "rm":
            lists = {"data.train": config.data.train, "data.eval": config.data.eval}
        case "select":
            others = [each.data for each in config.others]
            lists = {"samples": config.samples, "against": config.against, "others": others}
        case _:
            lists = {"prompts.train": config.prompts.train, "against": getattr(config, "against", [])}
    key = next(iter(lists))
    if not lists[key]:
        raise _problem(stage, f"{key} is empty: name at least one file, hub data set or synthetic: source")
    return [(name, spec) for name, specs in lists.items() for spec in specs]


def _made(stage: Stage, key: str, spec: str, stages: Sequence[Stage]) -> Input | None:
    """The file that an earlier stage makes; ``None`` if it lies in no stage's directory."""
    place = Path(os.path.abspath(os.path.expanduser(spec)))
    other = next((each for each in stages if Path(os.path.abspath(each.directory)) in place.parents), None)
    if other is None:
        return None
    if stages.index(other) >= stages.index(stage):
        raise _problem(stage, f"{key}={spec}: stage {other.name} does not come before it")
    wanted = (SAMPLES,) if stage.settings.program == "select" and key == "samples" else other.program.files
    name = os.path.relpath(place, os.path.abspath(other.directory))
    if name not in other.program.files or name not in wanted:
        makes = ", ".join(file for file in other.program.files if file in wanted) or "no data that could be read here"
        raise _problem(stage, f"{key}={spec}: stage {other.name} makes {makes}")
    return Input(key, spec, f"stage {other.name}", other.name, (place,), other.end)


def _model(stage: Stage, key: str, path: str, earlier: dict[str, Stage]) -> Input:
    root = os.path.abspath(stage.directory.parent)
    place = os.path.abspath(os.path.expanduser(path))
    if os.path.dirname(place) == root:
        name = os.path.basename(place)
        if name not in earlier:
            close = difflib.get_close_matches(name, earlier, n=1, cutoff=0.5)
            there = f"did you mean {close[0]}?" if close else f"there are {', '.join(earlier) or 'none'}"
            raise _problem(stage, f"{key}={path}: no stage before it is called {name}; {there}")
        _check_fits(stage, key, earlier[name])
        return Input(key, path, f"stage {name}", name, (earlier[name].directory,), earlier[name].end)
    if path.startswith("package:"):
        return Input(key, path, "package")
    if Path(place).is_dir():
        return Input(key, path, "directory", None, (Path(place),))
    if _HUB_MODEL.fullmatch(path):
        return Input(key, path, "hub")
    raise _problem(stage, f"{key}={path}: no such directory, and not the form of a name on the hub")


def _check_fits(stage: Stage, key: str, other: Stage) -> None:
    """``ConfigError`` if the model that ``other`` makes cannot be used under ``key``."""
    if other.settings.train is None:
        raise _problem(stage, f"{key} names stage {other.name}, which makes no model")
    makes = TASKS[other.config.task].model if other.settings.train == "rm" else "policy"
    wanted = key.removeprefix("rewards.") if key.startswith("rewards.") else "policy"
    if wanted in ("helpful", "safety", "policy") and makes != wanted and stage.settings.train != "rm":
        thing = {"policy": "a policy"}.get(makes, f"a {makes} reward model")
        raise _problem(stage, f"{key} names stage {other.name}, which makes {thing}")


def _data(stage: Stage, key: str, spec: str) -> Input:
    written = written_as(spec)  # a password in it is neither printed nor kept in project.json
    if is_hub(spec):
        return Input(key, written, "hub")
    try:
        first = list(islice(_rows(stage, key, spec), FIRST_ROWS))
    except SourceError as error:
        raise _problem(stage, f"{key}: {error}") from error
    if not first:
        raise _problem(stage, f"{key}: {written} has no rows")
    if all(isinstance(row, BadRow) for row in first):
        row: Any = first[0]
        raise _problem(stage, f"{key}: {row.file}:{row.line}: {row.reason}")
    paths = tuple(Path(os.path.expandvars(os.path.expanduser(file))) for file in expand(spec))
    if paths[0].exists():
        return Input(key, written, "file" if len(paths) == 1 else f"{len(paths)} files", None, paths)
    return Input(key, written, "built in" if spec.startswith("synthetic:") else "other")


def _rows(stage: Stage, key: str, spec: str) -> Any:
    """The rows of a source, as the stage reads them."""
    config, program = stage.config, stage.settings.program
    if key == "samples" or (key == "against" and program == "evaluate"):
        return read_rows_of(spec, to_sample)
    if key == "against":
        return read_rows_of(spec, lambda row, line, source: row)  # prompts of any layout
    if key == "others" or program == "sft":
        others = {each.data: each.columns for each in getattr(config, "others", [])}
        columns = others[spec] if key == "others" else config.data.columns
        return read_rows_of(spec, lambda row, line, source: to_demonstration(rename(row, columns)))
    if program == "rm":
        return read(spec, TASKS[config.task].record_type, columns=config.data.columns or None)
    domain = config.prompts.domains.get(spec, config.prompts.domain)
    return read(spec, "prompt", columns=config.prompts.columns or None, domain=domain)


def _identifying(directory: Path) -> list[Path]:
    """The files of a model's directory that identify the model."""
    return [
        directory / name for name in ("manifest.json", "policy.json", "config.json") if (directory / name).is_file()
    ]


def _problem(stage: Stage, text: str) -> ConfigError:
    return ConfigError(f"stages.{stage.name}: {text}")
