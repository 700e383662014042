"""A project as data: its kind, instructions, guideline and labels, which one YAML file holds.

The defaults of every kind are such files, in ``kinds/``. A :class:`Definition` is the whole file; a :class:`Form` is
what is stored with a version of the guideline beside its text and the categories of harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

Kind = Literal["preference", "safety", "ranking", "attributes", "rewrite"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FILES = Path(__file__).parent / "kinds"
SLOTS = "abcdefgh"
# The fewest and the most responses of an item.
RESPONSES: dict[Kind, tuple[int, int]] = {
    "preference": (2, 2),
    "safety": (1, 1),
    "ranking": (2, 8),
    "attributes": (1, 8),
    "rewrite": (0, 1),
}
# Kinds whose verdicts refer to responses by their place on the screen.
PLACED: tuple[Kind, ...] = ("preference", "ranking", "attributes")
# The keys of a definition beside kind, instructions and guideline.
KEYS: dict[Kind, tuple[str, ...]] = {
    "preference": ("spans", "turns"),
    "safety": ("harms", "spans", "turns"),
    "ranking": ("ties", "spans", "turns"),
    "attributes": ("attributes", "scale", "comparison", "spans", "turns"),
    "rewrite": (),
}
MOST_HARMS = 30
MOST_ATTRIBUTES = 12
MOST_SPANS = 8
MOST_TURN_LABELS = 6
NAME_LIMIT = 60
LINE_LIMIT = 300


class DefinitionError(ValueError):
    """A definition of a project that makes no sense; the message names the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The questions of a project beside the labels of its kind.

    Args:
        instructions: one line above the controls.
        attributes: name → explanation, in the order in which they are asked.
        scale: the lowest and the highest rating, one digit each.
        ties: whether responses may share a rank.
        comparison: whether rated responses are put in order as well, where there are several.
        spans: the labels of passages that can be marked in a response; none without any.
        turns: the labels of which every turn of the assistant gets one, the good one first; none without any.
    """

    instructions: str = ""
    attributes: Mapping[str, str] | None = None
    scale: tuple[int, int] = (0, 4)
    ties: bool = True
    comparison: bool = False
    spans: tuple[str, ...] = ()
    turns: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As it is stored; the attributes as a list, since databases need not keep the order of keys."""
        pairs = None if self.attributes is None else [[name, text] for name, text in self.attributes.items()]
        return {
            "instructions": self.instructions,
            "attributes": pairs,
            "scale": list(self.scale),
            "ties": self.ties,
            "comparison": self.comparison,
            "spans": list(self.spans),
            "turns": list(self.turns),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any] | None) -> Form:
        """The form of a version of a guideline; the plain one where the version is older than forms."""
        if stored is None:
            return cls()
        low, high = stored["scale"]
        pairs = stored["attributes"]
        attributes = None if pairs is None else dict(pairs)
        return cls(
            instructions=stored["instructions"],
            attributes=attributes,
            scale=(low, high),
            ties=stored["ties"],
            comparison=stored.get("comparison", False),
            spans=tuple(stored.get("spans", ())),
            turns=tuple(stored.get("turns", ())),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A project's kind and everything that its annotators are told and asked.

    Args:
        harms: the categories of a safety project.
    """

    kind: Kind
    guideline: str
    harms: tuple[str, ...] = ()
    form: Form = Form()

    def to_yaml(self) -> str:
        """The file that :func:`read_definition` reads back to an equal definition."""
        made: dict[str, Any] = {"kind": self.kind}
        if self.form.instructions:
            made["instructions"] = self.form.instructions
        made["guideline"] = self.guideline
        values = {
            "harms": list(self.harms),
            "attributes": dict(self.form.attributes or {}),
            "scale": list(self.form.scale),
            "ties": self.form.ties,
            "comparison": self.form.comparison,
        }
        made |= {key: values[key] for key in KEYS[self.kind] if key in values}
        optional = {"spans": self.form.spans, "turns": self.form.turns}
        made |= {key: list(names) for key, names in optional.items() if names}
        return yaml.dump(made, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Loader(yaml.SafeLoader):
    """YAML without aliases, by which a short text can fill any memory, and without a key that is there twice."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise DefinitionError("the definition refers to another part of itself (*name); write that part out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise DefinitionError(f"the definition has the key {twice[0][:40]!r} twice")
        return super().construct_mapping(node, deep=deep)


def _read_yaml(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except DefinitionError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, AttributeError) as error:  # such as 2001-99-99
        raise DefinitionError(f"the definition is no YAML: {' '.join(str(error).split())[:200]}") from None


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text_node)


def read_definition(text: str, *, kind: str | None = None) -> Definition:
    """The definition in a YAML text; what it leaves out is the default of its kind.

    Args:
        kind: the kind that it must have.

    Raises:
        DefinitionError: it is no such file, or something in it makes no sense.
    """
    read = _read_yaml(text)
    if not isinstance(read, dict):
        raise DefinitionError("the definition is not a mapping of keys (kind, guideline, …) to values")
    named = read.pop("kind", kind)
    if named not in KINDS:
        raise DefinitionError(f"kind {str(named)[:40]!r} is none of {', '.join(KINDS)}")
    if kind not in (None, named):
        raise DefinitionError(f"the definition is of kind {named}, and the project of kind {kind}")
    known = ("instructions", "guideline", *KEYS[named])
    if unknown := [str(key)[:40] for key in read if key not in known]:
        raise DefinitionError(f"a {named} project has no key {unknown[0]!r}; it has: {', '.join(known)}")
    return _with(default_definition(named), read)


