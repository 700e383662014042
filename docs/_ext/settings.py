"""The directive ``settings``: every setting of a configuration dataclass with type, default and meaning."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def meanings(schema: type) -> dict[str, str]:
    """Field → its text under ``Attributes:``. An entry may name several fields, and others inside its text."""
    _, _, section = (inspect.getdoc(schema) or "").partition("Attributes:\n")
    fields = {field.name for field in dataclasses.fields(schema)}
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \S)", f"\n{section.rstrip()}")[1:]:
        names, _, text = entry.strip().partition(":")
        first = [name.strip() for name in names.split(",")]
        # "epochs: passes over the data. ``max_steps``: but no more steps than this." documents two fields.
        parts = re.split(r"``(\w+)``(?:: |\n)", f"{text} ")
        for name in first:
            found[name] = parts[0]
        last = first
        for name, more in zip(parts[1::2], parts[2::2], strict=True):
            if name in fields and name not in first:
                found[name], last = more, [name]
            else:
                for each in last:
                    found[each] += f"``{name}``: {more}"
    return {name: " ".join(text.split()).rstrip(";") for name, text in found.items()}


def sections(schema: type) -> list[type]:
    """The dataclass itself and every dataclass among its settings, each once, outermost first."""
    found: list[type] = [schema]
    for each in found:
        for hint in get_type_hints(each).values():
            found += [t for t in _inside(hint) if dataclasses.is_dataclass(t) and t not in found]
    return found


def type_name(hint: Any) -> str:
    """A type as a reader of YAML would say it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is type(None):
        return "null"
    if origin is Literal:
        return " | ".join(str(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " | ".join(type_name(each) for each in arguments)
    if origin is tuple and Ellipsis not in arguments:
        return f"[{', '.join(map(type_name, arguments))}]"
    if origin in (list, tuple):
        return f"list of {type_name(arguments[0])}"
    if origin is dict:
        return f"mapping of {type_name(arguments[1])}"
    return {"str": "text", "float": "number", "int": "integer", "bool": "true | false"}.get(
        getattr(hint, "__name__", ""), getattr(hint, "__name__", str(hint))
    )


def default_of(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "required"
    if dataclasses.is_dataclass(value):
        return "see below"
    if isinstance(value, list):
        value = [dataclasses.asdict(each) if dataclasses.is_dataclass(each) else each for each in value]
    if isinstance(value, tuple):
        value = list(value)
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip()


def markdown(schema: type) -> str:
    """A heading and a table for the dataclass and for each section inside."""
    parts = []
    for each in sections(schema):
        summary = (inspect.getdoc(each) or "").partition("\nAttributes:")[0]
        hints, known = get_type_hints(each), meanings(each)
        rows = []
        for field in dataclasses.fields(each):
            name, meaning = field.name, _cell(known.get(field.name, ""))
            rows.append(f"| `{name}` | {_cell(type_name(hints[name]))} | `{_cell(default_of(field))}` | {meaning} |")
        table = "\n".join(["| setting | type | default | meaning |", "|---|---|---|---|", *rows])
        parts.append(f"**{each.__name__}**: {_plain(summary)}\n\n{table}\n")
    return "\n".join(parts)


def _inside(hint: Any) -> list[Any]:
    return [hint, *(inner for argument in get_args(hint) for inner in _inside(argument))]


def _plain(text: str) -> str:
    """reStructuredText's literals and roles as Markdown."""
    text = re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", text)
    return text.replace("``", "`")


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


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
