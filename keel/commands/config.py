"""``keel config``: every setting and every environment variable."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Annotated, Literal

import typer

from keel.failures import failures

INDENT = "    "
Name = Literal["rm", "sft", "align", "sample", "evaluate", "select", "run", "serve", "curate", "env"]


@failures()
def config_command(
    name: Annotated[
        Name,
        typer.Argument(
            help="The settings of keel train rm, sft or align, of keel sample, keel evaluate policy, keel "
            "run, keel serve, keel data select or keel data curate; env: the environment variables.",
            metavar="rm|sft|align|sample|evaluate|select|run|serve|curate|env",
        ),
    ],
    section: Annotated[
        str | None,
        typer.Argument(
            metavar="[SECTION]", help="Only this section or setting, e.g. engine, loss.beta or guards.watch."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Print the settings of every section, too.")] = False,
) -> None:
    """Print every setting with its type, default and meaning.

    Without SECTION and --all the sections are named and their settings left out.
    """
    lines = _variables() if name == "env" else _settings(name, section, everything)
    typer.echo("\n".join(lines))


def _variables() -> Iterator[str]:
    from keel.environment import VARIABLES

    width, readers = (max(len(each[column]) for each in VARIABLES) for column in (0, 1))
    for each in VARIABLES:
        yield f"{each.name:{width}}  {each.read_by:{readers}}  {each.meaning}"


def _plain_key(key: str) -> str:
    """A key without the marks of lists and mappings: ``guards.watch`` for ``guards[].watch``."""
    return key.replace("[]", "").replace(".NAME", "")


def _settings(name: str, section: str | None, everything: bool) -> Iterator[str]:
    """Lines of the settings.

    Raises:
        ValueError: there is no such section.
    """
    import textwrap

    from keel.settings import SCHEMAS, plain, settings

    module, schema, command = SCHEMAS[name]
    listed = list(settings(getattr(importlib.import_module(module), schema)))
    top = [each for each in listed if "." not in each.key]
    chosen = listed if everything else top
    if section is not None:
        wanted = _plain_key(section)
        chosen = [s for s in listed if f"{_plain_key(s.key)}.".startswith(f"{wanted}.")]
        if not chosen:
            keys = ", ".join(each.key for each in listed if each.section is not None)
            raise ValueError(f"{command} has no section or setting {section}; sections: {keys}")
    yield f"Settings of {command}, as key=value or in its YAML file:"
    for each in chosen:
        more = f"; `keel config {name} {each.key}` prints it" if each.section and chosen is top else ""
        default = "" if each.default == "see below" else f" = {each.default}"
        yield f"\n{each.key}: {each.type}{default}{more}"
        if each.meaning:
            yield textwrap.indent(textwrap.fill(" ".join(plain(each.meaning).split()), 100), INDENT)
