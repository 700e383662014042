"""Every setting of a configuration with type, default and meaning, read from its dataclasses and their docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

# What `keel config NAME` prints: module and class of the configuration, and the command that reads it.
SCHEMAS = {
    "rm": ("reward_models.config", "RewardModelConfig", "keel train rm"),
    "sft": ("align.sft.trainer", "SftConfig", "keel train sft"),
    "align": ("align.config", "AlignConfig", "keel train align"),
    "sample": ("align.samples.config", "SampleConfig", "keel sample"),
    "evaluate": ("align.samples.config", "EvaluateConfig", "keel evaluate policy"),
    "select": ("align.samples.selection", "SelectConfig", "keel data select"),
    "run": ("keel.pipeline.project", "ProjectConfig", "keel run"),
    "serve": ("reward_models.serving.limits", "Limits", "keel serve"),
    "curate": ("keel.commands.curate_settings", "EndpointCuration", "keel data curate"),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        key: dotted, as on the command line; ``rewards[].weight`` for the elements of a list, ``stages.NAME.train`` for
            those of a mapping.
        type: as a reader of YAML would say it.
        default: as YAML; ``required`` where there is none.
        meaning: its text in the docstring.
        section: the dataclass inside, for a section.
    """

    key: str
    type: str
    default: str
    meaning: str
    section: Any


def settings(schema: type, prefix: str = "") -> Iterator[Setting]:
    """The settings of a dataclass in order; those of a section follow the section."""
    hints, known = get_type_hints(schema), meanings(schema)
    for field in dataclasses.fields(schema):
        hint, key = hints[field.name], f"{prefix}{field.name}"
        inside = next((t for t in _inside(hint) if isinstance(t, type) and dataclasses.is_dataclass(t)), None)
        meaning = known.get(field.name) or (summary(inside) if inside is not None else "")
        yield Setting(key, type_name(hint), default_of(field), meaning, inside)
        if inside is not None:
            containers = {get_origin(t) for t in _inside(hint)}
            element = "[]" if list in containers else ".NAME" if dict in containers else ""
            yield from settings(inside, f"{key}{element}.")


def sections(schema: type) -> list[type]:
    """The dataclass itself and every dataclass among its settings, each once, outermost first."""
    found: list[type] = [schema]
    for each in found:
        for hint in get_type_hints(each).values():
            inside = [t for t in _inside(hint) if isinstance(t, type) and dataclasses.is_dataclass(t)]
            found += [t for t in inside if t not in found]
    return found


def summary(schema: type) -> str:
    """The docstring of a dataclass without its list of settings; empty if that list is all there is."""
    return re.split(r"(?:^|\n)(?:Attributes|Args):\n", inspect.getdoc(schema) or "")[0].strip()


def meanings(schema: type) -> dict[str, str]:
    """Setting → its text under ``Attributes:`` or ``Args:`` of the dataclass or of one that it inherits from."""
    found: dict[str, str] = {}
    for each in reversed(schema.__mro__):
        if dataclasses.is_dataclass(each):
            found |= _documented(each)
    return found


def _documented(schema: type) -> dict[str, str]:
    """One docstring's settings. An entry may name several, and explain others inside its text."""
    _, *rest = re.split(r"(?:^|\n)(?:Attributes|Args):\n", inspect.getdoc(schema) or "")
    section = textwrap.dedent(rest[0]) if rest else ""
    fields = {field.name for field in dataclasses.fields(schema)}
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", section.strip()):
        names, _, text = entry.partition(":")
        first = [name.strip() for name in names.split(",")]
        # "epochs: passes over the data. ``max_steps``: stop after this many steps." documents two settings.
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
    name = getattr(hint, "__name__", str(hint))
    if dataclasses.is_dataclass(hint):
        return "section"
    return {"str": "text", "float": "number", "int": "integer", "bool": "true | false", "Any": "any value"}.get(
        name, name
    )


def default_of(field: dataclasses.Field[Any]) -> str:
    """The default as YAML."""
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "required"
    if dataclasses.is_dataclass(value):
        return "see below"
    if isinstance(value, list):
        value = [each if not hasattr(each, "__dataclass_fields__") else dataclasses.asdict(each) for each in value]
    if isinstance(value, tuple):
        value = list(value)
    return str(yaml.safe_dump(value, default_flow_style=True, width=1000)).removesuffix("\n...\n").strip()


def plain(text: str) -> str:
    """reStructuredText's literals and roles as Markdown's."""
    text = re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", text)
    return text.replace("``", "`")


def _inside(hint: Any) -> list[Any]:
    return [hint, *(inner for argument in get_args(hint) for inner in _inside(argument))]
