"""The directive ``settings``: every setting of a configuration dataclass with type, default and meaning."""

from __future__ import annotations

import dataclasses
import importlib
from typing import get_type_hints

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from keel.settings import default_of, meanings, plain, sections, summary, type_name


def markdown(schema: type) -> str:
    """A heading and a table for the dataclass and for each section inside."""
    parts = []
    for each in sections(schema):
        hints, known = get_type_hints(each), meanings(each)
        rows = []
        for field in dataclasses.fields(each):
            name, meaning = field.name, _cell(known.get(field.name, ""))
            rows.append(f"| `{name}` | {_cell(type_name(hints[name]))} | `{_cell(default_of(field))}` | {meaning} |")
        table = "\n".join(["| setting | type | default | meaning |", "|---|---|---|---|", *rows])
        parts.append(f"**{each.__name__}**: {plain(summary(each))}\n\n{table}\n")
    return "\n".join(parts)


def _cell(text: str) -> str:
    return plain(text).replace("|", "\\|")


class SettingsDirective(SphinxDirective):
    """``{settings} module.Class``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].rpartition(".")
        schema = getattr(importlib.import_module(module), name)
        return self.parse_text_to_nodes(markdown(schema))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("settings", SettingsDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
