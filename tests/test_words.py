"""Words that the project no longer uses: the glossary (docs/notation.md) has one word for each thing.

Retired names are looked for among the names of the code, not in its sentences: *past* and *ask* are English. In the
documentation they are looked for in `code`. The lab log and the decision records may name what was.
"""

from __future__ import annotations

import io
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("reward_models", "align", "annotation_ui", "keel")
EVERYWHERE = (*PACKAGES, "tests", "benchmarks", "examples")
CODE = sorted(f for folder in EVERYWHERE for f in (ROOT / folder).rglob("*.py") if f != Path(__file__))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
HISTORY = {"lab-log.md", "decisions"}

# retired name → (the name in its place, the folders where it is retired)
NAMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "GaveUp": ("RetriesExhaustedError", EVERYWHERE),
    "Garbage": ("InvalidResponseError", EVERYWHERE),
    "Line": ("Queue", ("reward_models/serving",)),
    "family": ("group", ("reward_models/serving",)),
    "misfits": ("incompatible", EVERYWHERE),
    "Workshop": ("JobRunner", EVERYWHERE),
    "Ask": ("Task", ("annotation_ui",)),
    "Past": ("History", ("annotation_ui",)),
    "Reveal": ("ShowName", ("annotation_ui",)),
    "Frame": ("Layout", ("annotation_ui",)),
    "Fate": ("Outcome", ("annotation_ui",)),
    "Prejudged": ("ModelLabel", EVERYWHERE),
    "desk": ("annotating", ("annotation_ui",)),
}
# retired file → the file in its place
FILES = {
    "align/rewards/form.py": "align/rewards/rules/format.py",
    "align/rewards/text.py": "align/rewards/parsing.py",
    "align/rewards/background.py": "align/rewards/models/event_loop.py",
    "align/rewards/reference.py": "align/rewards/models/server_check.py",
    "align/scorer.py": "align/rewards/scoring.py",
    "reward_models/scorer.py": "reward_models/inference/reward_model.py",
    "reward_models/scored.py": "reward_models/evaluation/scored_set.py",
}


@cache
def names(file: Path) -> frozenset[str]:
    """Every name in a file of Python: variables, attributes, functions, classes, arguments."""
    text = io.StringIO(file.read_text(encoding="utf-8"))
    return frozenset(t.string for t in tokenize.generate_tokens(text.readline) if t.type == tokenize.NAME)


@cache
def code_of(page: Path) -> str:
    """The code blocks and the `code` in the sentences of a page."""
    text = page.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, flags=re.DOTALL))


@pytest.mark.parametrize("word", NAMES)
def test_retired_names_are_gone_from_the_code(word: str) -> None:
    instead, folders = NAMES[word]
    places = tuple(f"{ROOT / folder}/" for folder in folders)
    found = [f.relative_to(ROOT) for f in CODE if str(f).startswith(places) and word in names(f)]
    assert not found, f"{word} is called {instead}: {[str(f) for f in found]}"


@pytest.mark.parametrize("word", [word for word, (_, folders) in NAMES.items() if folders == EVERYWHERE])
def test_retired_names_are_gone_from_the_documentation(word: str) -> None:
    for page in PAGES:
        if not HISTORY & set(page.relative_to(ROOT).parts):
            assert not re.search(rf"\b{word}\b", code_of(page)), f"{page}: {word} is called {NAMES[word][0]}"


@pytest.mark.parametrize("old", FILES)
def test_retired_files_are_gone(old: str) -> None:
    assert not (ROOT / old).exists()
    assert (ROOT / FILES[old]).is_file()
