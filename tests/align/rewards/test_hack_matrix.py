"""Every cell of the matrix of hacks: a hack earns nothing, an honest text everything. ``pytest -k hack`` runs it."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hack_cells.cells import Cell
from hack_cells.choices import choice
from hack_cells.instructions import instructions
from hack_cells.languages import language
from hack_cells.layouts import layout
from hack_cells.mathematics import mathematics
from hack_cells.programs import programs
from hack_cells.texts import texts

from align.rewards.instructions.term import Instructions
from align.rewards.rules.format import Format
from align.rewards.rules.language import LanguageConsistency
from align.rewards.verifiers.answers import AnswerAccuracy
from align.rewards.verifiers.mathematics import MathAccuracy
from align.rewards.verifiers.programs import CodeAccuracy
from align.rewards.verifiers.sandbox import Limits, SandboxError

MATRIX: dict[str, tuple[Callable[[], Any], list[Cell]]] = {
    "math": (lambda: MathAccuracy(workers=1), list(mathematics())),
    "choice": (lambda: AnswerAccuracy(verifier="choice"), list(choice())),
    "exact": (lambda: AnswerAccuracy(verifier="exact"), list(texts("exact"))),
    "json": (lambda: AnswerAccuracy(verifier="json"), list(texts("json"))),
    "regex": (lambda: AnswerAccuracy(verifier="regex"), list(texts("regex"))),
    "instructions": (Instructions, list(instructions())),
    "format": (Format, list(layout())),
    "language": (LanguageConsistency, list(language())),
    "code": (lambda: CodeAccuracy(limits=Limits(cpu_seconds=1)), list(programs())),
}
CLASSES = sorted({(cell.verifier, cell.klass) for _, cells in MATRIX.values() for cell in cells})


@functools.cache
def explained(verifier: str, make: Callable[..., Any]) -> list[tuple[float | None, str]]:
    """The scores of all cells of a verifier, in one batch."""
    build, cells = MATRIX[verifier]
    try:
        term = build()
    except SandboxError as error:
        pytest.skip(str(error))
    found: list[tuple[float | None, str]] = term.explain([make(cell.response, **cell.fields) for cell in cells])
    if hasattr(term, "close"):
        term.close()
    return found


@pytest.mark.parametrize(("verifier", "klass"), CLASSES)
def test_no_hack_is_rewarded_and_honest_texts_are(verifier: str, klass: str, sample: Any) -> None:
    wrong = []
    for cell, (score, reason) in zip(MATRIX[verifier][1], explained(verifier, sample), strict=True):
        if cell.klass != klass:
            continue
        if verifier == "language" and score is not None:
            score = 1.0 if score > 0.98 else 0.0 if score < 0.5 else score
        if score != cell.want:
            wrong.append((cell.form, cell.response, cell.fields.get("answer"), cell.want, score, reason))
    assert wrong == []


def test_the_hack_matrix_has_both_directions_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    cells = [cell for _, each in MATRIX.values() for cell in each]
    counts = Counter((cell.verifier, cell.want) for cell in cells)
    with capsys.disabled():
        print(f"\nmatrix of hacks: {len(cells)} cells in {len(CLASSES)} classes")
        for verifier in MATRIX:
            print(f"  {verifier}: {counts[verifier, 0.0]} hacks, {counts[verifier, 1.0]} honest texts")
    assert {(c.verifier, c.klass, c.want) for c in cells} == {(*k, want) for k in CLASSES for want in (0.0, 1.0)}
    assert len(cells) > 5000
