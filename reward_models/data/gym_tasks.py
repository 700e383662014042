"""Prompts of the package reasoning-gym (Apache-2.0): tasks that are generated with a seed, at several difficulties.

A source is written ``reasoning_gym:TASK[?size=500&seed=0&level=2&OPTION=VALUE]``. A row holds the question and, in the
column ``reasoning_gym``, what it was made with, from which the verifier makes the same problem again: nothing that a
file holds is given to the package's scorers.

Some of the tasks depend on the order of sets, which Python changes from process to process. Problems are therefore made
in a process of its own with a fixed hash seed, here and in the verifier (:func:`fixed_python`).
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from reward_models.data.gym_shapes import REFUSED, SHAPES
from reward_models.extras import needs

LOGGER = logging.getLogger(__name__)
PREFIX = "reasoning_gym:"
COLUMN = "reasoning_gym"
SIZE, MOST = 500, 1_000_000
SECONDS = 600.0  # for all problems of a source
ROOT = Path(__file__).parents[2]
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from reward_models.data.gym_tasks import main; main()"
Options = Mapping[str, Any]


def rows_of(spec: str) -> Iterator[dict[str, Any]]:
    """The rows of a source.

    Raises:
        ValueError: there is no such task, it does not take an option, a problem cannot be made, or none of them has
            an answer. Problems without an answer are left out, with a warning that counts them.
        MissingExtraError: the package is not installed.
    """
    task, options, levels = parsed(spec)
    with needs("reasoning"):
        if find_spec("reasoning_gym") is None:  # it is loaded in the other process alone
            raise ModuleNotFoundError("no reasoning_gym", name="reasoning_gym")
    request = json.dumps({"task": task, "options": options, "levels": levels})
    command, environment = fixed_python(START)
    try:
        done = subprocess.run(
            command, env=environment, input=request, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"its problems are not made after {SECONDS:g} s; ask for fewer") from error
    if done.returncode != 0:
        raise ValueError((done.stderr.strip().splitlines() or ["the process that makes problems ended"])[-1])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    asked = options["size"] * len(levels or [None])
    if not rows:
        raise ValueError(f"none of its {asked:,} problems has an answer that can be verified; ask for others")
    if len(rows) < asked:
        LOGGER.warning(
            "%s: %d of %d problems are left out: they have no answer that can be verified, such as an integral that "
            "is left as one",
            spec,
            asked - len(rows),
            asked,
        )
    yield from rows


def parsed(spec: str) -> tuple[str, dict[str, Any], list[int] | None]:
    """Task, options and levels of a source; its form alone is checked.

    Raises:
        ValueError: an option has no value, or is there twice, or a number is out of range.
    """
    task, _, query = spec.removeprefix(PREFIX).partition("?")
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    options = {name: _value(text) for name, text in pairs}
    if not task or len(options) != len(pairs):
        raise ValueError(f"{spec!r} is not of the form {PREFIX}TASK[?size=500&seed=0&level=2&OPTION=VALUE]")
    options = {"size": SIZE, "seed": 0} | options
    for name, least in (("size", 1), ("seed", 0)):
        if type(options[name]) is not int or not least <= options[name] <= MOST:
            raise ValueError(f"{name}={options[name]!r} is not a number from {least} to {MOST:,}")
    if "level" not in options:
        return task, options, None
    first, dash, last = str(options.pop("level")).partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()) or int(first) > int(last or first):
        raise ValueError(f"level={first}{dash}{last} is not a number, or a range such as 0-3")
    return task, options, list(range(int(first), int(last or first) + 1))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def fixed_python(program: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a Python process in which sets have the same order every time."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return [sys.executable, "-P", "-c", program, str(ROOT)], environment


# --- in the process that makes problems -------------------------------------------------------------------------------


def build(task: str, options: Options, level: int | None) -> Any:
    """The data set of a task.

    Raises:
        ValueError: there is no such task or level, or it does not take an option or its value.
    """
    from reasoning_gym.factory import CURRICULA, DATASETS

    if task in REFUSED:
        raise ValueError(f"the task {task} is not offered: {REFUSED[task]}")
    if task not in DATASETS:
        close = difflib.get_close_matches(task, DATASETS, n=3)
        raise ValueError(f"reasoning-gym has no task {task!r}" + (f"; nearest: {', '.join(close)}" if close else ""))
    made, config_of = DATASETS[task]
    names = sorted(field.name for field in dataclasses.fields(config_of))
    if unknown := sorted(set(options) - set(names)):
        raise ValueError(f"the task {task} takes no {', '.join(unknown)}; it takes level, {', '.join(names)}")
    own = {**options, "seed": package_seed(int(options["seed"]), level)}
    try:
        if level is None:
            config = config_of(**own)
        else:
            if task not in CURRICULA:
                raise ValueError("it has no levels")
            curriculum = CURRICULA[task]()
            if level > (top := max(len(each.levels) for each in curriculum.attributes.values()) - 1):
                raise ValueError(f"its levels are 0 to {top}")
            curriculum.set_global_level(level)
            config = dataclasses.replace(curriculum.generate_configuration(dict(own)), **own)
        getattr(config, "validate", lambda: None)()
        return made(config=config)
    except (AssertionError, TypeError, ValueError) as error:
        raise ValueError(f"the task {task} cannot be made with {dict(options)} at level {level}: {error}") from error


def package_seed(seed: int, level: int | None) -> int:
    """The seed that the package is given. It makes problem i of seed s from s + i: seeds must be far apart."""
    digest = hashlib.sha256(f"{seed}:{level}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def version() -> str:
    """The installed version: another one may make other problems of the same options."""
    from importlib.metadata import version as of

    return of("reasoning-gym")


def main() -> None:
    """Read a request from stdin, and write its rows, a JSON text a line."""
    request = json.loads(sys.stdin.read())
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing that the package prints may pass for a row
    try:
        for level in request["levels"] or [None]:
            for row in _rows(request["task"], request["options"], level):
                print(json.dumps(row), file=output)
    except ValueError as error:
        sys.exit(str(error).replace("\n", " "))
    output.flush()


def _rows(task: str, options: Options, level: int | None) -> Iterator[dict[str, Any]]:
    problems = build(task, options, level)
    for index in range(int(options["size"])):
        problem = problems[index]
        answer = None if problem["answer"] is None else str(problem["answer"]).strip()
        if answer is not None and not re.fullmatch(SHAPES.get(task, ".+"), answer, re.DOTALL):
            continue  # "no solution", which is an empty answer, or an integral that is left as one
        made_with = {"task": task, "options": dict(options), "level": level, "index": index, "version": version()}
        row = {
            "id": f"{task}:{'' if level is None else f'{level}:'}{index}",
            "prompt": str(problem["question"]),
            "domain": "reasoning",
            "answer": answer,
            "verifier": "reasoning_gym",
            "source": f"{PREFIX}{task}",
            COLUMN: made_with,
        }
        yield row | ({} if level is None else {"level": level})
