"""Rules for imports, for the size of files and functions, and for names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("reward_models", "align", "annotation_ui", "keel")
FILES = [f for package in PACKAGES for f in sorted((ROOT / package).rglob("*.py"))]
ANNOTATION_FOLDERS = ("store", "labelling", "quality", "exchange", "actions", "web")  # each imports those before it

LONGEST_FILE, LONGEST_FUNCTION = 350, 60
LONG_FILES = {"annotation_ui/web/chinese.py": "a table of texts, nothing else"}
LONG_FUNCTIONS = {
    "annotation_ui/store/migrations/versions/0001_first_schema.py:upgrade": "a schema is a list, written by Alembic",
}


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(file): file for file in FILES}


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def imports(file: Path) -> frozenset[str]:
    """All modules that a file imports, inside functions and under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                found.add(module if module in MODULES else str(node.module))
    return frozenset(found)


def importers(*modules: str) -> set[str]:
    return {name for name, file in MODULES.items() if any(_within(found, modules) for found in imports(file))}


def _within(name: str, modules: tuple[str, ...] | set[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


# --- directions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("reward_models", ("align", "annotation_ui", "keel")),
        ("reward_models/data", ("reward_models.model", "reward_models.trainer", "reward_models.runtime", "deepspeed")),
        ("align", ("annotation_ui", "keel")),
        (
            "align/rewards",
            ("align.policy", "align.rollouts", "align.training", "align.sft", "align.trainer", "align.run"),
        ),
        ("annotation_ui", ("align", "keel", "torch", "reward_models.model")),
    ],
)
def test_imports_go_one_way(folder: str, forbidden: tuple[str, ...]) -> None:
    for file in (ROOT / folder).rglob("*.py"):
        wrong = [name for name in imports(file) if _within(name, forbidden)]
        assert not wrong, f"{file}: {wrong}"


@pytest.mark.parametrize(
    ("folder", "ours", "third_party"),
    [
        ("align/objective", ("align.objective",), {"torch"}),
        ("reward_models/runtime", ("reward_models.runtime",), None),
    ],
)
def test_folders_that_stand_alone(folder: str, ours: tuple[str, ...], third_party: set[str] | None) -> None:
    for file in (ROOT / folder).rglob("*.py"):
        for name in imports(file):
            top = name.partition(".")[0]
            if top in PACKAGES:
                assert _within(name, ours), f"{file}: {name}"
            elif third_party is not None and top not in sys.stdlib_module_names:
                assert top in third_party, f"{file}: {name}"


def test_the_runtime_holds_no_word_of_the_domain() -> None:
    words = (
        "reward|preference|helpful|helpfulness|safety|prompt|policy|policies|rollout|response|annotator|judge|chosen|"
        "rejected|comparison|advantage"
    )
    for file in (ROOT / "reward_models" / "runtime").rglob("*.py"):
        text = re.sub(r"reward_models\.runtime", "", file.read_text(encoding="utf-8"))
        found = re.findall(rf"(?<![a-z])(?:{words})s?(?![a-z])", text.lower())
        assert not found, f"{file}: {found}"


def test_bridges_are_imported_by_nothing_but_commands_and_serving() -> None:
    outside = {name for name in importers("align.bridges") if not _within(name, ("align.bridges",))}
    assert outside <= {"keel.commands.serve"}


@pytest.mark.parametrize("folder", ANNOTATION_FOLDERS)
def test_folders_of_the_annotation_app_import_those_before_them(folder: str) -> None:
    later = {f"annotation_ui.{name}" for name in ANNOTATION_FOLDERS[ANNOTATION_FOLDERS.index(folder) + 1 :]}
    for file in (ROOT / "annotation_ui" / folder).rglob("*.py"):
        wrong = [name for name in imports(file) if _within(name, later)]
        assert not wrong, f"{file}: {wrong}"


