"""Reading configurations: what an unknown key is answered with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from reward_models.runtime.config import ConfigError, dump_config, load_config


@dataclass(frozen=True, kw_only=True)
class Part:
    RENAMED: ClassVar[dict[str, str]] = {"kinds": "domains"}

    domains: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Whole:
    RENAMED: ClassVar[dict[str, str]] = {"kind": "task"}
    RENAMED_VALUES: ClassVar[dict[str, dict[str, str]]] = {"task": {"helpful": "preference"}}

    task: str = "preference"
    part: Part = field(default_factory=Part)
    parts: list[Part] = field(default_factory=list)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("kind=safety", "unknown key kind; it is now called task"),
        ("part.kinds=[a]", r"unknown key part\.kinds; it is now called part\.domains"),
        ("parts=[{kinds: [a]}]", r"unknown key parts\[0\]\.kinds; it is now called parts\[0\]\.domains"),
        ("task=helpful", "task=helpful: helpful is now called preference: write task=preference"),
        ("tasks=safety", "unknown key tasks; did you mean task"),
        ("xyz=1", "unknown key xyz; known keys: part, parts, task$"),
    ],
)
def test_an_unknown_key_names_the_right_one(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(Whole, None, [word])


def test_one_value_where_a_list_belongs_is_refused_with_the_brackets() -> None:
    with pytest.raises(ConfigError, match=r"it is a list: write it in brackets, \[a\] or \[a, b\]"):
        load_config(Whole, None, ["part.domains=a"])


def test_a_value_that_is_no_yaml_is_refused_with_the_word() -> None:
    with pytest.raises(
        ConfigError, match=r"'parts=\[\{domains:\[a\]\}\]': the value is not YAML \(.*a space follows each"
    ):
        load_config(Whole, None, ["parts=[{domains:[a]}]"])


def test_the_table_of_renamed_keys_is_no_key_itself() -> None:
    assert dump_config(load_config(Whole, None, ["task=safety"])) == "task: safety\npart:\n  domains: []\nparts: []\n"
    with pytest.raises(ConfigError, match="unknown key RENAMED"):
        load_config(Whole, None, ["RENAMED={}"])
