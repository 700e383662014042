"""The directives ``settings`` and ``environment``: tables of every setting and of every environment variable.

The content is that of ``keel config``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from keel.environment import VARIABLES
from keel.settings import SCHEMAS, Setting, plain, settings


def setting_tables(name: str) -> str:
    """A table of the settings on top, and one for each section, with dotted keys."""
    module, schema, command = SCHEMAS[name]
    listed = list(settings(getattr(importlib.import_module(module), schema)))
    parts = [f"## `{command}`", table(each for each in listed if "." not in each.key)]
    for section in listed:
        if section.section is not None:
            starts = (f"{section.key}.", f"{section.key}[].", f"{section.key}.NAME.")
            inside = [each for each in listed if each.key.rpartition(".")[0] in {s[:-1] for s in starts}]
            parts += [f"### `{section.key}`", plain(section.meaning), table(inside)]
    return "\n\n".join(parts) + "\n"


def table(rows: Iterable[Setting]) -> str:
    lines = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for each in rows:
        default = "section below" if each.section is not None else f"`{cell(each.default)}`"
        lines.append(f"| `{each.key}` | {cell(each.type)} | {default} | {cell(plain(each.meaning))} |")
    return "\n".join(lines)


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


class SettingsDirective(SphinxDirective):
    """``{settings} rm``: a name that ``keel config`` takes."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(setting_tables(self.arguments[0]), allow_section_headings=True)


class EnvironmentDirective(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        lines = ["| variable | read by | meaning |", "|---|---|---|"]
        lines += [f"| `{each.name}` | {cell(each.read_by)} | {cell(each.meaning)} |" for each in VARIABLES]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("settings", SettingsDirective)
    app.add_directive("environment", EnvironmentDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