def circles() -> Iterator[frozenset[str]]:
    """Sets of modules that import one another, by Tarjan's algorithm."""
    edges = {name: sorted(imports(file) & MODULES.keys() - {name}) for name, file in MODULES.items()}
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    open_: list[str] = []

    def visit(name: str) -> Iterator[frozenset[str]]:
        number[name] = low[name] = len(number)
        open_.append(name)
        for other in edges[name]:
            if other not in number:
                yield from visit(other)
                low[name] = min(low[name], low[other])
            elif other in open_:
                low[name] = min(low[name], number[other])
        if low[name] == number[name]:
            members = frozenset(open_[open_.index(name) :])
            del open_[open_.index(name) :]
            if len(members) > 1:
                yield members

    for name in edges:
        if name not in number:
            yield from visit(name)


def test_no_modules_import_one_another() -> None:
    assert not set(circles())


# --- one importer each ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "where"),
    [
        ("gradio", ("annotation_ui.web",)),
        ("omegaconf", ("reward_models.runtime",)),
        ("deepspeed", ("reward_models.runtime", "align.rollouts.weights")),
        ("peft", ("reward_models.backbone",)),
        ("trl", ("align.bridges.trl",)),
        ("vllm", ("align.rollouts.transfer", "align.rollouts.vllm_worker", "align.rollouts.colocated")),
        ("typer", ("keel",)),
    ],
)
def test_libraries_have_their_place(module: str, where: tuple[str, ...]) -> None:
    outside = {name for name in importers(module) if not _within(name, where)}
    assert not outside, f"{module} is imported by {sorted(outside)}"


def test_the_worker_extension_of_vllm_needs_nothing_that_keel_requires() -> None:
    found = {name.partition(".")[0] for name in imports(MODULES["align.rollouts.vllm_worker"])}
    assert found - sys.stdlib_module_names == {"torch", "vllm"}
    assert not any(imports(MODULES[package]) for package in ("align", "align.rollouts"))  # they are imported with it


def test_the_chat_template_has_one_caller() -> None:
    """Called, not named in a text: the model card shows it to readers."""
    callers = {
        name
        for name, file in MODULES.items()
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Attribute) and node.attr == "apply_chat_template"
    }
    assert callers == {"reward_models.data.chat"}


def test_reading_records_needs_no_torch() -> None:
    code = "import sys, reward_models.data.sources, reward_models.data.splits; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_web_stays_at_the_edge_of_the_server() -> None:
    """Queues, batches and services know nothing of HTTP: another front could stand before them."""
    edge = {"app.py", "connections.py", "guard.py", "protocols.py", "server.py"}
    for file in (ROOT / "reward_models" / "serving").glob("*.py"):
        web = {name for name in imports(file) if name.partition(".")[0] in ("fastapi", "starlette", "uvicorn")}
        assert bool(web) == (file.name in edge), f"{file}: {web}"


# --- size and names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_files_and_functions_fit_on_a_few_screens(file: Path) -> None:
    path = str(file.relative_to(ROOT))
    lines = file.read_text(encoding="utf-8").count("\n")
    assert lines <= LONGEST_FILE or path in LONG_FILES, f"{path} has {lines} lines; split it, or name it with a reason"
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= LONGEST_FUNCTION or f"{path}:{node.name}" in LONG_FUNCTIONS, (
                f"{path}:{node.name}: {length}"
            )


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_no_vague_names_and_no_pickle(file: Path) -> None:
    assert file.stem not in {"utils", "util", "common", "helpers", "helper", "misc"}
    assert not imports(file) & {"pickle", "dill", "cloudpickle"}
    assert "torch.load(" not in file.read_text(encoding="utf-8")


def test_every_migration_of_the_annotation_store_follows_another_one() -> None:
    """Two that follow the same one, made at the same time, would leave a database without a newest schema."""
    texts = [file.read_text(encoding="utf-8") for file in ROOT.glob("annotation_ui/store/migrations/versions/0*.py")]
    found = [dict(re.findall(r"^(revision|down_revision) = (.+)$", text, re.MULTILINE)) for text in texts]
    for name in ("revision", "down_revision"):
        values = [each[name] for each in found]
        assert len(set(values)) == len(values), f"two migrations have the same {name}: {sorted(values)}"
