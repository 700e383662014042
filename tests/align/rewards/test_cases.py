"""The cases in ``tests/data/cases``: every row gets the score it asks for, or is decided in docs/rewards.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.rewards.rules.language import LanguageConsistency
from align.rewards.verifiers.answers import ANSWER_VERIFIERS, AnswerAccuracy
from align.rewards.verifiers.mathematics import MathAccuracy
from align.rewards.verifiers.programs import CodeAccuracy
from align.rewards.verifiers.sandbox import Limits, SandboxError

FOLDER = Path(__file__).parents[2] / "data" / "cases"
# Rows that are decided otherwise: what identifies the row → the score it gets. Reasons are in docs/rewards.md.
DECIDED = {
    ("1010_2", r"\boxed{10}"): 0.0,
    "APPS fn_name in tests": 1.0,
    "JSON string of tests (LCB public_test_cases)": 1.0,
    "TACO list lines": 1.0,
}


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_mathematics(sample: Any) -> None:
    term = MathAccuracy(workers=1)
    cases = rows("mathematics")
    try:
        explained = term.explain([sample(row["response"], answer=row["answer"]) for row in cases])
    finally:
        term.close()
    wrong = [
        (row, score, reason)
        for row, (score, reason) in zip(cases, explained, strict=True)
        if score != DECIDED.get((row["answer"], row["response"]), row["want"])
    ]
    assert len(cases) == 288
    assert wrong == []


@pytest.mark.parametrize("verifier", sorted(ANSWER_VERIFIERS))
def test_answers(verifier: str, sample: Any) -> None:
    cases = [row for row in rows("answers") if row["verifier"] == verifier]
    term = AnswerAccuracy(verifier=verifier)
    explained = term.explain([sample(row["response"], answer=row["answer"]) for row in cases])
    assert [(row, why) for row, why in zip(cases, explained, strict=True) if why[0] != row["want"]] == []


def test_language(sample: Any) -> None:
    term = LanguageConsistency()
    wrong = []
    for row in rows("language"):
        ((share, reason),) = term.explain([sample(row["text"], language=row["language"])])
        want = row["want"]
        if want is None or share is None:
            holds = want is share
        elif want == 1.0:
            holds = share > 0.99
        elif want <= 0.3:
            holds = share <= 0.5
        else:
            holds = share < 1.0 and abs(share - want) < 0.25
        if not holds:
            wrong.append((row, share, reason))
    assert wrong == []


def test_programs(sample: Any) -> None:
    try:
        term = CodeAccuracy(limits=Limits(cpu_seconds=1))
    except SandboxError as error:
        pytest.skip(str(error))
    cases = rows("programs")
    columns = [{"verifier": "code", "tests": row["tests"]} for row in cases]
    batch = [sample(row["response"], columns=each) for row, each in zip(cases, columns, strict=True)]
    explained = term.explain(batch)
    wrong = [
        (row["name"], why)
        for row, why in zip(cases, explained, strict=True)
        if why[0] != DECIDED.get(row["name"], row["want"])
    ]
    assert wrong == []


def test_decisions_are_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "rewards.md").read_text(encoding="utf-8")
    for words in ("base", "`fn_name`", "JSON text", "import numpy", "side by side"):
        assert words in page.split("## Decisions")[1], words
