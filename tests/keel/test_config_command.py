"""``keel config``: every setting with type, default and meaning, and every environment variable."""

from __future__ import annotations

import ast
import importlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from typer.testing import CliRunner

from keel.cli import app
from keel.environment import VARIABLES
from keel.settings import SCHEMAS, settings, summary

ROOT = Path(__file__).parents[2]
PACKAGES = ("reward_models", "align", "annotation_ui", "keel")


@dataclass(frozen=True, kw_only=True)
class Inner:
    """Settings of the method.

    Attributes:
        rate: steps a second.
    """

    rate: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Base:
    """Attributes:
    seed: of random numbers.
    """

    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Outer(Base):
    """All of it.

    Attributes:
        path: where it is,
            or ``null``. ``mode``: how it is opened.
        parts: in order.
    """

    path: str | None = None
    mode: Literal["read", "write"] = "read"
    inner: Inner = field(default_factory=Inner)
    parts: list[Inner] = field(default_factory=list)
    named: dict[str, Inner] = field(default_factory=dict)


def test_settings_are_read_from_dataclasses_and_docstrings() -> None:
    found = [(s.key, s.type, s.default, s.meaning) for s in settings(Outer)]
    assert found == [
        ("seed", "integer", "0", "of random numbers."),
        ("path", "text | null", "null", "where it is, or ``null``."),
        ("mode", "read | write", "read", "how it is opened."),
        ("inner", "section", "see below", "Settings of the method."),
        ("inner.rate", "number", "0.5", "steps a second."),
        ("parts", "list of section", "[]", "in order."),
        ("parts[].rate", "number", "0.5", "steps a second."),
        ("named", "mapping of section", "{}", "Settings of the method."),
        ("named.NAME.rate", "number", "0.5", "steps a second."),
    ]
    assert summary(Outer) == "All of it."
    assert summary(Base) == ""


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_setting_has_a_meaning(name: str) -> None:
    module, schema, _ = SCHEMAS[name]
    found = list(settings(getattr(importlib.import_module(module), schema)))
    assert found
    assert [each.key for each in found if not each.meaning] == []
    of_python = re.compile(r":(class|mod|func|meth):|`(align|reward_models|keel)\.|`None`|`True`|`False`")
    assert [each.key for each in found if of_python.search(each.meaning)] == []


def said(*words: str) -> str:
    done = CliRunner().invoke(app, ["config", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_sections_are_named_printed_on_request_and_all_at_once() -> None:
    top, section, everything = said("rm"), said("rm", "loss"), said("rm", "--all")
    assert "loss: section; `keel config rm loss` prints it" in top
    assert "loss.label_smoothing: number = 0.0" not in top
    for text in (section, everything):
        assert "\nloss.label_smoothing: number = 0.0\n    " in text
    assert "engine.lr" not in section
    assert "engine.lr: number = 1.0e-05" in everything
    assert "rewards[].weight" in said("align", "rewards")
    for key in ("guards.watch", "guards[].watch"):
        assert re.findall(r"^\w.*: ", said("align", key), re.M) == ["guards[].watch: "]
    assert "stages.NAME.train" in said("run", "stages.train")
    wrong = CliRunner().invoke(app, ["config", "rm", "los"])
    assert wrong.exit_code == 2
    assert "no section or setting los; sections: model, " in wrong.stderr


def test_every_environment_variable_is_listed() -> None:
    listed = {each.name for each in VARIABLES}
    assert len(listed) == len(VARIABLES)
    for name in listed:
        assert name in said("env")
    files = [f for package in PACKAGES for f in (ROOT / package).rglob("*.py")] + [*(ROOT / "benchmarks").glob("*.py")]
    for file in files:
        if file != ROOT / "keel" / "environment.py":
            assert read_variables(file) <= listed, f"{file} reads a variable that keel/environment.py does not list"
    for file in [*(ROOT / "tests").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]:
        found = set(re.findall(r"\bKEEL_[A-Z_]+\b", file.read_text(encoding="utf-8"))) - NOT_VARIABLES
        assert found <= listed, f"{file} names a variable that keel/environment.py does not list"


def test_every_variable_that_is_listed_is_read() -> None:
    """Those that other libraries read stand for themselves."""
    files = [f for folder in (*PACKAGES, "benchmarks", "tests") for f in (ROOT / folder).rglob("*.py")]
    files += [f for f in (ROOT / "examples").rglob("*") if f.suffix in (".py", ".sh", ".sbatch")]
    text = "\n".join(f.read_text(encoding="utf-8") for f in files if f.name not in ("environment.py",))
    for each in VARIABLES:
        assert each.name in text or each.read_by in ("torch", "huggingface_hub"), each


# A constant of data/manifest.py; names that programs in tests/support set and read, or begin with.
NOT_VARIABLES = {"KEEL_KEY", "KEEL_TEST_HOLD_", "KEEL_TEST_NO_CHARTS"}


def read_variables(file: Path) -> set[str]:
    """Names of environment variables in a file: those given to os.environ or getenv, and every text KEEL_….

    A name that is not written out is looked up among the module's constants, here or where it is imported from.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= set(re.findall(r"\bKEEL_[A-Z_]+\b", node.value))
        given = None
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            given = node.slice
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ACCESSORS and node.args:
            given = node.args[0]
        if isinstance(given, ast.Constant):
            found.add(str(given.value))
        elif isinstance(given, ast.Name) and given.id.isupper():
            found.add(constant(given.id, tree, file))
    return found


ACCESSORS = {"os.environ.get", "os.environ.setdefault", "os.environ.pop", "os.getenv", "getenv"}


def constant(name: str, tree: ast.Module, file: Path) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            names = ast.unparse(node.targets[0]).strip("()").split(", ")
            if name in names:
                value = ast.literal_eval(node.value)
                return str(value[names.index(name)] if len(names) > 1 else value)
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            return str(getattr(importlib.import_module(node.module or ""), name))
    raise AssertionError(f"{file}: where does {name} come from?")


def test_the_reader_of_variables_finds_them(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "import os\nNAME = 'A'\nos.environ.get(NAME)\nos.environ['B']\nos.getenv('C', '')\n"
        "os.environ.setdefault('D', 'x')\n'a text about " + "KEEL" + "_E.'\n" + f"x = {os.sep!r}\n"
    )
    assert read_variables(file) == {"A", "B", "C", "D", "KEEL" + "_E"}
