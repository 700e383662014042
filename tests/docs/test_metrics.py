"""docs/metrics.md and the code name the same metrics.

Runs compare the lines of their metrics.jsonl with the page (tests/reward_models/test_training_options.py,
tests/align/test_training.py); here the names in the code are compared with it, those of rare metrics too.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from align.training.update import MAXIMA, MEANS, SQUARE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
# The files whose f-strings name metrics: f"term/{name}".
EMITTERS = [
    *sorted((ROOT / "align" / "training").glob("*.py")),
    *(
        ROOT / "align" / name
        for name in (
            "trainer.py",
            "guards.py",
            "rollouts/curriculum.py",
            "rewards/instructions/term.py",
            "rewards/mixer.py",
            "rewards/models/local.py",
            "rewards/judges/base.py",
        )
    ),
]


def section(title: str) -> set[str]:
    """Names in the first column of a section's table."""
    text = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \|", text, flags=re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def strings(folder: Path) -> set[str]:
    """All string constants of a folder, and the constant beginnings of its f-strings."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def families() -> set[str]:
    """``term`` of every ``f"term/{name}"`` in a file that emits metrics, and the metrics that terms declare."""
    found = set()
    for file in EMITTERS:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            first = node.values[0] if isinstance(node, ast.JoinedStr) else None
            if isinstance(first, ast.Constant) and (match := re.match(r"(\w+)/", str(first.value))):
                found.add(match[1])
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and node.target.id == "term_totals"
            ):
                assert node.value is not None
                found |= {each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant)}
            if isinstance(node, ast.Assign) and any(
                isinstance(target, ast.Attribute) and target.attr in ("measures", "term_metrics")
                for target in node.targets
            ):
                found |= {each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant)} - {None, ()}
    return found


def test_every_documented_metric_of_reinforcement_learning_is_in_the_code() -> None:
    known = strings(ROOT / "align")
    for name in section("Reinforcement learning"):
        family, slash, _ = name.partition("/")
        declared = bool(slash) and family in families()  # by a term
        in_text = any(text.startswith(name.rstrip("K")) for text in known)
        assert declared or {name, f"{family}{slash}"} & known or in_text, name


def test_every_family_of_metrics_in_the_code_is_documented() -> None:
    documented = {name.partition("/")[0] for name in section("Reinforcement learning") if "/" in name}
    assert families() == documented


@pytest.mark.parametrize("name", sorted({*MEANS, *MAXIMA} - {SQUARE}))
def test_every_metric_of_an_update_is_documented(name: str) -> None:
    assert name in section("Reinforcement learning")


def test_a_metric_is_documented_once() -> None:
    for title in ("Reward models", "Supervised fine-tuning", "Reinforcement learning"):
        text = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
        first = re.findall(r"^\| (`.+?) \|", text, flags=re.MULTILINE)
        names = [name for row in first for name in re.findall(r"`([^`]+)`", row)]
        assert len(names) == len(set(names))
