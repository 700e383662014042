"""The directive ``commands``: every command of ``keel`` with its arguments, from the command line's own objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def commands(command: Any, words: str) -> Iterator[tuple[str, Any]]:
    """Every command that can be typed, with its words; ``keel annotate`` is a command and a group."""
    inner = getattr(command, "commands", {})
    if not inner or command.invoke_without_command:
        yield words, command
    for name, each in inner.items():
        if not each.hidden:
            yield from commands(each, f"{words} {name}")


def markdown(app: typer.Typer) -> str:
    parts = []
    for words, command in commands(typer.main.get_command(app), "keel"):
        # \b and \f are marks of the terminal's help: no rewrapping, and its end
        text = (command.help or "").partition("\f")[0].replace("\b\n", "")
        parts += [f"## `{words}`", "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))]
        rows = [_row(p) for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
        if rows:
            parts.append("\n".join(["| argument | default | meaning |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = parameter.metavar or parameter.name.upper()
    else:
        name = ", ".join([*parameter.opts, *parameter.secondary_opts])
        if not parameter.is_flag:
            name += f" {parameter.metavar or parameter.name.upper()}"
    default = "required" if parameter.required else parameter.default
    shown = "" if default is None or default is False or callable(default) or default == [] else str(default)
    cells = (f"`{name}`", shown, parameter.help or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


class CommandsDirective(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        from keel.cli import app

        return self.parse_text_to_nodes(markdown(app), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("commands", CommandsDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
