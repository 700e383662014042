"""Words that the project no longer uses: the glossary (docs/notation.md) has one word for each thing.

Retired names are looked for among the names of the code, not in its sentences: *past* and *ask* are English. In the
documentation they are looked for in `code`. The lab log and the decision records may name what was.
"""

from __future__ import annotations

import ast
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
QUESTION = re.compile(r"(?:What|How|Who|Whose|Where|Whether|When|Which)\b")

# retired name → (the name in its place, the beginnings of the paths where it is retired)
AXIS = (  # of records and models: what `task`, `domain` and `record_type` say
    *(f"reward_models/{name}.py" for name in ("config", "dataset", "trainer", "model", "artifact", "calibration")),
    *(f"reward_models/{name}" for name in ("losses.py", "inference/", "serving/", "data/sources", "data/splits")),
    *(f"align/{name}" for name in ("trainer", "run", "state", "phases", "guards", "policy/", "sft/", "bridges/")),
    *(f"align/rewards/{name}" for name in ("terms", "mixer", "scoring", "models/", "gold")),
    *(f"align/rollouts/{name}" for name in ("base", "build", "local", "prompts", "sampler", "vllm")),
    *("align/training/collect", "align/training/evaluation", "align/training/sample_log", "align/reporting/"),
    *("keel/commands/data", "keel/commands/curate", "keel/pipeline/", "benchmarks/"),
)
NAMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "Parts": ("RunState, PolicyRun", ("align/run", "align/trainer", "align/state")),
    "Collector": ("functions sample, score, mix", EVERYWHERE),
    "Answered": ("Rollout", ("align", "tests/align")),
    "Collected": ("Rollout", EVERYWHERE),
    "Responses": ("Rollout", ("align", "tests/align")),
    "Experience": ("Rollout", EVERYWHERE),
    "experience": ("rollout", EVERYWHERE),
    "Piece": ("SampleSlice", EVERYWHERE),
    "stretches": ("slices", EVERYWHERE),
    "holders": ("owners", EVERYWHERE),
    "heed": ("apply_guards", EVERYWHERE),
    "keep": ("dump_batch", ("align/trainer",)),
    "kept": ("last_logged_step", ("align/trainer", "align/run")),
    "shown": ("sample_log", ("align/trainer", "align/run")),
    "Clock": ("Timer", ("align", "tests/align")),
    "beside": ("extras", ("align/rewards/terms", "align/rewards/mixer", "align/rewards/scoring", "align/training")),
    "Measured": ("term_metrics", EVERYWHERE),
    "measures": ("term_metrics", EVERYWHERE),
    "measures_of": ("term_metrics", EVERYWHERE),
    "Mixed": ("Rewards", EVERYWHERE),
    "total_N": ("reward_N", EVERYWHERE),
    "RewardKind": ("Task", EVERYWHERE),
    "PromptKind": ("Domain", EVERYWHERE),
    "kind": ("task, domain or record_type", AXIS),
    "kinds": ("domains", AXIS),
    "hybrid": ("local", ("align",)),
    "GaveUp": ("RetriesExhaustedError", EVERYWHERE),
    "Garbage": ("InvalidResponseError", EVERYWHERE),
    "Line": ("Queue", ("reward_models/serving",)),
    "family": ("group", ("reward_models/serving",)),
    "misfits": ("incompatible", EVERYWHERE),
    "JUDGES": ("ANSWER_VERIFIERS", EVERYWHERE),
    "importance_correction": ("correction", EVERYWHERE),
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
    "align/rollouts/hybrid.py": "align/rollouts/local.py",
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
    found = [name for f in CODE if (name := str(f.relative_to(ROOT))).startswith(folders) and word in names(f)]
    assert not found, f"{word} is called {instead}: {found}"


@pytest.mark.parametrize("word", [word for word, (_, folders) in NAMES.items() if folders == EVERYWHERE])
def test_retired_names_are_gone_from_the_documentation(word: str) -> None:
    for page in PAGES:
        if not HISTORY & set(page.relative_to(ROOT).parts):
            assert not re.search(rf"\b{word}\b", code_of(page)), f"{page}: {word} is called {NAMES[word][0]}"


@pytest.mark.parametrize("old", FILES)
def test_retired_files_are_gone(old: str) -> None:
    assert not (ROOT / old).exists()
    assert (ROOT / FILES[old]).is_file()


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_do_not_begin_with_a_question_word(package: str) -> None:
    """The subject of a docstring is the thing itself; that of a predicate begins with "True if" or "Return whether"."""
    for file in (f for f in CODE if f.is_relative_to(ROOT / package)):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                assert not QUESTION.match(text), f"{file}:{node.body[0].lineno}: {text.partition(chr(10))[0]}"


@pytest.mark.parametrize("folder", [*PACKAGES, "docs"])
def test_sentences_name_who_does_something(folder: str) -> None:
    """A reader who is no native speaker reads *whoever* twice."""
    for file in (f for f in (ROOT / folder).rglob("*") if f.suffix in (".py", ".md", ".html", ".yaml")):
        if not HISTORY & set(file.parts):
            assert not re.search(r"\bwhoever\b", file.read_text(encoding="utf-8"), re.IGNORECASE), file