def _with(default: Definition, read: Mapping[str, Any]) -> Definition:
    """``default`` with the keys of ``read`` in their places."""
    form = default.form
    if "instructions" in read:
        form = replace(form, instructions=_line(read["instructions"], "instructions", empty=True))
    if "attributes" in read:
        form = replace(form, attributes=_attributes(read["attributes"]))
    if "scale" in read:
        form = replace(form, scale=_scale(read["scale"]))
    for name in ("ties", "comparison"):
        if name in read:
            if not isinstance(read[name], bool):
                raise DefinitionError(f"{name} is neither true nor false")
            form = replace(form, **{name: read[name]})
    if "spans" in read:
        form = replace(form, spans=names_in(read["spans"], "spans", MOST_SPANS, fewest=0))
    if "turns" in read:
        form = replace(form, turns=names_in(read["turns"], "turns", MOST_TURN_LABELS, fewest=0))
        if len(form.turns) == 1:
            raise DefinitionError("turns has one label, which says nothing; give two or more, the good one first")
    guideline = read.get("guideline", default.guideline)
    if not isinstance(guideline, str) or not guideline.strip():
        raise DefinitionError("guideline is no text")
    harms = names_in(read["harms"], "harms", MOST_HARMS) if "harms" in read else default.harms
    return Definition(kind=default.kind, guideline=guideline, harms=harms, form=form)


@cache
def default_definition(kind: Kind) -> Definition:
    """The definition that a project of this kind begins with."""
    read = yaml.safe_load((FILES / f"{kind}.yaml").read_text(encoding="utf-8"))
    del read["kind"]
    return _with(Definition(kind=kind, guideline=""), read)


def names_in(value: object, key: str, most: int, *, fewest: int = 1) -> tuple[str, ...]:
    """A list of different names of one line each; ``key`` is named in the error."""
    if not isinstance(value, list) or not fewest <= len(value) <= most:
        raise DefinitionError(f"{key} is not a list of {fewest} to {most} names")
    names = tuple(_line(name, f"a name in {key}") for name in value)
    if twice := [name for name in names if names.count(name) > 1]:
        raise DefinitionError(f"{key} has a name twice: {twice[0][:40]!r}")
    return names


def harms_of(kind: str, harms: Sequence[str]) -> tuple[str, ...]:
    """The categories of a safety project, checked; no other kind has any."""
    if kind == "safety":
        return names_in(list(harms), "the list of harms", MOST_HARMS)
    if harms:
        raise DefinitionError(f"only safety projects have categories of harm, {kind} projects have none")
    return ()


def _attributes(value: object) -> dict[str, str]:
    if isinstance(value, list):
        value = dict.fromkeys(names_in(value, "attributes", MOST_ATTRIBUTES), "")
    if not isinstance(value, dict) or not 1 <= len(value) <= MOST_ATTRIBUTES:
        raise DefinitionError(f"attributes is not a mapping of 1 to {MOST_ATTRIBUTES} names to explanations")
    for name in value:
        if not isinstance(name, str) or not 0 < len(name) <= NAME_LIMIT or not name.isidentifier():
            raise DefinitionError(
                f"attribute {str(name)[:40]!r}: a name is letters, digits and _, at most {NAME_LIMIT} (it is a column)"
            )
        if name in _TAKEN:
            raise DefinitionError(f"attribute {name!r} has the name of another column of exported rows")
    return {name: _line(text, f"the explanation of {name}", empty=True) for name, text in value.items()}


# Columns of exported rows that are no ratings.
_COLUMNS = ("id", "source", "prompt", "response", "votes", "guideline_version", "spans", "snapshot", "snapshot_digest")
# Columns by which readers of files tell rows of other layouts.
_LAYOUTS = (
    "messages",
    "conversations",
    "chosen",
    "rejected",
    "completion",
    "completions",
    "label",
    "is_safe",
    "margin",
)
_TAKEN = (*_COLUMNS, *_LAYOUTS, "weight", "turns", "responses", "response_a", "response_b", "annotations", "agreement")


def _scale(value: object) -> tuple[int, int]:
    if (
        not isinstance(value, list)
        or len(value) != 2
        or any(isinstance(end, bool) or not isinstance(end, int) for end in value)
        or not 0 <= value[0] < value[1] <= 9
    ):
        raise DefinitionError("scale is not [lowest, highest] with 0 <= lowest < highest <= 9")
    return value[0], value[1]


def _line(value: object, name: str, *, empty: bool = False) -> str:
    if value is None and empty:
        return ""
    if not isinstance(value, str) or len(value) > LINE_LIMIT or not (value.strip() or empty) or not value.isprintable():
        raise DefinitionError(f"{name} is not one line of at most {LINE_LIMIT} printable characters")
    return value.strip()
