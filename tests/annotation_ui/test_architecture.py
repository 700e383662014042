"""The folders of the annotation app form a line: each imports only itself and the folders to its left."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "annotation_ui"
ORDER = ("store", "labelling", "quality", "exchange", "actions", "api", "web")
LONGEST_FUNCTION, LONGEST_FILE = 60, 350


def imported_folders(file: Path) -> set[str]:
    """The folders of ``annotation_ui`` that a file imports from, ``TYPE_CHECKING`` and nested imports included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("annotation_ui.")}
    return found


def test_every_folder_has_a_place_in_the_order() -> None:
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ORDER)


@pytest.mark.parametrize("folder", ORDER)
def test_a_folder_imports_only_what_is_to_its_left(folder: str) -> None:
    allowed = set(ORDER[: ORDER.index(folder) + 1])
    for file in (PACKAGE / folder).rglob("*.py"):
        assert imported_folders(file) <= allowed, file


@pytest.mark.parametrize("folder", ORDER)
def test_no_string_names_the_command_line_package(folder: str) -> None:
    """The app is started by ``keel``; it knows the command only as an argument."""
    for file in (PACKAGE / folder).rglob("*.py"):
        strings = (
            n.value for n in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(n, ast.Constant)
        )
        assert not [s for s in strings if isinstance(s, str) and s.startswith(("keel.", "reward_models.train"))], file


@pytest.mark.parametrize("module", ["store.database", "store.projects", "exchange.exporting", "actions.jobs"])
def test_the_store_and_the_exports_need_no_torch(module: str) -> None:
    code = f"import sys, annotation_ui.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_functions_and_files_are_short() -> None:
    long = []
    for file in PACKAGE.rglob("*.py"):
        if "versions" in file.parts or file.name == "chinese.py":  # a migration lists tables, a catalogue texts
            continue
        text = file.read_text(encoding="utf-8")
        long += [file.name] if text.count("\n") > LONGEST_FILE else []
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                long += [f"{file.name}:{node.name} has {length} lines"] if length > LONGEST_FUNCTION else []
    assert long == []
