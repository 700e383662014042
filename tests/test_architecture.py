"""Who may import whom, and what has no place in the project."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("reward_models", "align", "annotation_ui", "keel")
FILES = [f for package in PACKAGES for f in sorted((ROOT / package).rglob("*.py"))]


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("reward_models", ("align", "annotation_ui", "keel")),
        ("reward_models/data", ("reward_models.model", "reward_models.trainer", "reward_models.runtime", "deepspeed")),
        ("reward_models/runtime", ("reward_models.model", "reward_models.trainer", "reward_models.losses")),
        ("align", ("annotation_ui", "keel")),
        ("annotation_ui", ("align", "keel", "torch", "reward_models.model")),
    ],
)
def test_imports_go_one_way(folder: str, forbidden: tuple[str, ...]) -> None:
    for file in (ROOT / folder).rglob("*.py"):
        wrong = [
            name for name in imports(file) if name.startswith(tuple(f"{f}." for f in forbidden)) or name in forbidden
        ]
        assert not wrong, f"{file}: {wrong}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_no_vague_names_and_no_pickle(file: Path) -> None:
    assert file.stem not in {"utils", "util", "common", "helpers", "helper", "misc"}
    assert not imports(file) & {"pickle", "dill", "cloudpickle"}
    assert "torch.load(" not in file.read_text(encoding="utf-8")


def test_reading_records_needs_no_torch() -> None:
    code = "import sys, reward_models.data.sources, reward_models.data.splits; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_web_stays_at_the_edge_of_the_server() -> None:
    """Queues, batches and services know nothing of HTTP: another front could stand before them."""
    edge = {"app.py", "guard.py", "protocols.py", "server.py"}
    for file in (ROOT / "reward_models" / "serving").glob("*.py"):
        web = {name for name in imports(file) if name.partition(".")[0] in ("fastapi", "starlette", "uvicorn")}
        assert bool(web) == (file.name in edge), f"{file}: {web}"
