"""Checks of references and test cases: errors in the data are found before the first sample.

A prompt whose reference is unusable gives every response the score ``None``: nothing is learnt from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from align.rewards.instructions.term import instructions_problem
from align.rewards.parsing import Answer
from align.rewards.verifiers.answers import ANSWER_VERIFIERS
from align.rewards.verifiers.cases import cases_of
from align.rewards.verifiers.math_answer import MOST_WORDS, read_reference
from align.rewards.verifiers.math_text import Unreadable
from align.rewards.verifiers.program_languages import NOT_CALLED, language_of
from align.rewards.verifiers.reasoning_gym import made_with_problem
from reward_models.data.gym_tasks import COLUMN as GYM
from reward_models.data.program_tests import COLUMNS, has_cases

NOTHING = Answer("", marked=True)


def reference_problem(verifier: str, answer: str | None, columns: Mapping[str, Any]) -> str | None:
    """The error in the reference of a reasoning prompt, as a sentence, or ``None``.

    Expressions are read and not parsed by sympy, so that a few that it refuses are not found here.

    Args:
        verifier: ``math``, ``choice``, ``exact``, ``regex``, ``json``, ``code``, ``instructions`` or
            ``reasoning_gym``; of others nothing is known.
        answer: the prompt's reference answer.
        columns: its other columns.
    """
    try:
        if verifier == "code":
            if not has_cases(columns):
                return f"it has no test cases, in a column {' or '.join(COLUMNS)}"
            language, tests = language_of(columns), cases_of(columns)
            if language.caller is None and any(test.function is not None for test in tests):
                return NOT_CALLED.format(language.name)
        elif verifier == "instructions":
            return instructions_problem(columns)
        elif verifier == "reasoning_gym":
            return made_with_problem(columns.get(GYM))
        elif verifier == "math" or verifier in ANSWER_VERIFIERS:
            if answer is None or not answer.strip():
                return "it has no answer to compare with"
            if verifier != "math":
                ANSWER_VERIFIERS[verifier](NOTHING, answer)
            else:
                value = read_reference(answer)
                if value.kind == "words" and len(value.text.split()) > MOST_WORDS:
                    return f"its answer {answer[:80]!r} is a sentence, and no mathematics"
    except Unreadable as error:
        return f"its answer {str(answer)[:80]!r} cannot be read: {error}"
    except TimeoutError:
        return f"its pattern {str(answer)[:80]!r} takes too long"
    except ValueError as error:
        return str(error)
    return None
