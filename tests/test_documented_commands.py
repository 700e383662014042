"""Every command in README and docs is one that the real command line accepts; nothing is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from align.config import AlignConfig
from align.samples.config import SampleConfig
from align.samples.selection import SelectConfig
from align.sft.trainer import SftConfig
from keel.cli import app
from keel.commands.options import split_settings
from keel.pipeline.project import ProjectConfig, load_project
from reward_models.config import RewardModelConfig
from reward_models.runtime.config import load_config, presets
from reward_models.runtime.program import training_parser
from reward_models.serving.limits import Limits

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
CLI = typer.main.get_command(app)
SCHEMAS: dict[str, type] = {"rm": RewardModelConfig, "sft": SftConfig, "align": AlignConfig}
PROGRAMS = {"reward_models.train": "rm", "align.train": "align", "align.train_sft": "sft"}
FENCE = re.compile(r"^```(?:bash|sh|console)\n(.*?)^```", re.M | re.S)
INDENTED = re.compile(r"(?<=\n\n)(?:    .+\n)+")
INLINE = re.compile(r"`(keel [^`]+)`")


class Command(NamedTuple):
    page: str
    words: list[str]


def lines(page: Path) -> Iterator[str]:
    """The shell lines of a page, continued lines joined."""
    text = page.read_text(encoding="utf-8")
    for block in (*FENCE.findall(text), *INDENTED.findall(re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))):
        yield from re.sub(r"\\\n\s*", " ", block).splitlines()


def commands(page: Path) -> Iterator[Command]:
    """The commands of a page's shell lines: without comments, variables before them, and what follows a pipe."""
    for line in lines(page):
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # a text over several lines in quotes
            words = line.split()
        while words and (re.fullmatch(r"[A-Z_]+=.*", words[0]) or words[0] == "$"):
            words = words[1:]
        for mark in ("|", "&&", ";", ">", "&"):
            words = words[: words.index(mark)] if mark in words else words
        if words:
            yield Command(page.name, words)


def documented(*starts: str) -> list[Command]:
    return [each for page in PAGES for each in commands(page) if each.words[0] in starts]


def parse(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The names of the command, and its parameters as the real command line reads them.

    Raises:
        UsageError: as the command line would.
    """
    command, arguments, names = CLI, list(words), ["keel"]
    parent = None
    while True:
        context = command.make_context(names[-1], arguments, parent=parent)
        rest = [*getattr(context, "_protected_args", []), *context.args]
        if not hasattr(command, "resolve_command") or not rest:
            return names, context.params
        name, command, arguments = command.resolve_command(context, rest)
        names, parent = [*names, name], context


def load(names: Sequence[str], parameters: dict[str, Any]) -> None:
    """Check the settings on the command line against the dataclass that they are for.

    Raises:
        ConfigError: no such preset or key, or a wrong value.
    """
    overrides = [word for word in parameters.get("overrides") or () if "…" not in word]
    if names[1:2] == ["train"]:
        config, schema = parameters["config"], SCHEMAS[names[2]]
        if config is None or config in presets(schema) or (ROOT / config).is_file():
            load_config(schema, config, overrides)
        else:
            assert config.endswith(".yaml") or config == "…", f"there is no preset {config}"
    elif names[1:] == ["run"] and parameters["file"] in presets(ProjectConfig):
        load_project(parameters["file"], overrides)
    elif names[1:] == ["demo"]:
        load_project("demo", overrides)
    elif names[1:] == ["serve"]:
        load_config(Limits, overrides=overrides)


@pytest.mark.parametrize("command", documented("keel"), ids=lambda c: f"{c.page}: {shlex.join(c.words[1:])}")
def test_a_documented_command_is_accepted(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # projects make folders for a moment
    load(*parse(command.words[1:]))


@pytest.mark.parametrize("command", documented("deepspeed"), ids=lambda c: f"{c.page}: {shlex.join(c.words)}")
def test_a_documented_launch_is_accepted(command: Command) -> None:
    start = command.words.index("--module")
    program = command.words[start + 1]
    parsed = training_parser(program, None, "", "").parse_intermixed_args(command.words[start + 2 :])
    load(["keel", "train", PROGRAMS[program]], vars(parsed))


@pytest.mark.parametrize("command", documented("make", "python"), ids=lambda c: f"{c.page}: {shlex.join(c.words)}")
def test_a_documented_target_or_script_exists(command: Command) -> None:
    if command.words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        assert set(command.words[1:]) <= set(targets)
    elif command.words[1].startswith(("benchmarks/", "examples/")):
        assert (ROOT / command.words[1]).is_file()


def inline() -> list[Command]:
    found = [(page.name, text) for page in PAGES for text in INLINE.findall(page.read_text("utf-8").replace("\n", " "))]
    return [Command(page, re.sub(r"[…\[\]]", " ", text).split()) for page, text in found]


@pytest.mark.parametrize("command", inline(), ids=lambda c: f"{c.page}: {' '.join(c.words)}")
def test_a_command_in_running_text_has_the_names_and_options_of_a_real_one(command: Command) -> None:
    found, rest = CLI, command.words[1:]
    while rest and rest[0] in getattr(found, "commands", {}):
        found, rest = found.commands[rest[0]], rest[1:]
    assert not (rest and hasattr(found, "commands") and not rest[0].startswith("-")), f"no command {rest[0]}"
    known = {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known | {"--help"}


def test_the_pages_hold_commands_and_wrong_ones_are_refused() -> None:
    assert len(documented("keel")) > 25
    assert documented("deepspeed")
    for words in (["trian", "rm"], ["train", "rm", "--procesess", "2"], ["score", "--model", "x"]):
        with pytest.raises(Exception, match=r"(?i)no such|missing") as refused:
            parse(words)
        assert type(refused.value).__name__ in ("UsageError", "NoSuchOption", "MissingParameter", "BadParameter")
    for words in (
        ["train", "rm", "--config", "helpful_cpu", "epoch=1"],
        ["run", "cpu", "stages.helpful.settings.epoch=1"],
    ):
        with pytest.raises(ValueError, match="did you mean"):
            load(*parse(words))
    assert split_settings(["a.jsonl", "threshold=1"]) == (["a.jsonl"], ["threshold=1"])


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_configuration_is_a_preset_of_its_program(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    known = [
        (schema, presets(schema).get(path.stem))
        for schema in (*SCHEMAS.values(), SampleConfig, SelectConfig, ProjectConfig)
    ]
    schemas = [schema for schema, file in known if file is not None and file.resolve() == path.resolve()]
    assert len(schemas) == 1
    load_config(schemas[0], path)
    if schemas == [ProjectConfig]:
        load_project(path.stem, [])
